"""One module for each command of `./plaudit`; each has `run`, which returns the exit code."""
