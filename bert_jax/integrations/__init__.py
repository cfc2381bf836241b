"""Encoders and results in the terms of other people's benchmarks."""
