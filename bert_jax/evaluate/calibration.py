"""Calibration of classifiers: does a probability of 0.8 mean that four of five are right?

Both measures are fractions, and lower is better. Probabilities are the softmax of logits.
"""

import numpy as np
from scipy.special import softmax

BINS = 15
"""Number of bins of the expected calibration error, as in Guo et al. 2017."""


def expected_calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = BINS) -> float:
    """Mean over bins of |accuracy - confidence|, weighted by rows (Guo et al. 2017, arXiv 1706.04599, equation 3).

    Args:
        logits: [N C].
        labels: [N] classes.
        bins: number of bins of equal width; the confidence of a row is its largest probability.
    """
    probabilities = softmax(np.asarray(logits, np.float64), axis=1)
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(places, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def brier_score(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean over rows of the squared distance of the probabilities from the label, summed over classes (Brier 1950).

    Args:
        logits: [N C].
        labels: [N] classes.
    """
    probabilities = softmax(np.asarray(logits, np.float64), axis=1)
    return float(np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(1).mean())
