"""What an encoder's own head says of whether B follows A, read from [CLS] as it was trained, or from elsewhere."""

import numpy as np
from scipy.special import softmax

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import ReadoutConfig

BINS = 10
"""Of equal width, in which probabilities are counted."""


def has_head(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has what next-sentence prediction needs: the head and the pooler before it."""
    return checkpoint.nsp is not None and checkpoint.pooler is not None


def head_readout(pooling: str) -> ReadoutConfig:
    """What the head reads: the trained pooler over the last layer. It was trained with pooling cls."""
    return ReadoutConfig("last", pooling, "tanh")


def follow_probability(checkpoint: Checkpoint, vectors: np.ndarray) -> np.ndarray:
    """The probability [rows] that B follows A, for vectors [rows D] read as `head_readout` says."""
    assert checkpoint.nsp is not None, "this checkpoint has no head for pairs"
    dense = checkpoint.nsp["dense"]
    probabilities: np.ndarray = softmax(vectors @ np.asarray(dense["kernel"]) + np.asarray(dense["bias"]), -1)
    return probabilities[:, 1]


def count_probabilities(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, list[int]]:
    """How many pairs of each kind have a probability in each of the bins."""
    kinds = {"random": labels == 0, "follows": labels == 1}
    return {name: np.histogram(probabilities[rows], BINS, (0, 1))[0].tolist() for name, rows in kinds.items()}
