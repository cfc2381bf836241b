"""Tables and figures are functions of rows: `write_report(folder)` makes them all again.

Scores are the headline metric of each task times 100. A learning rate that was one of several is chosen
per task and readout by the mean score on the task's first evaluation set, and the report says so.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from bert_jax.errors import InputError, unknown
from bert_jax.results import Row, read_experiment, read_predictions, read_rows, writing
from bert_jax.statistics import adjust, interval, paired_bootstrap

RESAMPLES = 1000
RESAMPLES_PER_COMPARISON = 100
"""The smallest p-value is 2 / (resamples + 1); times the number of comparisons it must still be able to be small."""
SUFFIXES = {"validation_mismatched": "mm", "test_mismatched": "mm"}
"""What the second evaluation set of a task adds to its title; any other adds its own name."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008: told apart by colour-blind readers too."""
WORDS = ("Task", "Metric", "Readout")
"""Columns that are set flush left."""
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
        _summary(cell, evaluation, folder) for cells, evaluation in _evaluations(grid(rows)) for cell in cells.values()
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
        for cells, evaluation in _evaluations(grid(rows))
        for readout, cell in cells.items()
        if readout != reference and reference in cells
    ]
    resamples = max(RESAMPLES, RESAMPLES_PER_COMPARISON * len(sides))
    frame = pd.DataFrame([_difference(*side, folder, resamples) for side in sides], columns=IDENTITY + FIGURES)
    return frame.assign(p_adjusted=adjust(frame["p"].to_numpy(float)))


def write_report(folder: Path) -> None:
    """Make table.md, table.tex and figure.png in a run folder from its rows, and print the table.

    Raises:
        InputError: the folder has no finished run, is damaged or cannot be written.
    """
    folder = Path(folder)
    rows, experiment = read_rows(folder), read_experiment(folder)
    if not rows:
        raise InputError(f"{folder} has no finished run to report")
    summary, compared = summarise(rows, folder), differences(rows, folder)
    table, protocol, notes = _table(summary, compared), _protocol(rows, experiment), _notes(summary, compared)
    figure = draw(rows, summary, compared)
    with writing(folder):
        (folder / "table.md").write_text(_markdown(table, protocol, notes), encoding="utf-8")
        (folder / "table.tex").write_text(_latex(table, " ".join([protocol, *notes])), encoding="utf-8")
        figure.savefig(folder / "figure.png", dpi=150)
    _print(table, protocol, notes)


def draw(rows: list[Row], summary: pd.DataFrame, compared: pd.DataFrame) -> Figure:
    """A row of panels per task: on the left every run with its cell's mean and interval, on the right the differences.

    A hollow marker is a degenerate run, the dashed line the majority baseline.
    """
    labels, readouts = list(summary["label"].unique()), list(dict.fromkeys(row.readout for row in rows))
    heights = [0.62 + 0.26 * sum(summary["label"] == label) for label in labels]
    figure = Figure(figsize=(9, sum(heights) + 0.5), layout="constrained")
    columns = 1 if compared.empty else 2
    panels = figure.subplots(len(labels), columns, squeeze=False, height_ratios=heights, width_ratios=(3, 2)[:columns])
    names = _short_names(readouts)
    colours = {readout: COLOURS[i % len(COLOURS)] for i, readout in enumerate(readouts)}
    for (cells, evaluation), label, row in zip(_evaluations(grid(rows)), labels, panels, strict=True):
        here = summary[summary["label"] == label]
        _draw_scores(row[0], cells, evaluation, here, colours)
        row[0].set_yticks(range(len(cells)), [names[readout] for readout in cells])
        if columns == 2:
            _draw_differences(row[1], list(cells), compared[compared["label"] == label], colours)
    _finish(panels, compared, names)
    return figure


def _choose_rate(rows: list[Row]) -> Cell:
    evaluation = next(iter(rows[0].majority))
    rates: dict[float, list[Row]] = {}
    for row in rows:
        rates.setdefault(row.learning_rate, []).append(row)
    # A failed run counts as the majority baseline, so that a rate that often fails is not chosen for its luck.
    best = max(rates, key=lambda rate: np.nan_to_num(np.mean([row.score(evaluation) for row in rates[rate]]), nan=-1))
    return Cell(tuple(rates[best]), len(rates))


def _evaluations(cells: Grid) -> Iterator[tuple[dict[str, Cell], str]]:
    for by_readout in cells.values():
        for evaluation in next(iter(by_readout.values())).rows[0].majority:
            yield by_readout, evaluation


def _label(row: Row, evaluation: str) -> str:
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
        "label": _label(first, evaluation),
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
    names = [_label(first, evaluation), first.task, evaluation, first.readout, a.rows[0].readout]
    return dict(zip(IDENTITY + FIGURES, [*names, len(seeds), *figures], strict=True))


def _table(summary: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """The two frames as one table of text; a column that would say nothing is left out."""
    keys = ["task", "evaluation", "readout"]
    merged = summary.merge(compared.drop(columns="label"), "left", on=keys, suffixes=("_of_mean", ""))
    names = _short_names(list(summary["readout"].unique()))
    table = pd.DataFrame([_texts(line, names) for _, line in merged.iterrows()])
    empty = [name for name in ("Difference", "p") if compared.empty]
    return table.drop(columns=empty + ["Rate"] * (table["Rate"].nunique() == 1))


def _texts(line: pd.Series, names: dict[str, str]) -> dict[str, str]:
    sd = "" if math.isnan(line["sd"]) else f" \N{PLUS-MINUS SIGN} {line['sd']:.1f}"
    difference, p = "", ""
    if line["pairs"] > 0:
        difference = f"{line['difference']:+.1f} [{line['low']:.1f}, {line['high']:.1f}]"
        p = f"{line['p_adjusted']:.3f}"
    runs = [f"{line[name]} {name}" for name in ("degenerate", "failed") if line[name]]
    runs += [f"{line['pairs']:.0f} paired"] if line["pairs"] < line["seeds"] else []
    return {
        "Task": line["label"],
        "Metric": line["metric"],
        "Readout": names[line["readout"]],
        "Score": f"{line['mean']:.1f}{sd}" if line["seeds"] else "",
        "Difference": difference,
        "p": p,
        "Runs": ", ".join([str(line["seeds"]), *runs]),
        "Rate": _rate(line["learning_rate"]),
        "Time": f"{line['seconds']:.0f} s",
    }


def _rate(rate: float) -> str:
    return f"{rate:g}".replace("e-0", "e-")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _protocol(rows: list[Row], experiment: dict[str, Any]) -> str:
    """Who was compared on what, in one sentence."""
    parts = []
    match experiment:
        case {"encoder": str(encoder)}:
            parts.append(f"encoder {encoder}")
    match experiment:
        case {"finetune": {"epochs": epochs, "batch_size": size, "max_length": length}}:
            parts.append(f"{_plural(epochs, 'epoch')}, batch size {size}, at most {length} tokens")
    rates = sorted({row.learning_rate for row in rows})
    parts.append(f"learning rate {' or '.join(_rate(rate) for rate in rates)}")
    parts.append(_plural(len({row.seed for row in rows}), "seed"))
    parts.append(f"readouts {', '.join(dict.fromkeys(row.readout for row in rows))}")
    sizes = {_label(row, name): (size, name) for row in rows for name, size in row.evaluation_examples.items()}
    scored = ", ".join(f"{label} {name} ({size:,})" for label, (size, name) in sizes.items())
    text = f"{'; '.join(parts)}; scored on {scored}."
    return text[0].upper() + text[1:]


def _notes(summary: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """What the reader must know to read the table."""
    notes = ["Score: the metric times 100, mean \N{PLUS-MINUS SIGN} s.d. over the runs that finished."]
    if not compared.empty:
        reference, number = compared["reference"].iloc[0], int(compared["p"].notna().sum())
        notes.append(
            f"Difference: to {reference}, paired by seed, with the 95% interval of a multi-bootstrap over seeds "
            f"and examples; p is corrected for {_plural(number, 'comparison')} (Holm)."
        )
    notes.append("Runs: those that finished; degenerate ones are no better than the majority baseline.")
    notes.append("Time: mean wall time of a run.")
    if (summary["rates_tried"] > 1).any():
        notes.append("Where several learning rates were tried, the rate was chosen on the evaluation set.")
    pairs = compared["pairs"][compared["pairs"] > 0]
    if (pairs == 1).any():
        notes.append("With one seed, an interval is over examples only and says nothing about other seeds.")
    if ((pairs > 1) & (pairs < 10)).any():
        notes.append("With fewer than 10 seeds, intervals are too short where seeds matter more than examples.")
    return notes


def _markdown(table: pd.DataFrame, protocol: str, notes: list[str]) -> str:
    align = ["left" if name in WORDS else "right" for name in table]
    text = table.to_markdown(index=False, disable_numparse=True, colalign=align)
    return "\n\n".join([protocol, text, "\n".join(f"- {note}" for note in notes)]) + "\n"


def _latex(table: pd.DataFrame, caption: str) -> str:
    escapes = {"\\": "/", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    caption = "".join(rf"\{letter}" if letter in "&%$#_{}" else escapes.get(letter, letter) for letter in caption)
    columns = "".join("l" if name in WORDS else "r" for name in table)
    text = table.to_latex(index=False, escape=True, caption=caption, column_format=columns)
    return re.sub(r"(?<=[ \[])-(?=\d)", "$-$", text.replace("\N{PLUS-MINUS SIGN}", r"$\pm$"))


def _print(table: pd.DataFrame, protocol: str, notes: list[str]) -> None:
    """The table, narrow enough for most terminals: the metric goes under the task, and long readouts are folded."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    least = {"Readout": 12, "Runs": len("degenerate,")}
    for name in table.columns.drop("Metric"):
        width = min(least.get(name, 80), max(len(text) for text in [name, *table[name]]))
        shown.add_column(name, no_wrap=name not in least, overflow="fold", min_width=width)
        shown.columns[-1].justify = "left" if name in WORDS else "right"
    for _, group in table.groupby("Task", sort=False):
        task, metric = group["Task"].iloc[0], group["Metric"].iloc[0]
        firsts = [task, metric] + [""] * len(group) if len(group) > 1 else [f"{task}\n{metric}"]
        for first, line in zip(firsts, group.drop(columns=["Task", "Metric"]).to_numpy(), strict=False):
            shown.add_row(first, *line)
        shown.add_section()
    # Where a terminal is too narrow, rich would drop columns: let the terminal wrap lines instead.
    width = max(Console().width, Console(width=1000).measure(shown).minimum)
    Console(width=width).print(protocol, shown, *notes, sep="\n", highlight=False, markup=False)


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
    """A line where it is near the scores; elsewhere only its value, so that the scores keep their room."""
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
    axes.set_yticks(places, [f"p = {p:.3f}" for p in compared["p_adjusted"]])


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
        panels[0, 1].set_title(f"difference to {reference}: paired, 95% interval, corrected p", loc="left", fontsize=9)


def _short_names(readouts: list[str]) -> dict[str, str]:
    """readout -> those of its three parts in which readouts differ."""
    parts = [readout.split("/") for readout in readouts]
    if len(readouts) == 1 or {len(part) for part in parts} != {3}:
        return dict(zip(readouts, readouts, strict=True))
    differing = [i for i in range(3) if len({part[i] for part in parts}) > 1]
    return {readout: "/".join(part[i] for i in differing) for readout, part in zip(readouts, parts, strict=True)}
