"""Frozen encoders: features, probes, similarity, and metrics."""
