"""Intervals and tests where readers and examples are two crossed random factors (Obuchowski and Rockette 1995).

Readers are seeds, or pretrainings that are each averaged over their seeds. With d_r the score of reader r, or the
difference of its two sides:

    se^2 = var(d_r) / R + max(0, C),  C the mean covariance over examples of the scores of two different readers
    df = se^4 / ((var(d_r) / R)^2 / (R - 1))  (Hillis 2007, Statistics in Medicine 26, 596-619)

and interval and p-value are Student's. Covariances are those of the infinitesimal jackknife, so that nothing is
drawn. With one reader se^2 is the variance over examples, the distribution is normal, and the result does not
generalise to other readers.
M sides, K runs, R readers, N examples.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from bert_jax.analysis.statistics import Difference, checked, influence, reader_means, scorer

LEVEL = 0.95
"""Coverage of an interval."""


class Components(NamedTuple):
    """A mean over R readers, and its variance components."""

    mean: float
    readers: int
    between: float
    """Variance between readers, with the divisor R - 1; 0 with one reader."""
    within: float
    """Variance of one reader's score over examples, averaged over readers."""
    shared: float
    """Covariance over examples of the scores of two readers, averaged over all pairs and clipped at 0; with one reader
    the same as `within`."""
    examples: int

    def error(self) -> tuple[float, float]:
        """The standard error, and its degrees of freedom (infinite if readers do not vary)."""
        between = self.between / self.readers
        square = between + self.shared
        df = math.inf if between == 0 else (self.readers - 1) * (square / between) ** 2
        return math.sqrt(square), df

    def test(self) -> Difference:
        """The mean with its 95% interval, and the two-sided p-value of its being zero."""
        error, df = self.error()
        if error == 0:
            return Difference(self.mean, self.mean, self.mean, float(self.mean == 0))
        half = quantile(0.5 + LEVEL / 2, df) * error
        return Difference(
            self.mean, self.mean - half, self.mean + half, float(2 * stats.t.sf(abs(self.mean / error), df))
        )


def quantile(probability: float, df: float) -> float:
    """Student's quantile; the normal one with infinite degrees of freedom."""
    return float(stats.t.ppf(probability, df))


class Scored(NamedTuple):
    """The scores of M sides by R readers [M R], and the influence of every example on them [M R N]."""

    scores: np.ndarray
    influences: np.ndarray

    def side(self, number: int) -> Components:
        """The mean score of one side."""
        return components(self.scores[number], self.influences[number])

    def difference(self, a: int, b: int) -> Components:
        """The difference of side b minus side a."""
        return components(self.scores[b] - self.scores[a], self.influences[b] - self.influences[a])


def measure(
    metric: str,
    sides: np.ndarray,
    labels: np.ndarray,
    *,
    readers: Sequence[int] | None = None,
    groups: np.ndarray | None = None,
) -> Scored:
    """Score M sides, each averaged over the runs of every reader.

    Args:
        metric: a name in `RESAMPLED`; or one with `_mean` or `_wmean` after it, the average of the metric over groups
            of examples, weighted by their sizes with `_wmean`.
        sides: [M K N] predictions, run for run from the same seeds.
        labels: [N] classes or scores.
        readers: [K] the reader that each run belongs to; by default each run is a reader.
        groups: [N] the group of each example.

    Raises:
        InputError: the metric is unknown, or the shapes do not agree.
    """
    sides, labels = checked(metric, sides, labels, groups)
    scores = scorer(metric, sides, labels, groups)(np.ones((1, len(labels)), int))[0]
    influences = influence(metric, sides, labels, groups)
    return Scored(reader_means(scores, readers, 1), reader_means(influences, readers, 1))


def components(scores: np.ndarray, influences: np.ndarray) -> Components:
    """The variance components of a mean over scores [R], from the influences of examples on them [R N]."""
    readers, examples = influences.shape
    denominator = examples * max(1, examples - 1)
    within = np.square(influences).sum() / denominator
    if readers == 1:
        return Components(float(scores[0]), 1, 0.0, float(within), float(within), examples)
    total = np.square(influences.sum(0)).sum() / denominator
    shared = max(0.0, (total - within) / (readers * (readers - 1)))
    # Equal scores have no variance; their rounded mean would give them one.
    between = scores.var(ddof=1) if np.ptp(scores) > 1e-12 else 0.0
    return Components(float(scores.mean()), readers, float(between), float(within / readers), float(shared), examples)
