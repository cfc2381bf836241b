"""Predictions of a checkpoint's own next-sentence head, from [CLS] as in its training or from other poolings."""

import numpy as np
from scipy.special import softmax

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import ReadoutConfig

BINS = 10
"""Number of equal bins in which probabilities are counted."""


def has_head(checkpoint: Checkpoint) -> bool:
    """True if a checkpoint has the next-sentence head and the pooler before it."""
    return checkpoint.nsp is not None and checkpoint.pooler is not None


def head_readout(pooling: str) -> ReadoutConfig:
    """The head's input: the trained pooler over the last layer. It was trained with pooling cls."""
    return ReadoutConfig("last", pooling, "tanh")


def follow_probability(checkpoint: Checkpoint, vectors: np.ndarray) -> np.ndarray:
    """Probability [rows] that B follows A, from vectors [rows D] of a `head_readout`."""
    assert checkpoint.nsp is not None, "this checkpoint has no next-sentence head"
    dense = checkpoint.nsp["dense"]
    probabilities: np.ndarray = softmax(vectors @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]), -1)
    return probabilities[:, 1]


def count_probabilities(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list[int]]:
    """Histogram of probabilities for each kind of pair: name -> counts [BINS]."""
    kinds = {"random": labels == 0, "follows": labels == 1}
    return {name: np.histogram(probabilities[rows], BINS, (0, 1))[0].tolist() for name, rows in kinds.items()}
