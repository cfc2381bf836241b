"""Evaluation of frozen encoders: features, probes, similarity, and metrics."""
