"""Runs, the regimes that execute them, and the folder that stores their results."""
