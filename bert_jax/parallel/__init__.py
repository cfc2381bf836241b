"""Devices: mapping a step over them, and running a model in batches."""
