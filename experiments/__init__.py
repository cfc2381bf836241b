"""Scripts. `python -m experiments.NAME --help` explains each one."""
