"""Text, tasks and batches. NumPy only: no model, no devices."""
