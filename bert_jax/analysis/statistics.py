"""Is one readout better than another, or was it the seeds and the examples?

The multi-bootstrap of Sellam et al. 2022 (MultiBERTs, arXiv 2106.16163, section 3), paired: a resample
draws seeds and, independently, evaluation examples with replacement, and both sides are scored on the
same draw. S seeds, N examples, R resamples, C classes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError, unknown
from bert_jax.evaluate.metrics import OVER_GROUPS
from bert_jax.rounding import is_constant

CELLS = 2_000_000
"""How many (resample, example) cells to hold at once; bounds the memory, and changes no result."""


class Difference(NamedTuple):
    """b minus a: the difference of the mean scores, its 95% interval, and a two-sided p-value."""

    mean: float
    low: float
    high: float
    p_value: float


def paired_bootstrap(
    metric: str, a: np.ndarray, b: np.ndarray, labels: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Difference:
    """How much better b scores than a, over seeds and examples.

    The score of a resample is the metric on its N examples, averaged over its S seeds. The interval is
    the 2.5th to 97.5th percentile; p = 2 min(#(difference <= 0) + 1, #(difference >= 0) + 1) / (R + 1), at most 1.
    With one seed only examples are resampled, and the answer says nothing about other seeds. With few seeds that
    matter more than the examples, the interval is too short: in simulations of no effect a 95% interval covers it in
    75% of cases with 3 seeds, 83% with 5, 91% with 10 and 94% with 20. Where examples matter more it is too long.

    Args:
        metric: a name in `RESAMPLED`.
        a, b: [S N] predictions, row for row from the same seeds.
        labels: [N] classes or scores.
        resamples: R.
        seed: decides the draws; the same seed gives the same result.

    Raises:
        InputError: the metric is unknown, or the shapes do not agree.
    """
    if np.shape(a) != np.shape(b) or np.shape(a)[1:] != np.shape(labels):
        shapes = f"{np.shape(a)}, {np.shape(b)} and {np.shape(labels)}"
        raise InputError(f"expected predictions [S N] twice and labels [N], at least one of each, not {shapes}")
    return paired_bootstraps(metric, np.stack([a, b]), [(0, 1)], labels, resamples=resamples, seed=seed)[0]


def paired_bootstraps(
    metric: str,
    sides: np.ndarray,
    pairs: Sequence[tuple[int, int]],
    labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """`paired_bootstrap` of several pairs of sides (a, b), all on the same draws.

    Args:
        metric: a name in `RESAMPLED`; or one with `_mean` or `_wmean` after it, the average of the metric over groups
            of examples, weighted by their sizes with `_wmean`.
        sides: [M S N] predictions of M sides.
        pairs: which of them to compare.
        labels: [N].
        groups: [N] the group of each example.
    """
    sides, labels = _checked(metric, sides, labels, groups)
    score = _scorer(metric, sides, labels, groups)
    point = score(np.ones((1, len(labels)), int))[0].mean(-1)
    draws: list[list[np.ndarray]] = [[] for _ in pairs]
    for picks, scores in _resampled(score, sides.shape[1], len(labels), resamples, seed):
        for drawn, (a, b) in zip(draws, pairs, strict=True):
            drawn.append(_seed_mean(scores[:, b] - scores[:, a], picks))
    return [
        _difference(float(point[b] - point[a]), np.concatenate(drawn))
        for drawn, (a, b) in zip(draws, pairs, strict=True)
    ]


def _difference(mean: float, draws: np.ndarray) -> Difference:
    low, high = np.quantile(draws, [0.025, 0.975])
    tail = min(np.sum(draws <= 0), np.sum(draws >= 0)) + 1
    return Difference(mean, float(low), float(high), min(1.0, float(2 * tail / (len(draws) + 1))))


def interval(
    metric: str, predictions: np.ndarray, labels: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """The 95% interval of one side's mean score, over seeds and examples; arguments as in `paired_bootstrap`."""
    return intervals(metric, np.asarray(predictions)[None], labels, resamples=resamples, seed=seed)[0]


def intervals(
    metric: str,
    sides: np.ndarray,
    labels: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """The 95% interval of each side's mean score, all on the same draws; arguments as in `paired_bootstraps`."""
    sides, labels = _checked(metric, sides, labels, groups)
    score = _scorer(metric, sides, labels, groups)
    draws = [
        np.stack([_seed_mean(side, picks) for side in scores.swapaxes(0, 1)])
        for picks, scores in _resampled(score, sides.shape[1], len(labels), resamples, seed)
    ]
    low, high = np.quantile(np.concatenate(draws, 1), [0.025, 0.975], axis=1)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def adjust(p_values: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm 1979). NaN, for a comparison not made, stays and does not count."""
    p_values = np.asarray(p_values, float)
    adjusted = np.full_like(p_values, np.nan)
    made = np.isfinite(p_values)
    if made.any():
        from statsmodels.stats.multitest import multipletests  # slow, and few commands come here

        adjusted[made] = multipletests(p_values[made], method="holm")[1]
    return adjusted


def _checked(
    metric: str, sides: np.ndarray, labels: np.ndarray, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
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


def _resampled(
    score: "Scorer", num_seeds: int, num_examples: int, resamples: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of resamples: (seeds drawn [r S], the sides' scores [r M S])."""
    seed_key, example_key = np.random.SeedSequence(seed).spawn(2)
    picks = np.random.default_rng(seed_key).integers(num_seeds, size=(resamples, num_seeds))
    example_rng = np.random.default_rng(example_key)
    size = max(1, CELLS // num_examples)
    for start in range(0, resamples, size):
        chunk = picks[start : start + size]
        yield chunk, score(_draw_counts(example_rng, len(chunk), num_examples))


def _scorer(metric: str, sides: np.ndarray, labels: np.ndarray, groups: np.ndarray | None) -> "Scorer":
    """Counts [R N] to scores [R M S]."""
    name, _, over = metric.partition("_")
    flat = sides.reshape(-1, sides.shape[2])
    if not over:
        whole = RESAMPLED[name](flat, labels)
        return lambda counts: whole(counts).reshape(len(counts), *sides.shape[:2])
    assert groups is not None, "_checked refuses a metric over groups where there are none"
    members = [groups == group for group in np.unique(groups)]
    sizes = np.array([member.sum() for member in members])
    weights = OVER_GROUPS[over](sizes)
    parts = [RESAMPLED[name](flat[:, member], labels[member]) for member in members]

    def score(counts: np.ndarray) -> np.ndarray:
        each = [w * part(counts[:, member]) for w, part, member in zip(weights, parts, members, strict=True)]
        return np.sum(each, 0).reshape(len(counts), *sides.shape[:2])

    return score


def _draw_counts(rng: np.random.Generator, resamples: int, num_examples: int) -> np.ndarray:
    """[R N]: how often each resample of N examples holds each example."""
    drawn = rng.integers(num_examples, size=(resamples, num_examples))
    drawn += np.arange(resamples)[:, None] * num_examples
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)


def _seed_mean(scores: np.ndarray, picks: np.ndarray) -> np.ndarray:
    return np.take_along_axis(scores, picks, axis=1).mean(axis=1)


Scorer = Callable[[np.ndarray], np.ndarray]
"""Counts [R N] to scores [R S], or [R M S] of M sides."""


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """top / bottom, and 0 where bottom is 0: scikit-learn's convention, also for constant predictions."""
    return np.divide(top, bottom, out=np.zeros(np.broadcast_shapes(top.shape, bottom.shape)), where=bottom > 0)


def _accuracy(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    correct = (predictions == labels).T.astype(np.float32)
    return lambda counts: _count(counts, correct) / _total(counts)


def _total(counts: np.ndarray) -> np.ndarray:
    """[R 1]: examples in each resample; of a group of them the number varies."""
    return np.maximum(counts.sum(1, keepdims=True), 1)


def _count(counts: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """counts [R N] @ columns [N K] of zeros and ones. float32 is exact up to 2^24 examples, and twice as fast."""
    return (counts.astype(np.float32) @ columns).astype(float)


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
    # Standardised first: the weighted moments below cancel less.
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
    # A resample may hold one value only; what is left of its variance is then rounding.
    constant = (x < 1e-14) | (y < 1e-14)
    return np.where(constant, 0.0, _divide(covariance, np.sqrt(np.clip(x * y, 0, None))))


def _spearman(predictions: np.ndarray, labels: np.ndarray) -> Scorer:
    """Each resample is ranked anew, ties at their mean rank, from one sort of the examples."""
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
