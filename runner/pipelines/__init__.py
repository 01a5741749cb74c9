"""Which component does what, free of any backend. One file for each kind of pipeline."""
