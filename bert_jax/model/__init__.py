"""flax.linen modules. No devices and no files, except where checkpoints are converted."""
