"""Tasks as rows of data, and the readers of their published files."""
