"""Settings of the commands, as frozen dataclasses. Named ones stand in `configs/`."""
