"""What rows say of readouts: scores with their intervals, and paired differences, as data frames.

Scores are the headline metric of each task times 100. A learning rate that was one of several is chosen
per task and readout by the mean score on the task's first evaluation set.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bert_jax.errors import InputError, unknown
from bert_jax.results import Row, read_predictions
from bert_jax.statistics import adjust, interval, paired_bootstrap

RESAMPLES = 1000
RESAMPLES_PER_COMPARISON = 100
"""The smallest p-value is 2 / (resamples + 1); times the number of comparisons it must still be able to be small."""
SUFFIXES = {"validation_mismatched": "mm", "test_mismatched": "mm"}
"""What the second evaluation set of a task adds to its title; any other adds its own name."""
IDENTITY = ["label", "task", "evaluation", "readout", "reference", "pairs"]
FIGURES = ["difference", "low", "high", "p"]


@dataclass(frozen=True)
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
    readouts = dict.fromkeys(row.readout for row in rows)
    cells: Grid = {}
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        groups = {readout: [row for row in of_task if row.readout == readout] for readout in readouts}
        cells[task] = {readout: _choose_rate(group) for readout, group in groups.items() if group}
    return cells


def summarise(rows: list[Row], folder: Path) -> pd.DataFrame:
    """One line per task, evaluation set and readout.

    Of the runs that finished: seeds (how many), mean, sd (between seeds, n - 1; NaN with one), low and high (the 95%
    interval of the mean over seeds and examples) and degenerate (how many). Of all: failed (how many), majority
    (the baseline), learning_rate (the one chosen of rates_tried) and seconds (mean wall time of a run).
    """
    return pd.DataFrame(
        _summary(cell, evaluation, folder) for cells, evaluation in evaluations(grid(rows)) for cell in cells.values()
    )


def differences(rows: list[Row], folder: Path, reference: str | None = None) -> pd.DataFrame:
    """Each other readout minus the reference on every task and evaluation set: columns `IDENTITY` and `FIGURES`.

    Only seeds that finished on both sides are compared, and `pairs` says how many; with none the figures are NaN.
    p_adjusted is corrected for the comparisons in the frame (Holm).

    Args:
        reference: a readout; by default the first in the rows.

    Raises:
        InputError: no row has the reference, or runs of one task were scored on different labels.
    """
    readouts = list(dict.fromkeys(row.readout for row in rows))
    reference = reference or readouts[0]
    if reference not in readouts:
        raise unknown("readout", reference, readouts)
    sides = [
        (cells[reference], cell, evaluation)
        for cells, evaluation in evaluations(grid(rows))
        for readout, cell in cells.items()
        if readout != reference and reference in cells
    ]
    resamples = max(RESAMPLES, RESAMPLES_PER_COMPARISON * len(sides))
    frame = pd.DataFrame([_difference(*side, folder, resamples) for side in sides], columns=IDENTITY + FIGURES)
    return frame.assign(p_adjusted=adjust(frame["p"].to_numpy(float)))


def _choose_rate(rows: list[Row]) -> Cell:
    evaluation = next(iter(rows[0].majority))
    rates: dict[float, list[Row]] = {}
    for row in rows:
        rates.setdefault(row.learning_rate, []).append(row)
    # A failed run counts as the majority baseline, so that a rate that often fails is not chosen for its luck.

    def merit(rate: float) -> tuple[float, int]:
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


def _summary(cell: Cell, evaluation: str, folder: Path) -> dict[str, Any]:
    first, ok = cell.rows[0], list(cell.ok.values())
    scores = 100 * np.array([row.score(evaluation) for row in ok])
    low, high = interval(first.metric, *_stack(ok, evaluation, folder)) if ok else (math.nan, math.nan)
    return {
        "label": label(first, evaluation),
        "task": first.task,
        "evaluation": evaluation,
        "metric": first.metric,
        "readout": first.readout,
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
    }


def _difference(a: Cell, b: Cell, evaluation: str, folder: Path, resamples: int) -> dict[str, Any]:
    first = b.rows[0]
    seeds = [seed for seed in a.ok if seed in b.ok]
    figures = [math.nan] * 4
    if seeds:
        rows = [a.ok[seed] for seed in seeds] + [b.ok[seed] for seed in seeds]
        predictions, labels = _stack(rows, evaluation, folder)
        one, other = np.split(predictions, 2)
        found = paired_bootstrap(first.metric, one, other, labels, resamples=resamples)
        figures = [100 * found.mean, 100 * found.low, 100 * found.high, found.p_value]
    names = [label(first, evaluation), first.task, evaluation, first.readout, a.rows[0].readout]
    return dict(zip(IDENTITY + FIGURES, [*names, len(seeds), *figures], strict=True))


def short_names(readouts: list[str]) -> dict[str, str]:
    """readout -> those of its three parts in which readouts differ."""
    parts = [readout.split("/") for readout in readouts]
    if len(readouts) == 1 or {len(part) for part in parts} != {3}:
        return dict(zip(readouts, readouts, strict=True))
    differing = [i for i in range(3) if len({part[i] for part in parts}) > 1]
    return {readout: "/".join(part[i] for i in differing) for readout, part in zip(readouts, parts, strict=True)}
