"""The runner: a recipe becomes a plan, the plan becomes pictures in a folder. Importing it imports nothing else."""
