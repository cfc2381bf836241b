"""What rows say of readouts: scores with their intervals, and paired differences, as data frames.

Scores are the headline metric of each task times 100. A learning rate that was one of several is chosen
per task and readout by the mean score on the task's first evaluation set.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bert_jax.analysis.statistics import adjust, intervals, paired_bootstraps
from bert_jax.errors import InputError, unknown
from bert_jax.study.store import Row, read_predictions

RESAMPLES = 1000
RESAMPLES_PER_COMPARISON = 100
"""The smallest p-value is 2 / (resamples + 1); times the number of comparisons it must still be able to be small."""


def num_resamples(comparisons: int) -> int:
    """Of the bootstrap, for each of so many comparisons that are corrected together."""
    return max(RESAMPLES, RESAMPLES_PER_COMPARISON * comparisons)


SUFFIXES = {"validation_mismatched": "mm", "test_mismatched": "mm"}
"""What the second evaluation set of a task adds to its title; any other adds its own name."""
IDENTITY = ["regime", "label", "task", "evaluation", "readout", "reference", "pairs"]
FIGURES = ["difference", "low", "high", "p", "verdict"]


@dataclass(frozen=True, eq=False)
class Cell:
    """The runs of one readout on one task, at the learning rate chosen for them."""

    rows: tuple[Row, ...]
    rates_tried: int

    @property
    def ok(self) -> dict[int, Row]:
        """The runs that did not fail, by seed."""
        return {row.seed: row for row in sorted(self.rows, key=lambda row: row.seed) if row.ok}


Grid = dict[str, dict[str, Cell]]
"""task -> readout -> cell, tasks and readouts in the order of their first rows."""


def grid(rows: list[Row]) -> Grid:
    """The rows arranged for comparison, with one learning rate in each cell."""
    readouts = dict.fromkeys(row.name for row in rows)
    cells: Grid = {}
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        groups = {readout: [row for row in of_task if row.name == readout] for readout in readouts}
        cells[task] = {readout: _choose_rate(group) for readout, group in groups.items() if group}
    return cells


def by_regime(rows: list[Row]) -> dict[str, list[Row]]:
    """regime -> its rows, regimes in the order of their first rows."""
    return {regime: [row for row in rows if row.regime == regime] for regime in dict.fromkeys(r.regime for r in rows)}


def summarise(rows: list[Row], folder: Path) -> pd.DataFrame:
    """One line per regime, task, evaluation set and readout.

    Of the runs that finished: seeds (how many), mean, sd (between seeds, n - 1; NaN with one), low and high (the 95%
    interval of the mean over seeds and examples) and degenerate (how many). Of all: failed (how many), majority
    (the baseline), learning_rate (the one chosen of rates_tried) and seconds (mean wall time of a run). anisotropy is
    NaN where rows do not say it.
    """
    lines = []
    for of_regime in by_regime(rows).values():
        for cells, evaluation in evaluations(grid(of_regime)):
            bounds = _intervals(list(cells.values()), evaluation, folder)
            lines += [_summary(cell, evaluation, *bounds[readout]) for readout, cell in cells.items()]
    return pd.DataFrame(lines)


def is_grid(readouts: list[str]) -> bool:
    """True for every combination of several layers and several poolings, which are best seen as a map."""
    parts = [tuple(readout.split("/")) for readout in readouts]
    if {len(part) for part in parts} != {3}:
        return False
    sizes = [len({part[i] for part in parts}) for i in range(3)]
    return min(sizes[:2]) > 1 and len(set(parts)) == math.prod(sizes)


def references(readouts: list[str]) -> dict[str, str]:
    """What each readout is compared with: the first one; in a grid, the first pooling at the same layers."""
    if not is_grid(readouts):
        return dict.fromkeys(readouts, readouts[0])
    first = readouts[0].split("/")[1]
    parts = {readout: readout.split("/") for readout in readouts}
    return {readout: f"{layers}/{first}/{projection}" for readout, (layers, _, projection) in parts.items()}


def differences(rows: list[Row], folder: Path, reference: str | None = None, together: int = 0) -> pd.DataFrame:
    """Each other readout minus its reference on every task and evaluation set: columns `IDENTITY` and `FIGURES`.

    Only seeds that finished on both sides are compared, and `pairs` says how many; with none the figures are NaN.
    p_adjusted is that of `correct`.

    Args:
        reference: a readout; by default what `references` says.
        together: comparisons that the caller corrects together, if they are more than those of the frame.

    Raises:
        InputError: no row has the reference, or runs of one task were scored on different labels.
    """
    readouts = list(dict.fromkeys(row.name for row in rows))
    if reference is not None and reference not in readouts:
        raise unknown("readout", reference, readouts)
    compare: list[tuple[list[tuple[Cell, Cell]], str]] = []
    for of_regime in by_regime(rows).values():
        its_own = references(list(dict.fromkeys(row.name for row in of_regime)))
        to = dict.fromkeys(readouts, reference) if reference else its_own
        for cells, evaluation in evaluations(grid(of_regime)):
            others = [readout for readout in cells if to[readout] != readout and to[readout] in cells]
            compare.append(([(cells[to[readout]], cells[readout]) for readout in others], evaluation))
    resamples = num_resamples(max(together, sum(len(pairs) for pairs, _ in compare)))
    lines = [line for pairs, evaluation in compare for line in _differences(pairs, evaluation, folder, resamples)]
    return correct(pd.DataFrame(lines, columns=IDENTITY + FIGURES))


def correct(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with p_adjusted: p corrected for all comparisons in it (Holm), NaN where `verdict` is not True.

    A comparison without a verdict counts in the correction: leaving it out would make the others look better.
    """
    adjusted = adjust(frame["p"].to_numpy(float))
    return frame.assign(p_adjusted=np.where(frame["verdict"].eq(True), adjusted, math.nan))


def may_judge(sides: Iterable[Sequence[Row]], evaluation: str) -> bool:
    """Whether a difference between sides may be called one: not where all runs of a side are degenerate."""
    return not any(all(row.is_degenerate(evaluation) for row in rows) for rows in sides)


def _choose_rate(rows: list[Row]) -> Cell:
    evaluation = next(iter(rows[0].majority))
    rates: dict[float | None, list[Row]] = {}
    for row in rows:
        rates.setdefault(row.learning_rate, []).append(row)
    # A failed run counts as the majority baseline, so that a rate that often fails is not chosen for its luck.

    def merit(rate: float | None) -> tuple[float, int]:
        mean = np.mean([row.score(evaluation) for row in rates[rate]])
        return float(np.nan_to_num(mean, nan=-1)), sum(row.ok for row in rates[rate])

    best = max(rates, key=merit)
    return Cell(tuple(rates[best]), len(rates))


def evaluations(cells: Grid) -> Iterator[tuple[dict[str, Cell], str]]:
    """A task's cells by readout, with the name of an evaluation set, for each evaluation set."""
    for by_readout in cells.values():
        for evaluation in next(iter(by_readout.values())).rows[0].majority:
            yield by_readout, evaluation


def label(row: Row, evaluation: str) -> str:
    """The name of a task's evaluation set in a table: MNLI, MNLI-mm."""
    first = next(iter(row.majority))
    return row.title if evaluation == first else f"{row.title}-{SUFFIXES.get(evaluation, evaluation)}"


def _stack(rows: list[Row], evaluation: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(predictions [S N], labels [N])."""
    loaded = [read_predictions(folder, row)[evaluation] for row in rows]
    labels = loaded[0][1]
    for row, (_, others) in zip(rows, loaded, strict=True):
        if not np.array_equal(labels, others):
            raise InputError(f"{folder}: runs {rows[0].id} and {row.id} were scored on different {evaluation} labels")
    return np.stack([predictions for predictions, _ in loaded]), labels


def _intervals(cells: list[Cell], evaluation: str, folder: Path) -> dict[str, tuple[float, float]]:
    """readout -> the interval of its mean; cells with the same seeds share their draws."""
    found = {cell.rows[0].name: (math.nan, math.nan) for cell in cells}
    for seeds in dict.fromkeys(tuple(cell.ok) for cell in cells if cell.ok):
        alike = [cell for cell in cells if tuple(cell.ok) == seeds]
        first, (sides, labels) = alike[0].rows[0], _sides(alike, seeds, evaluation, folder)
        bounds = intervals(first.metric, sides, labels, groups=first.groups())
        found |= {cell.rows[0].name: bound for cell, bound in zip(alike, bounds, strict=True)}
    return found


def _sides(cells: list[Cell], seeds: Sequence[int], evaluation: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """(predictions [M S N] of some seeds of each cell, labels [N])."""
    predictions, labels = _stack([cell.ok[seed] for cell in cells for seed in seeds], evaluation, folder)
    return predictions.reshape(len(cells), len(seeds), -1), labels


def _summary(cell: Cell, evaluation: str, low: float, high: float) -> dict[str, Any]:
    first, ok = cell.rows[0], list(cell.ok.values())
    scores = 100 * np.array([row.score(evaluation) for row in ok])
    return {
        "regime": first.regime,
        "label": label(first, evaluation),
        "task": first.task,
        "evaluation": evaluation,
        "metric": first.metric,
        "readout": first.name,
        "seeds": len(ok),
        "mean": scores.mean() if ok else math.nan,
        "sd": scores.std(ddof=1) if len(ok) > 1 else math.nan,
        "low": 100 * low,
        "high": 100 * high,
        "majority": 100 * first.majority[evaluation][first.metric],
        "degenerate": sum(row.is_degenerate(evaluation) for row in ok),
        "failed": len(cell.rows) - len(ok),
        "learning_rate": first.learning_rate,
        "rates_tried": cell.rates_tried,
        "seconds": np.mean([row.seconds for row in cell.rows]),
        "anisotropy": np.mean([row.details.get("anisotropy", math.nan) for row in cell.rows]),
    }


def _differences(pairs: list[tuple[Cell, Cell]], evaluation: str, folder: Path, resamples: int) -> list[dict[str, Any]]:
    """A line for each pair (reference, other) of cells of one task; pairs with the same seeds share their draws."""
    shared = [tuple(seed for seed in a.ok if seed in b.ok) for a, b in pairs]
    figures: list[list[float | bool]] = [[math.nan] * 4 + [False] for _ in pairs]
    for seeds in dict.fromkeys(filter(None, shared)):
        alike = [i for i, common in enumerate(shared) if common == seeds]
        cells = list(dict.fromkeys(cell for i in alike for cell in pairs[i]))
        sides, labels = _sides(cells, seeds, evaluation, folder)
        places = [(cells.index(pairs[i][0]), cells.index(pairs[i][1])) for i in alike]
        first = cells[0].rows[0]
        found = paired_bootstraps(first.metric, sides, places, labels, groups=first.groups(), resamples=resamples)
        for i, difference in zip(alike, found, strict=True):
            verdict = may_judge(([cell.ok[seed] for seed in seeds] for cell in pairs[i]), evaluation)
            figures[i] = [*(100 * value for value in difference[:3]), difference.p_value, verdict]
    lines = []
    for (a, b), seeds, values in zip(pairs, shared, figures, strict=True):
        first = b.rows[0]
        names = [first.regime, label(first, evaluation), first.task, evaluation, first.name, a.rows[0].name]
        lines.append(dict(zip(IDENTITY + FIGURES, [*names, len(seeds), *values], strict=True)))
    return lines


def short_names(readouts: list[str]) -> dict[str, str]:
    """readout -> those of its three parts in which readouts differ."""
    parts = [readout.split("/") for readout in readouts]
    if len(readouts) == 1 or {len(part) for part in parts} != {3}:
        return dict(zip(readouts, readouts, strict=True))
    differing = [i for i in range(3) if len({part[i] for part in parts}) > 1]
    return {readout: "/".join(part[i] for i in differing) for readout, part in zip(readouts, parts, strict=True)}
