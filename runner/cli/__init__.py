"""The commands `run` and `recipe`: words in, printed text and an exit code out. One file a verb."""
