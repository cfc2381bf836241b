"""Runs, the regimes that carry them out, and the folder that keeps their results."""
