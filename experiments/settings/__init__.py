"""Settings of the commands, as frozen dataclasses. `configs/` holds named instances."""
