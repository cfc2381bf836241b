"""flax.linen modules, without devices or files."""
