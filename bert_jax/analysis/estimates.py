"""The mean score of some runs, or the difference of two sets of runs, with an interval and the factors it is over."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bert_jax.analysis.bootstrap import intervals, paired_bootstraps
from bert_jax.analysis.crossed import Components, measure
from bert_jax.analysis.statistics import Difference
from bert_jax.errors import InputError
from bert_jax.study.store import Row, read_predictions

Method = Literal["obuchowski-rockette", "multi-bootstrap"]
METHODS: dict[str, str] = {
    "obuchowski-rockette": "Obuchowski and Rockette's method with Hillis' degrees of freedom",
    "multi-bootstrap": "a multi-bootstrap (MultiBERTs)",
}
"""Methods for intervals, with their names in tables. The first is the default."""
DEFAULT: Method = "obuchowski-rockette"
FEW = "With two or three readers (seeds or pretrainings) a 95% interval holds the truth in 85 to 96% of cases."
"""Note for so few readers that intervals are somewhat too short (results/coverage)."""
Level = Literal["pretrainings", "seeds", "examples"]
"""The random factor of an interval besides examples, over which every interval is."""
Key = tuple[int, int]
"""Pretraining and seed of a run."""
Where = Path | Mapping[str, Path]
"""The run folder of some rows, or the run folder of each row by its id."""

RESAMPLES = 1000
RESAMPLES_PER_COMPARISON = 100
"""The smallest p-value is 2 / (resamples + 1); times the number of comparisons, it must still be able to be small."""
CORRELATIONS = ("mcc", "pearson", "spearman")
"""Metrics from -1 to 1; all others are from 0 to 1."""


class Estimate(NamedTuple):
    """A mean or a difference, the number of its runs, the factor that it is over, and its variance components."""

    figures: Difference
    runs: int
    level: Level
    components: Components

    def in_points(self) -> Difference:
        """The figures times 100, apart from the p-value."""
        mean, low, high = (100 * value for value in self.figures[:3])
        return Difference(mean, low, high, self.figures.p_value)


def are_few(found: Iterable[Components]) -> bool:
    """True if some intervals are over two or three readers only, so that the note `FEW` is due."""
    return any(components.readers in (2, 3) for components in found)


def num_resamples(comparisons: int) -> int:
    """Number of resamples of the bootstrap for so many comparisons that are corrected together."""
    return max(RESAMPLES, RESAMPLES_PER_COMPARISON * comparisons)


def finished(rows: Sequence[Row]) -> dict[Key, Row]:
    """The runs that did not fail, by pretraining and seed."""
    ok = sorted((row for row in rows if row.ok), key=lambda row: (row.pretraining, row.seed))
    return {(row.pretraining, row.seed): row for row in ok}


def level_of(runs: Sequence[Key]) -> Level:
    """The highest level, of pretrainings, seeds and examples, with more than one value in the runs."""
    if len({pretraining for pretraining, _ in runs}) > 1:
        return "pretrainings"
    return "seeds" if len(runs) > 1 else "examples"


def estimate(
    sides: Sequence[Mapping[Key, Row]],
    evaluation: str,
    where: Where,
    method: Method = DEFAULT,
    *,
    metric: str = "",
    resamples: int = RESAMPLES,
) -> Estimate | None:
    """The mean score of one side, or the difference of the second of two minus the first; None without a run.

    Only runs that all sides have are counted. With several pretrainings the readers are the pretrainings, each averaged
    over its seeds.

    Args:
        sides: the finished runs of each side.
        evaluation: the evaluation set.
        where: the folders of the rows.
        method: how the interval is made.
        metric: name of the metric; by default the headline metric.
        resamples: number of resamples of the bootstrap.

    Raises:
        InputError: the runs were scored on different labels.
    """
    keys = [key for key in sides[0] if all(key in side for side in sides)]
    if not keys:
        return None
    first = sides[0][keys[0]]
    predictions, labels = stack([side[key] for side in sides for key in keys], evaluation, where)
    stacked = predictions.reshape(len(sides), len(keys), -1)
    return estimate_stacked(stacked, labels, keys, metric or first.metric, first.groups(), method, resamples)


def estimate_stacked(
    stacked: np.ndarray,
    labels: np.ndarray,
    keys: Sequence[Key],
    metric: str,
    groups: np.ndarray | None = None,
    method: Method = DEFAULT,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean score of one side, or the difference of the second of two minus the first, from their predictions.

    Args:
        stacked: [M K N] predictions of M sides, which is 1 or 2, by the same K runs.
        labels: [N].
        keys: the K runs.
        metric: name of the metric.
        groups: [N] the group of each example, for a metric that is averaged over groups.
        method: how the interval is made.
        resamples: number of resamples of the bootstrap.
    """
    level, sides = level_of(keys), len(stacked)
    readers = [pretraining for pretraining, _ in keys] if level == "pretrainings" else None
    measured = measure(metric, stacked, labels, readers=readers, groups=groups)
    components = measured.side(0) if sides == 1 else measured.difference(0, 1)
    if method == "obuchowski-rockette":
        figures = components.test()
    elif sides == 1:
        ((low, high),) = intervals(metric, stacked, labels, readers=readers, groups=groups, resamples=resamples)
        figures = Difference(components.mean, low, high, float("nan"))
    else:
        (figures,) = paired_bootstraps(
            metric, stacked, [(0, 1)], labels, readers=readers, groups=groups, resamples=resamples
        )
    return Estimate(_within_range(figures, metric, sides), len(keys), level, components)


def _within_range(figures: Difference, metric: str, sides: int) -> Difference:
    """The figures with their interval clipped to the range of the metric, or of a difference of it."""
    least, most = (-1.0 if metric.partition("_")[0] in CORRELATIONS else 0.0), 1.0
    least, most = (least, most) if sides == 1 else (least - most, most - least)
    return figures._replace(low=max(least, figures.low), high=min(most, figures.high))


def stack(rows: Sequence[Row], evaluation: str, where: Where) -> tuple[np.ndarray, np.ndarray]:
    """The predictions of some runs [K N], and their labels [N].

    Raises:
        InputError: the runs were scored on different labels.
    """
    folders = [where[row.id] if isinstance(where, Mapping) else where for row in rows]
    loaded = [read_predictions(folder, row)[evaluation] for folder, row in zip(folders, rows, strict=True)]
    labels = loaded[0][1]
    for row, folder, (_, others) in zip(rows, folders, loaded, strict=True):
        if not np.array_equal(labels, others):
            raise InputError(
                f"{folder}: runs {rows[0].id} and {row.id} were scored on different {evaluation} labels; "
                "experiments.repair splits such a folder by its data"
            )
    return np.stack([predictions for predictions, _ in loaded]), labels
