"""Named settings, one per file: a docstring with the command, the expected result and time, and a `config`."""
