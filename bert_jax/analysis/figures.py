"""The figure of an ablation: a point for every run, and means and differences with their intervals."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bert_jax.analysis import comparison
from bert_jax.analysis.comparison import (
    Cell,
    by_regime,
    evaluations,
    grid,
    parts_of,
    short_names,
)
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import Row

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours of Okabe and Ito 2008, which colour-blind readers can tell apart too."""
_CHARACTER = 0.065
"""Width in inches of a character of a caption, on average and with some room."""
SIGNIFICANT = 0.05
"""Corrected p below which a difference is marked."""


def draw(rows: list[Row], summary: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """Draw a row of panels per task: left every run with its cell's mean and interval, right the differences.

    A hollow marker is a degenerate run; the dashed line is the majority baseline.
    """
    labels, readouts = list(summary["label"].unique()), list(dict.fromkeys(row.name for row in rows))
    heights = [0.62 + 0.26 * sum(summary["label"] == label) for label in labels]
    figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained")
    columns = 1 if compared.empty else 2
    panels = figure.subplots(len(labels), columns, squeeze=False, height_ratios=heights, width_ratios=(3, 2)[:columns])
    names = short_names(readouts)
    colours = {readout: COLOURS[i % len(COLOURS)] for i, readout in enumerate(readouts)}
    for (cells, evaluation), label, row in zip(evaluations(grid(rows)), labels, panels, strict=True):
        here = summary[summary["label"] == label]
        _draw_scores(row[0], cells, evaluation, here, colours)
        row[0].set_yticks(range(len(cells)), [names[readout] for readout in cells])
        if columns == 2:
            _draw_differences(row[1], list(cells), compared[compared["label"] == label], colours)
    _finish(panels, compared, names)
    return figure


def draw_regimes(rows: list[Row], summary: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """Draw a row of panels per task and a column per regime: every run with its cell's mean and interval, and beside
    each readout its difference to the reference. A panel is left empty if the regime has no rows of the task."""
    labels, regimes = list(summary["label"].unique()), by_regime(rows)
    readouts = list(dict.fromkeys(row.name for row in rows))
    names, colours = short_names(readouts), {readout: COLOURS[i % len(COLOURS)] for i, readout in enumerate(readouts)}
    heights = [0.62 + 0.26 * summary.loc[summary["label"] == name, "readout"].nunique() for name in labels]
    figure = Figure(figsize=(1 + 3.6 * len(regimes), sum(heights) + 0.5), layout="constrained")
    panels = figure.subplots(len(labels), len(regimes), squeeze=False, height_ratios=heights)
    for axes in panels.ravel():
        axes.axis("off")
    for column, (regime, of_regime) in enumerate(regimes.items()):
        for cells, evaluation in evaluations(grid(of_regime)):
            name = comparison.label(next(iter(cells.values())).rows[0], evaluation)
            axes = panels[labels.index(name), column]
            axes.axis("on")
            here, found = (
                frame[(frame["regime"] == regime) & (frame["label"] == name)] for frame in (summary, compared)
            )
            _draw_scores(axes, cells, evaluation, here, colours)
            axes.set_title(f"{name}, {regime_title(regime)} ({here['metric'].iloc[0]})", loc="left", fontsize=9)
            axes.set_title("", loc="right")
            _note_differences(axes, [names[readout] for readout in cells], list(cells), found)
    return figure


def _note_differences(axes: Axes, names: list[str], readouts: list[str], compared: pd.DataFrame) -> None:
    """The readouts' names, each with its difference to the reference below it."""
    notes = dict.fromkeys(readouts, "")
    for line in compared[compared["pairs"] > 0].itertuples():
        notes[line.readout] = f"\n{line.difference:+.1f} [{line.low:.1f}, {line.high:.1f}]"
    ticks = [f"{name}{notes[readout]}" for name, readout in zip(names, readouts, strict=True)]
    axes.set_yticks(range(len(readouts)), ticks)
    axes.set_ylim(len(readouts) - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False, labelsize=8)
    axes.margins(x=0.1)


def draw_heat_maps(summary: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """Draw for each task a map of the scores, layers upwards and poolings to the right.

    The best score is framed; a dot marks a difference to the first pooling of the same layers that is significant after
    correction.
    """
    maps = list(summary.groupby(["regime", "label"], sort=False))
    places = summary["readout"].map(_place)
    layers, poolings = (list(dict.fromkeys(places.str[i])) for i in (0, 1))
    columns = min(3, len(maps))
    size = (columns * (1.1 + 0.62 * len(poolings)), -(-len(maps) // columns) * (0.9 + 0.26 * len(layers)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(-(-len(maps) // columns), columns, squeeze=False).ravel()
    for axes, ((regime, name), here) in zip(panels, maps, strict=False):
        found = compared[(compared["regime"] == regime) & (compared["label"] == name)]
        stars = {_place(readout) for readout in found.loc[found["p_adjusted"] < SIGNIFICANT, "readout"]}
        _draw_map(axes, here, stars, layers, poolings)
        regime = "" if summary["regime"].nunique() == 1 else f", {regime_title(regime)}"
        axes.set_title(f"{name} ({here['metric'].iloc[0]}{regime})", loc="left", fontsize=9, weight="bold")
    for axes in panels[len(maps) :]:
        axes.axis("off")
    for axes in panels[::columns]:
        axes.set_ylabel("layer", fontsize=8)
    caption = "frame: best; dot: differs from the first pooling at the same layers"
    figure.supxlabel(textwrap.fill(caption, int(size[0] / _CHARACTER)), fontsize=8)
    return figure


def _place(readout: str) -> tuple[str, str]:
    """The row and the column of a readout in a map: layers, with the projection if there is one, and pooling."""
    layers, pooling, projection = parts_of(readout)
    return layers if projection == "none" else f"{layers}/{projection}", pooling


def _draw_map(
    axes: Axes, summary: pd.DataFrame, stars: set[tuple[str, str]], layers: list[str], poolings: list[str]
) -> None:
    """Draw the scores of one task. Layers and poolings have the same order in all maps of the figure."""
    found = {_place(readout): mean for readout, mean in zip(summary["readout"], summary["mean"], strict=True)}
    rows = [name for name in reversed(layers) if name in {row for row, _ in found}]
    columns = [name for name in poolings if name in {column for _, column in found}]
    values = np.array([[found.get((row, column), np.nan) for column in columns] for row in rows])
    image = axes.imshow(values, aspect="auto", cmap="cividis")
    best = np.unravel_index(np.nanargmax(values), values.shape) if np.isfinite(values).any() else None
    for (y, x), value in np.ndenumerate(values):
        place = rows[y], columns[x]
        text = f"{value:.1f}" if np.isfinite(value) else "failed" if place in found else "absent"
        colour = "white" if np.isfinite(value) and np.asarray(image.norm(value)).item() <= 0.5 else "black"
        dot = "\N{MIDDLE DOT}" if place in stars else ""
        axes.text(x, y, text + dot, ha="center", va="center", fontsize=7, color=colour)
        if (y, x) == best:
            axes.add_patch(Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, fill=False, edgecolor="#D55E00", linewidth=2))
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)


def _draw_scores(
    axes: Axes, cells: dict[str, Cell], evaluation: str, summary: pd.DataFrame, colours: dict[str, str]
) -> None:
    for y, (readout, line) in enumerate(zip(cells, summary.itertuples(), strict=True)):
        ok, colour = list(cells[readout].ok.values()), colours[readout]
        axes.plot([line.low, line.high], [y, y], color=colour, alpha=0.3, linewidth=5, solid_capstyle="butt")
        axes.plot([line.mean], [y], "|", color=colour, markersize=15, markeredgewidth=2)
        offsets = np.linspace(-0.22, 0.22, len(ok)) if len(ok) > 1 else np.zeros(len(ok))
        for row, offset in zip(ok, offsets, strict=True):
            face = "white" if row.is_degenerate(evaluation) else colour
            axes.plot(100 * row.score(evaluation), y + offset, "o", ms=4.5, mfc=face, mec=colour, zorder=3)
        if line.failed:
            axes.text(1, y, f"{line.failed} failed", transform=axes.get_yaxis_transform(), ha="right", fontsize=8)
    _draw_majority(axes, float(summary["majority"].iloc[0]))
    if not summary["seeds"].any():
        axes.set_xticks([])
    axes.set_title(f"{summary['label'].iloc[0]} ({summary['metric'].iloc[0]})", loc="left", fontsize=10, weight="bold")


def _draw_majority(axes: Axes, majority: float) -> None:
    """Draw the majority baseline as a line if it is near the scores; otherwise write its value, to save space."""
    low, high = axes.get_xlim()
    if low - 0.5 * (high - low) < majority < high + 0.5 * (high - low):
        axes.axvline(majority, color="0.5", linestyle="--", linewidth=1, zorder=0)
    axes.set_title(f"majority {majority:.1f}", loc="right", fontsize=8, color="0.4")


def _draw_differences(axes: Axes, readouts: list[str], compared: pd.DataFrame, colours: dict[str, str]) -> None:
    compared = compared[compared["pairs"] > 0]
    if compared.empty:
        axes.axis("off")
        return
    axes.axvline(0, color="0.5", linewidth=1, zorder=0)
    places = [readouts.index(readout) for readout in compared["readout"]]
    for y, line in zip(places, compared.itertuples(), strict=True):
        axes.plot([line.low, line.high], [y, y], color=colours[line.readout], linewidth=2)
        axes.plot([line.difference], [y], "D", color=colours[line.readout], markersize=5)
    axes.yaxis.tick_right()
    marks = [f"p = {p:.3f}" if np.isfinite(p) else "degenerate" for p in compared["p_adjusted"]]
    axes.set_yticks(places, marks)


def _finish(panels: np.ndarray, compared: pd.DataFrame, names: dict[str, str]) -> None:
    for axes in panels.ravel():
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, right=False, labelsize=9)
        axes.margins(x=0.1)
    for row in panels:
        for axes in row:
            axes.set_ylim(row[0].get_yticks()[-1] + 0.5, -0.5)
    panels[-1, 0].set_xlabel("score of every run, mean, 95% interval; hollow: degenerate", fontsize=9)
    if not compared.empty:
        reference = names[compared["reference"].iloc[0]]
        over = "".join(f"{level} and " for level in dict.fromkeys(compared["over"]) if level not in ("", "examples"))
        panels[0, 1].set_title(f"difference to {reference}, corrected p", loc="left", fontsize=9)
        panels[-1, 1].set_xlabel(f"95% interval over {over}examples", fontsize=9)
