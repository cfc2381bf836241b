"""Weights in our tree, and model directories of other libraries, in and out."""
