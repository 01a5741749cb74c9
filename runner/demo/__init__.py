"""The bundled demo checkpoint `shapes`: its files, the script that trained it, the checker that reads its pictures."""
