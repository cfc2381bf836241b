"""The table of scores and the heat maps of a page, as plain values for its template."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from bert_jax.analysis.comparison import is_grid, parts_of
from bert_jax.analysis.figures import SIGNIFICANT
from bert_jax.analysis.page.examined import Examined, OfTask
from bert_jax.analysis.wording import change_text, num_digits, rate_text, score_text, troubles, without_text
from bert_jax.study.regimes import regime_title

FILTERED = ("Task", "Encoder", "Regime", "Readout", "Slices by")
"""Columns that a table can be filtered by."""
WORDS = (*FILTERED, "Metric", "Slice", "Every run")
"""Columns that are set flush left."""


class Cell(NamedTuple):
    """A cell of a table. order: what the cell is sorted by. kind: a class of its style."""

    text: str
    order: str | float = ""
    kind: str = ""
    strip: "Strip | None" = None


class Point(NamedTuple):
    """A run on a strip. x, y: place in percent."""

    x: float
    y: float
    hollow: bool
    title: str


class Strip(NamedTuple):
    """The scores of the runs of a readout on a line, and the interval of their mean. Places are in percent."""

    low: float
    high: float
    mean: float
    majority: float | None
    points: list[Point]
    ends: tuple[str, str]
    title: str


class Table(NamedTuple):
    """Columns and lines. filters: column -> its values, for columns with several."""

    columns: list[str]
    lines: list[list[Cell]]
    filters: dict[str, list[str]]


def make_table(lines: Sequence[dict[str, Cell]]) -> Table:
    """A table without its empty columns, task by task."""
    tasks = _values(lines, "Task")
    lines = sorted(lines, key=lambda line: tasks.index(line["Task"].text))
    names = list(dict.fromkeys(name for line in lines for name in line))
    used = [name for name in names if any(name in line and (line[name].text or line[name].strip) for line in lines)]
    shown = [name for name in used if name not in ("Encoder", "Regime", "Rate") or len(_values(lines, name)) > 1]
    filters = {name: _values(lines, name) for name in shown if name in FILTERED}
    cells = [[line.get(name, Cell("")) for name in shown] for line in lines]
    return Table(shown, cells, {name: values for name, values in filters.items() if len(values) > 1})


def _values(lines: Sequence[dict[str, Cell]], name: str) -> list[str]:
    return list(dict.fromkeys(line[name].text for line in lines if name in line))


def number_cell(text: str, value: float, kind: str = "") -> Cell:
    """A cell that is sorted by a number; NaN comes last."""
    return Cell(text, "" if math.isnan(value) else value, kind)


def make_scores(examined: Sequence[Examined]) -> Table:
    """A line for each readout of each task, with every run as a point."""
    ranges = _ranges(examined)
    lines = []
    for found in examined:
        for of in found.tasks():
            merged = found.summary_of(of).merge(
                found.compared_on(of).drop(columns=["regime", "label", "task", "evaluation", "seeded", "over"]),
                "left",
                on="readout",
                suffixes=("_of_mean", ""),
            )
            lines += [_scores(found, of, line, ranges[of.label, line["metric"]]) for _, line in merged.iterrows()]
    return make_table(lines)


def _scores(found: Examined, of: OfTask, line: pd.Series, ends: tuple[float, float]) -> dict[str, Cell]:
    paired, p = line["pairs"] > 0, line["p_adjusted"]
    anisotropy = line["anisotropy"]
    strip = _strip(of, line, ends)
    return {
        "Task": Cell(of.label),
        "Metric": Cell(line["metric"]),
        "Encoder": Cell(found.encoder),
        "Regime": Cell(regime_title(of.regime)),
        "Readout": Cell(found.names[line["readout"]]),
        "Score": number_cell(score_text(line), line["mean"]),
        "Every run": Cell("", "" if strip is None else line["mean"], strip=strip),
        "Difference": number_cell(change_text(line), line["difference"], kind_of(line["difference"], p))
        if paired
        else Cell(""),
        "p": number_cell("" if math.isnan(p) else f"{p:.3f}", p),
        "Without degenerate": Cell(without_text(line)),
        "Runs": number_cell(", ".join([str(line["seeds"]), *troubles(line)]), line["seeds"]),
        "Rate": Cell(rate_text(line["learning_rate"])),
        "Anisotropy": number_cell("" if math.isnan(anisotropy) else f"{anisotropy:.3f}", anisotropy),
        "Time": number_cell(f"{line['seconds']:.0f} s", line["seconds"]),
    }


def kind_of(difference: float, p: float) -> str:
    """Style of a difference: ahead or behind if its corrected p is below `SIGNIFICANT`, or else none."""
    if not p < SIGNIFICANT:
        return ""
    return "ahead" if difference > 0 else "behind"


def _ranges(examined: Sequence[Examined]) -> dict[tuple[str, str], tuple[float, float]]:
    """(set, metric) -> ends of its strips: all scores and intervals, with some room."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in examined:
        for of in one.tasks():
            summary = one.summary_of(of)
            values = found.setdefault((of.label, summary["metric"].iloc[0]), [])
            values += [*summary["low"], *summary["high"]]
            values += [100 * row.score(of.evaluation) for cell in of.cells.values() for row in cell.ok.values()]
    ends = {}
    for key, values in found.items():
        finite = [value for value in values if math.isfinite(value)] or [0.0, 100.0]
        room = 0.04 * max(1.0, max(finite) - min(finite))
        ends[key] = min(finite) - room, max(finite) + room
    return ends


def _strip(of: OfTask, line: pd.Series, ends: tuple[float, float]) -> Strip | None:
    runs, digits = of.cells[line["readout"]].ok, num_digits(line)
    if not runs:
        return None
    low, high = ends

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    heights = np.linspace(32, 68, len(runs)) if len(runs) > 1 else [50.0]
    scores = {key: 100 * row.score(of.evaluation) for key, row in runs.items()}
    points = [
        Point(place(score), round(float(y), 1), runs[key].is_degenerate(of.evaluation), f"seed {key[1]}: {score:.2f}")
        for (key, score), y in zip(scores.items(), heights, strict=True)
    ]
    majority = line["majority"]
    least, most = line["low_of_mean"], line["high_of_mean"]  # low and high are those of the difference
    title = f"mean {line['mean']:.{digits}f}, 95% interval {least:.{digits}f} to {most:.{digits}f}; "
    title += ", ".join(point.title for point in points)
    return Strip(
        place(least),
        place(most),
        place(line["mean"]),
        place(majority) if low < majority < high else None,
        points,
        (f"{low:.0f}", f"{high:.0f}"),
        title,
    )


class HeatMap(NamedTuple):
    """Scores by layer and pooling. lines: layer and its cells, from the last layer down."""

    title: str
    poolings: list[str]
    lines: list[tuple[str, list["Heat"]]]


class Heat(NamedTuple):
    """A cell of a heat map.

    heat: from 0 to 1, None if absent. mark: differs from the first pooling of its layer. best: the map's highest score.
    """

    text: str
    heat: float | None
    mark: bool
    best: bool


def make_heat_maps(examined: Sequence[Examined]) -> list[HeatMap]:
    """A map for each task and regime of every folder that has several layers and several poolings."""
    maps = []
    for found in examined:
        if is_grid(list(found.summary["readout"].unique())):
            maps += [_heat_map(found, of, len(examined) > 1) for of in found.tasks()]
    return maps


def _heat_map(found: Examined, of: OfTask, several: bool) -> HeatMap:
    summary, compared = found.summary_of(of), found.compared_on(of)
    scores = {_place(readout): mean for readout, mean in zip(summary["readout"], summary["mean"], strict=True)}
    marked = {_place(readout) for readout in compared.loc[compared["p_adjusted"] < SIGNIFICANT, "readout"]}
    layers, poolings = (list(dict.fromkeys(place[i] for place in scores)) for i in (0, 1))
    finite = [score for score in scores.values() if math.isfinite(score)] or [0.0]
    low, span = min(finite), (max(finite) - min(finite)) or 1.0

    def cell(place: tuple[str, str]) -> Heat:
        score = scores.get(place, math.nan)
        if math.isnan(score):
            return Heat("failed" if place in scores else "absent", None, False, False)
        return Heat(f"{score:.1f}", round((score - low) / span, 3), place in marked, score == max(finite))

    title = ", ".join(
        [of.label, summary["metric"].iloc[0]]
        + [regime_title(of.regime)] * (len(found.regimes) > 1)
        + [found.encoder] * several
    )
    lines = [(layer, [cell((layer, pooling)) for pooling in poolings]) for layer in reversed(layers)]
    return HeatMap(title, poolings, lines)


def _place(readout: str) -> tuple[str, str]:
    layers, pooling, projection = parts_of(readout)
    return layers if projection == "none" else f"{layers}/{projection}", pooling
