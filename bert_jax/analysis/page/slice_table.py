"""The table of slices of a page."""

import math
from collections.abc import Sequence

import numpy as np

from bert_jax.analysis.page.examined import Examined, OfTask
from bert_jax.analysis.page.sets import class_names, texts_of
from bert_jax.analysis.page.slices import SliceScore, find_slices, score_slices
from bert_jax.analysis.page.tables import Cell, Table, kind_of, make_table, number_cell
from bert_jax.analysis.statistics import Difference, adjust
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import read_predictions

SLICED = 12
"""Readouts of a task whose slices are shown; of more, those with the highest scores and what they are compared with."""


def make_slices(examined: Sequence[Examined]) -> Table:
    """A line for each readout on each slice of each task; p is corrected for all comparisons of the table (Holm)."""
    found = [(one, of, score) for one in examined for of in one.tasks() for score in _score(one, of)]
    raw = [math.nan if score.change is None else score.change.p_value for _, _, score in found]
    adjusted = adjust(np.array(raw, float))
    return make_table(
        [_line(*parts, p if parts[2].verdict else math.nan) for parts, p in zip(found, adjusted, strict=True)]
    )


def _score(found: Examined, of: OfTask) -> list[SliceScore]:
    sides = {name: cell.ok for name, cell in of.cells.items() if cell.ok}
    compared, means = found.compared_on(of), found.summary_of(of).set_index("readout")["mean"]
    references = dict(zip(compared["readout"], compared["reference"], strict=True))
    if len(sides) > SLICED:
        best = list(means.loc[list(sides)].nlargest(SLICED).index)
        chosen = {*best, *(references[name] for name in best if name in references)}
        sides = {name: runs for name, runs in sides.items() if name in chosen}
    if not sides:
        return []
    row = next(iter(next(iter(sides.values())).values()))
    labels, examples = read_predictions(found.folder, row)[of.evaluation][1], texts_of(found, of)
    names = None
    if not row.is_regression:
        classes = class_names(row, labels, examples, int(labels.max()) + 1)
        names = [classes[label] for label in labels]
    groups = row.groups()
    subsets = {} if groups is None else {n: groups == i for i, n in enumerate(row.details["subsets"])}
    slices = find_slices(names, examples, subsets)
    judged = set(compared.loc[compared["verdict"].eq(True), "readout"])
    return list(score_slices(slices, sides, references, judged, of.evaluation, found.folder))


def _line(found: Examined, of: OfTask, one: SliceScore, p: float) -> dict[str, Cell]:
    change, size = one.change, int(one.of.members.sum())
    return {
        "Task": Cell(of.label),
        "Encoder": Cell(found.encoder),
        "Regime": Cell(regime_title(of.regime)),
        "Slices by": Cell(one.of.kind),
        "Slice": Cell(one.of.name),
        "Examples": number_cell(f"{size:,}", size),
        "Readout": Cell(found.names[one.readout]),
        "Metric": Cell(one.metric),
        "Score": number_cell(_interval(one.score, ""), one.score.mean),
        "Difference": Cell("")
        if change is None
        else number_cell(_interval(change, "+"), change.mean, kind_of(change.mean, p)),
        "p": number_cell("" if math.isnan(p) else f"{p:.3f}", p),
    }


def _interval(figures: Difference, sign: str) -> str:
    return f"{figures.mean:{sign}.1f} [{figures.low:.1f}, {figures.high:.1f}]"
