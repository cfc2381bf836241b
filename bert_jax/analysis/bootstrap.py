"""The multi-bootstrap over seeds and examples (Sellam et al. 2022, MultiBERTs, arXiv 2106.16163, section 3), paired.

A resample draws seeds and, independently, evaluation examples with replacement, and both sides are scored on the
same draw. M sides, S seeds, N examples, R resamples.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from bert_jax.analysis.statistics import Difference, Scorer, checked, reader_means, scorer
from bert_jax.errors import InputError

CELLS = 2_000_000
"""Number of (resample, example) cells held at once; bounds the memory and changes no result."""


def paired_bootstrap(
    metric: str, a: np.ndarray, b: np.ndarray, labels: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Difference:
    """Test the difference in score of b minus a, over seeds and examples.

    The score of a resample is the metric on its N examples, averaged over its S seeds. The interval is
    the 2.5th to 97.5th percentile; p = 2 min(#(difference <= 0) + 1, #(difference >= 0) + 1) / (R + 1), at most 1.
    With one seed only examples are resampled, and the result does not generalise to other seeds. With few seeds that
    vary more than the examples, the interval is too short: in simulations without an effect, a 95% interval contains
    zero in 75% of cases with 3 seeds, 83% with 5, 91% with 10 and 94% with 20. If examples vary more, it is too long.

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
    readers: Sequence[int] | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Difference]:
    """`paired_bootstrap` of several pairs of sides (a, b), all on the same draws.

    Args:
        metric: a name in `RESAMPLED`; or one with `_mean` or `_wmean` after it, the average of the metric over groups
            of examples, weighted by their sizes with `_wmean`.
        sides: [M S N] predictions of M sides.
        pairs: the pairs (a, b) of sides to compare.
        labels: [N].
        readers: [S] the reader that each seed belongs to; readers are drawn whole. By default each seed is a reader.
        groups: [N] the group of each example.
    """
    sides, labels = checked(metric, sides, labels, groups)
    score = _by_reader(scorer(metric, sides, labels, groups), readers)
    point = score(np.ones((1, len(labels)), int))[0].mean(-1)
    draws: list[list[np.ndarray]] = [[] for _ in pairs]
    for picks, scores in _resampled(score, len(set(readers or range(sides.shape[1]))), len(labels), resamples, seed):
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
    readers: Sequence[int] | None = None,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """The 95% interval of each side's mean score, all on the same draws; arguments as in `paired_bootstraps`."""
    sides, labels = checked(metric, sides, labels, groups)
    score = _by_reader(scorer(metric, sides, labels, groups), readers)
    draws = [
        np.stack([_seed_mean(side, picks) for side in scores.swapaxes(0, 1)])
        for picks, scores in _resampled(score, len(set(readers or range(sides.shape[1]))), len(labels), resamples, seed)
    ]
    low, high = np.quantile(np.concatenate(draws, 1), [0.025, 0.975], axis=1)
    return list(zip(low.tolist(), high.tolist(), strict=True))


def _resampled(
    score: Scorer, num_seeds: int, num_examples: int, resamples: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Chunks of resamples: (seeds drawn [r S], the sides' scores [r M S])."""
    seed_key, example_key = np.random.SeedSequence(seed).spawn(2)
    picks = np.random.default_rng(seed_key).integers(num_seeds, size=(resamples, num_seeds))
    example_rng = np.random.default_rng(example_key)
    size = max(1, CELLS // num_examples)
    for start in range(0, resamples, size):
        chunk = picks[start : start + size]
        yield chunk, score(_draw_counts(example_rng, len(chunk), num_examples))


def _by_reader(score: Scorer, readers: Sequence[int] | None) -> Scorer:
    return lambda counts: reader_means(score(counts), readers, 2)


def _draw_counts(rng: np.random.Generator, resamples: int, num_examples: int) -> np.ndarray:
    """Counts [R N] of each example in each resample of N examples."""
    drawn = rng.integers(num_examples, size=(resamples, num_examples))
    drawn += np.arange(resamples)[:, None] * num_examples
    return np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)


def _seed_mean(scores: np.ndarray, picks: np.ndarray) -> np.ndarray:
    means: np.ndarray = np.take_along_axis(scores, picks, axis=1).mean(axis=1)
    return means
