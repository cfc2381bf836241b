"""Comparison of readouts from rows: scores with their intervals, and paired differences, as data frames.

Scores are the headline metric of each task times 100. If several learning rates were tried, one is chosen per task and
readout: on held-out training rows if the runs were scored on them, otherwise on the first evaluation set.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bert_jax.analysis.estimates import (
    DEFAULT,
    Estimate,
    Key,
    Method,
    Where,
    estimate,
    finished,
    num_resamples,
)
from bert_jax.analysis.statistics import adjust
from bert_jax.errors import unknown
from bert_jax.files import Json
from bert_jax.spec import split_outside_brackets
from bert_jax.study.regimes import has_seeds
from bert_jax.study.store import HELD_OUT, SEEDLESS, Row

SUFFIXES = {"validation_mismatched": "mm", "test_mismatched": "mm"}
"""Suffix of the task's title for a second evaluation set; the suffix of any other set is its own name."""
IDENTITY = ["regime", "label", "task", "evaluation", "readout", "reference", "pairs"]
FIGURES = ["difference", "low", "high", "p"]
KEPT = ["pairs_kept", *(f"{name}_kept" for name in FIGURES)]
"""The same figures without the pairs that contain a degenerate run."""


@dataclass(frozen=True, eq=False)
class Cell:
    """The runs of one readout on one task, at the learning rate chosen for them."""

    rows: tuple[Row, ...]
    rates_tried: int
    selected_on: str = ""
    """Data that the rate was chosen on: heldout or evaluation."""

    @property
    def ok(self) -> dict[Key, Row]:
        """The runs that did not fail, by pretraining and seed."""
        return finished(self.rows)

    def trained(self, evaluation: str) -> dict[Key, Row]:
        """The runs that are better than the majority baseline."""
        return {key: row for key, row in self.ok.items() if not row.is_degenerate(evaluation)}


CellsOfTasks = dict[str, dict[str, Cell]]
"""task -> readout -> cell, tasks and readouts in the order of their first rows."""


def grid(rows: list[Row]) -> CellsOfTasks:
    """The rows arranged for comparison, with one learning rate in each cell."""
    readouts = dict.fromkeys(row.name for row in rows)
    cells: CellsOfTasks = {}
    for task in dict.fromkeys(row.task for row in rows):
        of_task = [row for row in rows if row.task == task]
        groups = {readout: [row for row in of_task if row.name == readout] for readout in readouts}
        cells[task] = {readout: _choose_rate(group) for readout, group in groups.items() if group}
    return cells


def by_regime(rows: list[Row]) -> dict[str, list[Row]]:
    """regime -> its rows, regimes in the order of their first rows."""
    return {regime: [row for row in rows if row.regime == regime] for regime in dict.fromkeys(r.regime for r in rows)}


def summarise(rows: list[Row], where: Where, method: Method = DEFAULT) -> pd.DataFrame:
    """One line per regime, task, evaluation set and readout.

    Over the runs that finished: seeds (their number), mean, sd (between seeds, n - 1; NaN with one), low and high (the
    95% interval of the mean), over (what the interval is over: pretrainings, seeds or examples), seeded (False if no
    seed can change the result) and degenerate (number of runs). With several pretrainings, seeds counts the runs of all
    of them. Over all runs: failed (their number), majority (the baseline), learning_rate (chosen among rates_tried, on
    selected_on) and seconds (mean wall time of a run). anisotropy is NaN if the rows lack it. readout is the name of a
    row, made of reading and blind.
    """
    lines = []
    for of_regime in by_regime(rows).values():
        for cells, evaluation in evaluations(grid(of_regime)):
            found = [estimate([cell.ok], evaluation, where, method) for cell in cells.values()]
            lines += [_summary(*each, evaluation) for each in zip(cells.values(), found, strict=True)]
    return pd.DataFrame(lines)


def parts_of(name: str) -> tuple[str, ...]:
    """Layers, pooling and projection of a readout by its name; a name of another form is one part."""
    return tuple(split_outside_brackets(name, "/"))


def is_grid(readouts: list[str]) -> bool:
    """True for every combination of several layers and several poolings, which are best seen as a map."""
    parts = [parts_of(readout) for readout in readouts]
    if {len(part) for part in parts} != {3}:
        return False
    sizes = [len({part[i] for part in parts}) for i in range(3)]
    return min(sizes[:2]) > 1 and len(set(parts)) == math.prod(sizes)


def references(readouts: list[str]) -> dict[str, str]:
    """readout -> its reference: the first readout; in a grid, the first pooling at the same layers."""
    if not is_grid(readouts):
        return dict.fromkeys(readouts, readouts[0])
    first = parts_of(readouts[0])[1]
    parts = {readout: parts_of(readout) for readout in readouts}
    return {readout: f"{layers}/{first}/{projection}" for readout, (layers, _, projection) in parts.items()}


def differences(
    rows: list[Row], where: Where, reference: str | None = None, together: int = 0, method: Method = DEFAULT
) -> pd.DataFrame:
    """Each other readout minus its reference on every task and evaluation set: columns `IDENTITY`, `FIGURES`, `KEPT`.

    Only seeds that finished on both sides are compared, and `pairs` says how many; with none the figures are NaN.
    p_adjusted is that of `correct`. `over` is what the interval is over, `components`
    the `Components` of the difference, not times 100, and `seeded` is False if no seed can change the difference.

    Args:
        where: the folders of the rows.
        reference: a readout; by default the one from `references`.
        together: number of comparisons that the caller corrects together, if larger than that of the frame.
        method: how intervals are made.

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
    lines = [_difference(a, b, evaluation, where, method, resamples) for pairs, evaluation in compare for a, b in pairs]
    frame = pd.DataFrame(lines, columns=[*IDENTITY, *FIGURES, *KEPT, "over", "components", "verdict", "seeded"])
    return correct(frame)


def correct(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with p_adjusted: p corrected for all comparisons in it (Holm), NaN where `verdict` is not True.

    A comparison without a verdict counts in the correction: leaving it out would make the others look better.
    """
    adjusted = adjust(frame["p"].to_numpy(float))
    return frame.assign(p_adjusted=np.where(frame["verdict"].eq(True), adjusted, math.nan))


def may_judge(sides: Iterable[Sequence[Row]], evaluation: str) -> bool:
    """True if a difference between sides may be judged; False if all runs of a side are degenerate."""
    return not any(all(row.is_degenerate(evaluation) for row in rows) for rows in sides)


def _choose_rate(rows: list[Row]) -> Cell:
    """The runs at the best of several rates: by the mean score on held-out training rows if all runs have it, otherwise
    on the first evaluation set."""
    evaluation = next(iter(rows[0].majority))
    held_out = all(HELD_OUT in row.details for row in rows if row.ok) and any(row.ok for row in rows)
    rates: dict[float | None, list[Row]] = {}
    for row in rows:
        rates.setdefault(row.learning_rate, []).append(row)

    # A failed run counts as the majority baseline, so that a rate that often fails is not chosen for its luck.
    def score(row: Row) -> float:
        return float(row.details[HELD_OUT][row.metric]) if held_out and row.ok else row.score(evaluation)

    def merit(rate: float | None) -> tuple[float, int]:
        mean = np.mean([score(row) for row in rates[rate]])
        return float(np.nan_to_num(mean, nan=-1)), sum(row.ok for row in rates[rate])

    best = max(rates, key=merit)
    selected_on = ("heldout" if held_out else "evaluation") if len(rates) > 1 else ""
    return Cell(tuple(rates[best]), len(rates), selected_on)


def evaluations(cells: CellsOfTasks) -> Iterator[tuple[dict[str, Cell], str]]:
    """A task's cells by readout, with the name of an evaluation set, for each evaluation set."""
    for by_readout in cells.values():
        for evaluation in next(iter(by_readout.values())).rows[0].majority:
            yield by_readout, evaluation


def label(row: Row, evaluation: str) -> str:
    """The name of a task's evaluation set in a table: MNLI, MNLI-mm."""
    first = next(iter(row.majority))
    return row.title if evaluation == first else f"{row.title}-{SUFFIXES.get(evaluation, evaluation)}"


def _summary(cell: Cell, found: Estimate | None, evaluation: str) -> Json:
    first, ok = cell.rows[0], list(cell.ok.values())
    scores = 100 * np.array([row.score(evaluation) for row in ok])
    return {
        "regime": first.regime,
        "label": label(first, evaluation),
        "task": first.task,
        "evaluation": evaluation,
        "metric": first.metric,
        "readout": first.name,
        "reading": first.readout,
        "blind": first.blind,
        "seeds": len(ok),
        "mean": scores.mean() if ok else math.nan,
        "sd": scores.std(ddof=1) if len(ok) > 1 else math.nan,
        "low": found.in_points().low if found else math.nan,
        "high": found.in_points().high if found else math.nan,
        "over": found.level if found else "",
        "seeded": is_seeded(first),
        "majority": 100 * first.majority[evaluation][first.metric],
        "degenerate": sum(row.is_degenerate(evaluation) for row in ok),
        "failed": len(cell.rows) - len(ok),
        "learning_rate": first.learning_rate,
        "rates_tried": cell.rates_tried,
        "selected_on": cell.selected_on,
        "seconds": np.mean([row.seconds for row in cell.rows]),
        "anisotropy": np.mean([row.details.get("anisotropy", math.nan) for row in cell.rows]),
    }


def _difference(a: Cell, b: Cell, evaluation: str, where: Where, method: Method, resamples: int) -> Json:
    """Cell b of a task minus its reference a, with all runs and without those that are degenerate."""
    first, nothing = b.rows[0], [0, *[math.nan] * len(FIGURES)]
    found = estimate([a.ok, b.ok], evaluation, where, method, resamples=resamples)
    kept = estimate([a.trained(evaluation), b.trained(evaluation)], evaluation, where, method, resamples=resamples)
    names = [first.regime, label(first, evaluation), first.task, evaluation, first.name, a.rows[0].name]
    figures = [[one.runs, *one.in_points()] if one else nothing for one in (found, kept)]
    line = dict(zip([*IDENTITY, *FIGURES, *KEPT], [*names, *figures[0], *figures[1]], strict=True))
    shared = [key for key in a.ok if key in b.ok]
    verdict = bool(shared) and may_judge(([cell.ok[key] for key in shared] for cell in (a, b)), evaluation)
    details = {"over": found.level, "components": found.components} if found else {"over": "", "components": None}
    return line | details | {"verdict": verdict, "seeded": is_seeded(first)}


def is_seeded(row: Row) -> bool:
    """True if another seed can give another result."""
    return has_seeds(row.regime) and SEEDLESS not in row.details


def short_names(readouts: list[str]) -> dict[str, str]:
    """readout -> a short name: those of its three parts that differ between readouts."""
    parts = [parts_of(readout) for readout in readouts]
    if len(readouts) == 1 or {len(part) for part in parts} != {3}:
        return dict(zip(readouts, readouts, strict=True))
    differing = [i for i in range(3) if len({part[i] for part in parts}) > 1]
    return {readout: "/".join(part[i] for i in differing) for readout, part in zip(readouts, parts, strict=True)}
