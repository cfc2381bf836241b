"""Metrics computed on many resamples at once, the influence of each example on them, and corrections of p-values.

Predictions are [..., N], resamples are counts [R N] of the draws of each example. K rows of predictions, N
examples, R resamples, C classes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError, unknown
from bert_jax.evaluate.metrics import OVER_GROUPS
from bert_jax.rounding import is_constant


class Difference(NamedTuple):
    """b minus a: the difference of the mean scores, its 95% interval, and a two-sided p-value."""

    mean: float
    low: float
    high: float
    p_value: float


def adjust(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm 1979). NaN, a comparison not made, stays NaN and is not counted."""
    p_values = np.asarray(p_values, float)
    adjusted = np.full_like(p_values, np.nan)
    made = np.isfinite(p_values)
    # Not statsmodels, which collects garbage at each call: a third of a second in a process that has JAX.
    order = np.argsort(p_values[made])
    times = np.arange(len(order), 0, -1)
    stepped = np.maximum.accumulate(p_values[made][order] * times)
    adjusted[np.flatnonzero(made)[order]] = np.minimum(stepped, 1)
    return adjusted


def checked(
    metric: str, sides: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions [M S N] and labels [N] as arrays.

    Raises:
        InputError: the metric is unknown or lacks its groups, or the shapes do not agree.
    """
    name, _, over = metric.partition("_")
    if name not in RESAMPLED or over not in ("", *OVER_GROUPS):
        raise unknown("metric", metric, RESAMPLED)
    if over and groups is None:
        raise InputError(f"metric {metric} is over groups of examples, and there are none")
    sides, labels = np.asarray(sides), np.asarray(labels)
    if sides.ndim != 3 or sides.shape[2:] != labels.shape or not sides.size:
        raise InputError(
            f"expected predictions [M S N] and labels [N], at least one of each, not {sides.shape}, {labels.shape}"
        )
    return sides, labels


def scorer(metric: str, sides: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> "Scorer":
    """Return a function from counts [R N] to scores [R M S]; arguments as `checked` returns them."""
    name, _, over = metric.partition("_")
    flat = sides.reshape(-1, sides.shape[2])
    if not over:
        whole = RESAMPLED[name](flat, labels)
        return lambda counts: whole(counts).reshape(len(counts), *sides.shape[:2])
    assert groups is not None, "`checked` refuses a metric over groups where there are none"
    members, weights = _group_members(groups, over)
    parts = [RESAMPLED[name](flat[:, member], labels[member]) for member in members]

    def score(counts: np.ndarray) -> np.ndarray:
        each = [w * part(counts[:, member]) for w, part, member in zip(weights, parts, members, strict=True)]
        scores: np.ndarray = np.sum(each, 0).reshape(len(counts), *sides.shape[:2])
        return scores

    return score


def influence(metric: str, sides: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> np.ndarray:
    """Influences [M S N]: N times the derivative of each score by the weight of each example; their mean is 0.

    The covariance over examples of two scores is the sum of the products of their influences over N (N - 1): the
    infinitesimal jackknife (Jaeckel 1972; Efron 1982, chapter 6). Arguments as `checked` returns them.
    """
    name, _, over = metric.partition("_")
    flat = sides.reshape(-1, sides.shape[2])
    if not over:
        return INFLUENCES[name](flat, labels).reshape(sides.shape)
    assert groups is not None, "`checked` refuses a metric over groups where there are none"
    found = np.empty(flat.shape)
    for member, weight in zip(*_group_members(groups, over), strict=True):
        share = weight * len(labels) / member.sum()
        found[:, member] = share * INFLUENCES[name](flat[:, member], labels[member])
    return found.reshape(sides.shape)


def reader_means(values: np.ndarray, readers: Sequence[int] | None, axis: int) -> np.ndarray:
    """Values of K runs along an axis, averaged over the runs of each reader; readers [K], or None for no average."""
    if readers is None:
        return values
    members = [np.flatnonzero(np.asarray(readers) == reader) for reader in dict.fromkeys(readers)]
    return np.stack([values.take(member, axis).mean(axis) for member in members], axis)


def _group_members(groups: np.ndarray, over: str) -> tuple[list[np.ndarray], np.ndarray]:
    """Indices of the examples in each group, and the weights of the groups; groups [N]."""
    members = [groups == group for group in np.unique(groups)]
    return members, OVER_GROUPS[over](np.array([member.sum() for member in members]))


Scorer = Callable[[np.ndarray], np.ndarray]
"""Counts [R N] to scores [R S], or [R M S] of M sides."""


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, and 0 where bottom is 0: scikit-learn's convention, also for constant predictions."""
    zeros = np.zeros(np.broadcast_shapes(top.shape, bottom.shape))
    ratio: np.ndarray = np.divide(top, bottom, out=zeros, where=bottom > 0)
    return ratio


def _accuracy(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    correct = (predictions == labels).T.astype(np.float32)
    return lambda counts: _count(counts, correct) / _total(counts)


def _total(counts: np.ndarray) -> np.ndarray:
    """Number of examples in each resample [R 1]; within a group of examples it varies."""
    total: np.ndarray = np.maximum(counts.sum(1, keepdims=True), 1)
    return total


def _count(counts: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """counts [R N] @ columns [N K] of zeros and ones. float32 is exact up to 2^24 examples, and twice as fast."""
    count: np.ndarray = (counts.astype(np.float32) @ columns).astype(float)
    return count


def _f1(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    """F1 of class 1."""
    said, true = predictions == 1, labels == 1
    hits = (said & true).T.astype(np.float32)
    total = (said.astype(np.float32) + true).T
    return lambda counts: _divide(2 * _count(counts, hits), _count(counts, total))


def _mcc(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    """Matthews correlation for C classes: cov(x, y) / sqrt(cov(x, x) cov(y, y)) over one-hot x, y (Gorodkin 2004)."""
    classes = np.union1d(predictions, labels)
    said = (predictions.T[:, :, None] == classes).astype(np.float32)
    true = (labels[:, None] == classes).astype(np.float32)
    correct = (predictions == labels).T.astype(np.float32)

    def score(counts: np.ndarray) -> np.ndarray:
        n = _total(counts).astype(float)
        said_counts = _count(counts, said.reshape(len(said), -1)).reshape(len(counts), *said.shape[1:])
        true_counts = _count(counts, true)
        both = n * _count(counts, correct) - np.einsum("rsc,rc->rs", said_counts, true_counts)
        said_spread = n * n - np.square(said_counts).sum(-1)
        true_spread = n * n - np.square(true_counts).sum(-1, keepdims=True)
        return _divide(both, np.sqrt(said_spread * true_spread))

    return score


def _pearson(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    # Standardise first, so that the weighted moments below lose less precision by cancellation.
    x, y = _standardised(predictions).T, _standardised(labels[None]).T
    columns = np.concatenate([x, x * x, x * y, y, y * y], axis=1)
    num_seeds = len(predictions)

    def score(counts: np.ndarray) -> np.ndarray:
        moments = counts.astype(float) @ columns / _total(counts)
        x, xx, xy = (moments[:, i * num_seeds : (i + 1) * num_seeds] for i in range(3))
        y, yy = moments[:, -2:-1], moments[:, -1:]
        return _correlation(xy - x * y, xx - x * x, yy - y * y)

    return score


def _standardised(rows: np.ndarray) -> np.ndarray:
    """Rows [K N] with mean 0 and variance 1; zeros where a row is constant."""
    rows = np.asarray(rows, float)
    constant = np.array([is_constant(row) for row in rows])[:, None]
    centred = rows - rows.mean(-1, keepdims=True)
    return _divide(centred, np.where(constant, 0.0, centred.std(-1, keepdims=True)))


def _correlation(covariance: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # A resample may hold one distinct value only; its computed variance is then a rounding error.
    constant = (x < 1e-14) | (y < 1e-14)
    return np.where(constant, 0.0, _divide(covariance, np.sqrt(np.clip(x * y, 0, None))))


def _spearman(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    """Spearman correlation: ranks within each resample, ties at their mean rank, from one sort of the examples."""
    rank_x = [_ranker(row) for row in predictions]
    rank_y = _ranker(labels)

    def score(counts: np.ndarray) -> np.ndarray:
        y = rank_y(counts)
        weighted_y = counts * y
        y_spread = np.einsum("rn,rn->r", weighted_y, y)
        columns = [_rank_correlation(counts, rank(counts), weighted_y, y_spread) for rank in rank_x]
        return np.stack(columns, axis=1)

    return score


def _rank_correlation(counts: np.ndarray, x: np.ndarray, weighted_y: np.ndarray, y_spread: np.ndarray) -> np.ndarray:
    x_spread = np.einsum("rn,rn,rn->r", counts, x, x)
    return _divide(np.einsum("rn,rn->r", x, weighted_y), np.sqrt(x_spread * y_spread))


def _ranker(values: np.ndarray) -> Scorer:
    """A function from counts [R N] to the ranks [R N] of the examples within each resample, minus their mean.

    An example's rank is the number of smaller draws, plus half the number of equal draws. Values that are constant up
    to rounding are all equal.
    """
    _, groups = np.unique(np.zeros(len(values)) if is_constant(values) else values, return_inverse=True)
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))

    def rank(counts: np.ndarray) -> np.ndarray:
        sizes = np.add.reduceat(counts[:, order], starts, axis=1)
        upto = np.cumsum(sizes, axis=1)
        return (upto - sizes / 2 - upto[:, -1:] / 2)[:, groups]

    return rank


RESAMPLED: dict[str, Callable[[np.ndarray, np.ndarray], Scorer]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "mcc": _mcc,
    "pearson": _pearson,
    "spearman": _spearman,
}
"""Metrics by name: from predictions [S N] and labels [N] to a function that scores many resamples at once."""


def _accuracy_influence(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    correct = (predictions == labels).astype(float)
    influence: np.ndarray = correct - correct.mean(-1, keepdims=True)
    return influence


def _f1_influence(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    said, true = predictions == 1, labels == 1
    hits, total = (said & true).astype(float), said.astype(float) + true
    mean = total.mean(-1, keepdims=True)
    score = _divide(2 * hits.mean(-1, keepdims=True), mean)
    return _divide(2 * hits - score * total, np.broadcast_to(mean, hits.shape))


def _mcc_influence(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    classes = np.union1d(predictions, labels)
    x, y = (values[..., None] == classes for values in (predictions, labels))
    x, y = x - x.mean(-2, keepdims=True), y - y.mean(-2, keepdims=True)
    return _ratio_influence(*((a * b).sum(-1) for a, b in ((x, y), (x, x), (y, y))))


def _pearson_influence(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    x, y = _standardised(predictions), _standardised(labels[None])
    return _ratio_influence(x * y, x * x, y * y)


def _spearman_influence(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Influence of each example, through its own ranks and through the ranks of all examples above it.

    With weights r instead of counts, a ranker sums the r of the examples below; the sum over those above is minus that.
    """
    ones, rank_y = np.ones((1, len(labels))), _ranker(labels)
    y = rank_y(ones)
    found = []
    for row in predictions:
        rank_x = _ranker(row)
        x = rank_x(ones)
        products = x * y - rank_x(y) - rank_y(x), x * x - 2 * rank_x(x), y * y - 2 * rank_y(y)
        # Each of these moments is of the third degree in the weights, while a covariance is of the first.
        found.append(3 * _ratio_influence(*products)[0])
    return np.stack(found)


def _ratio_influence(xy: np.ndarray, xx: np.ndarray, yy: np.ndarray) -> np.ndarray:
    """Influence on mean(xy) / sqrt(mean(xx) mean(yy)), all [K N]; 0 where a variance is 0."""
    moments = [values.mean(-1, keepdims=True) for values in (xy, xx, yy)]
    constant = (moments[1] < 1e-14) | (moments[2] < 1e-14)
    c, x, y = (np.where(constant, 1.0, moment) for moment in moments)
    found = xy / np.sqrt(x * y) - c / np.sqrt(x * y) * (xx / x + yy / y) / 2
    return np.where(constant, 0.0, found)


INFLUENCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "accuracy": _accuracy_influence,
    "f1": _f1_influence,
    "mcc": _mcc_influence,
    "pearson": _pearson_influence,
    "spearman": _spearman_influence,
}
"""Metrics by name: from predictions [K N] and labels [N] to the influences [K N], see `influence`."""
