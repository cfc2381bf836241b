"""Tables and figures as functions of rows: `write_report(folder)` makes all of them again.

Runs of one regime make a long table, a line for each readout. Several regimes are shown side by side as columns, and
a grid of layers and poolings has the poolings as its columns. A note marks learning rates that were chosen on the
evaluation set.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from bert_jax.analysis import power
from bert_jax.analysis.circumstances import describe_missing, describe_seeds, describe_training
from bert_jax.analysis.comparison import (
    differences,
    is_grid,
    label,
    parts_of,
    short_names,
    summarise,
)
from bert_jax.analysis.estimates import DEFAULT, FEW, METHODS, Method, Where, are_few
from bert_jax.analysis.figures import (
    SIGNIFICANT,
    draw,
    draw_heat_maps,
    draw_regimes,
)
from bert_jax.analysis.findings import describe_findings
from bert_jax.analysis.page.examined import Examined
from bert_jax.analysis.page.page import PAGE, render
from bert_jax.analysis.repetitions import read_repetitions
from bert_jax.analysis.wording import change_text, plural, rate_text, score_text, troubles, without_text
from bert_jax.errors import InputError
from bert_jax.files import Json, writing
from bert_jax.study.plan import missing_runs
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import (
    Absent,
    Row,
    read_absent,
    read_experiment,
    read_rows,
)

DETECT = 1.0
"""Difference in points whose power is noted below a table."""
SELECTED = {
    "heldout": "Where several learning rates were tried, the rate was chosen on held-out training rows.",
    "evaluation": "Where several learning rates were tried, the rate was chosen on the evaluation set, as in papers: "
    "scores are the best of several tries.",
}
"""Note below a table on the choice of a learning rate, by the data that it was chosen on."""
WITHOUT = "Without degenerate"
"""Title of the column of differences without degenerate runs."""
WORDS = ("Task", "Metric", "Regime", "Layers", "Readout")
"""Columns that are set flush left."""


def write_report(folder: Path, show: bool = True, method: Method = DEFAULT, detect: float | None = None) -> None:
    """Make the tables, the figure and report.html of a run folder from its rows, and print the table if `show` is true.

    A grid of layers and poolings is drawn as heatmap.png, and also as figure.png only if there are several regimes.

    Args:
        folder: the run folder.
        show: whether to print the table.
        method: how intervals are made.
        detect: also print the power for a difference of so many points, and the seeds or examples needed.

    Raises:
        InputError: the folder has no finished run, is damaged or cannot be written.
    """
    found = examine(folder, method, detect)
    _write(found, {PAGE: render([found])}, show, detect)


def write_pretrainings(
    folders: Sequence[Path],
    out: Path,
    show: bool = True,
    method: Method = DEFAULT,
    detect: float | None = None,
    reference: str | None = None,
) -> None:
    """Make one table and figure of run folders whose encoders were pretrained apart, with intervals over pretrainings.

    Args:
        folders: the run folders, which differ in nothing but the encoder.
        out: folder to write to; created if missing.
        show: whether to print the table.
        method: how intervals are made.
        detect: as for `write_report`.
        reference: readout that the others are compared with; by default as in `comparison.references`.

    Raises:
        InputError: see `read_repetitions`; no row has the reference; or `out` cannot be written.
    """
    found = read_repetitions(folders)
    examined = _examine(out, *found, {}, "", method, detect, reference)
    with writing(out, "use another folder"):
        out.mkdir(parents=True, exist_ok=True)
    _write(examined, {}, show, detect)


def examine(folder: Path, method: Method = DEFAULT, detect: float | None = None) -> Examined:
    """The scores and differences of a run folder, and what is to be said of them; arguments as for `write_report`.

    Raises:
        InputError: the folder has no finished run, or is damaged.
    """
    folder = Path(folder)
    rows, experiment, absent = read_rows(folder), read_experiment(folder), read_absent(folder)
    if not rows:
        reasons = "".join(f"; {title}: {why}" for tasks in absent.values() for title, why in tasks.items())
        raise InputError(f"{folder} has no finished run to report{reasons}")
    missing = describe_missing(missing_runs(folder, rows), len(rows))
    return _examine(folder, rows, folder, experiment, absent, missing, method, detect)


def _examine(
    folder: Path,
    rows: list[Row],
    where: Where,
    experiment: Json,
    absent: Absent,
    missing: str,
    method: Method,
    detect: float | None,
    reference: str | None = None,
) -> Examined:
    summary, compared = summarise(rows, where, method), differences(rows, where, reference, method=method)
    notes = [missing, *describe_findings(rows, compared), *_notes(summary, compared, method)]
    notes += [power.describe(compared, detect or DETECT), *_absent_notes(absent)]
    notes = list(filter(None, notes))
    return Examined(folder, rows, experiment, absent, summary, compared, _protocol(rows, experiment), notes)


def _write(found: Examined, pages: dict[str, str], show: bool, detect: float | None) -> None:
    """Write tables, figures and pages of text, and print the table."""
    folder, rows, summary, compared = found.folder, found.rows, found.summary, found.compared
    several, mapped = len(found.regimes) > 1, is_grid(list(summary["readout"].unique()))
    make = _side_by_side if several else _map if mapped else _table
    table, notes = make(summary, compared, found.absent), found.notes
    if several or mapped:
        notes = [note for note in notes if not note.startswith(("Time", "Runs"))] + [_wide_note(rows)]
    figures = {"heatmap.png": draw_heat_maps(summary, compared)} if mapped else {}
    if several or not mapped:
        figures["figure.png"] = draw_regimes(rows, summary, compared) if several else draw(rows, summary, compared)
    texts = {
        "table.md": _markdown(table, found.protocol, notes),
        "table.tex": _latex(table, " ".join([found.protocol, *notes])),
    }
    with writing(folder):
        for name, text in (texts | pages).items():
            (folder / name).write_text(text, encoding="utf-8")
        for name, figure in figures.items():
            figure.savefig(folder / name, dpi=150)
    if show:
        _print(table, found.protocol, notes)
    if detect is not None:
        planned = power.tabulate(compared, detect)
        print(f"\nTo find a difference of {detect:g} point{'s' * (detect != 1)}:\n\n{planned.to_markdown(index=False)}")


def _merge(summary: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    keys = ["regime", "task", "evaluation", "readout"]
    return summary.merge(compared.drop(columns="label"), "left", on=keys, suffixes=("_of_mean", ""))


def _table(summary: pd.DataFrame, compared: pd.DataFrame, absent: Absent) -> pd.DataFrame:
    """The two frames as one table of text; an empty column is left out."""
    names = short_names(list(summary["readout"].unique()))
    table = pd.DataFrame([_texts(line, names) for _, line in _merge(summary, compared).iterrows()])
    empty = [name for name in ("Difference", "p") if compared.empty]
    empty += [WITHOUT] * (not table[WITHOUT].any())
    empty += ["Rate"] * (table["Rate"].nunique() == 1) + ["Anisotropy"] * (not table["Anisotropy"].any())
    table = table.drop(columns=empty)
    missing = [{"Task": title, "Score": "absent"} for tasks in absent.values() for title in tasks]
    return pd.concat([table, pd.DataFrame(missing, columns=table.columns)]).fillna("") if missing else table


def _side_by_side(summary: pd.DataFrame, compared: pd.DataFrame, absent: Absent) -> pd.DataFrame:
    """A line for each task and readout, a column for each regime."""
    names = short_names(list(summary["readout"].unique()))
    merged = _merge(summary, compared)
    regimes = list(dict.fromkeys([*summary["regime"], *(regime for regime, tasks in absent.items() if tasks)]))
    labels = dict.fromkeys([*summary["label"], *(title for tasks in absent.values() for title in tasks)])
    lines = []
    for name in labels:
        here = merged[merged["label"] == name]
        for readout in here["readout"].unique():
            line = {"Task": name, "Readout": names[readout]}
            for regime in regimes:
                cell = here[(here["readout"] == readout) & (here["regime"] == regime)]
                gap = "n/a" if name in absent.get(regime, {}) else ""
                metric = "" if cell.empty else f" {cell['metric'].iloc[0]}"
                line[regime_title(regime)] = gap if cell.empty else _cell(cell.iloc[0]) + metric
            lines.append(line)
        if here.empty:
            lines.append({"Task": name, "Readout": ""} | {regime_title(regime): "n/a" for regime in regimes})
    return pd.DataFrame(lines)


def _map(summary: pd.DataFrame, compared: pd.DataFrame, absent: Absent) -> pd.DataFrame:
    """A line for each task and layers (with their projection), a column for each pooling."""
    merged = _merge(summary, compared)
    parts = pd.DataFrame(merged["readout"].map(parts_of).tolist(), index=merged.index)
    several = parts[2].nunique() > 1
    merged["rows"] = parts[0] + "/" + parts[2] if several else parts[0]
    merged["columns"] = parts[1]
    lines = []
    for (name, rows), cells in merged.groupby(["label", "rows"], sort=False):
        line = {"Task": name, "Metric": cells["metric"].iloc[0], "Layers": rows}
        lines.append(line | {cell["columns"]: _cell(cell) for _, cell in cells.iterrows()})
        if cells["anisotropy"].notna().any():
            known = [
                f"{pooling} {value:.2f}" for pooling, value in zip(cells["columns"], cells["anisotropy"], strict=True)
            ]
            lines[-1]["Anisotropy"] = ", ".join(known)
    lines += [{"Task": title, "Layers": "absent"} for tasks in absent.values() for title in tasks]
    return pd.DataFrame(lines).fillna("")


def _cell(line: pd.Series) -> str:
    """Score, difference and notes on failed or degenerate runs, in one cell."""
    text = score_text(line)
    if line["pairs"] > 0:
        star = "*" if line["p_adjusted"] < SIGNIFICANT else ""
        text += f" ({change_text(line)}{star}{'; ' * bool(without_text(line))}{without_text(line)})"
    return ", ".join(filter(None, [text, *troubles(line)]))


def _texts(line: pd.Series, names: dict[str, str]) -> dict[str, str]:
    paired = line["pairs"] > 0
    return {
        "Task": line["label"],
        "Metric": line["metric"],
        "Readout": names[line["readout"]],
        "Score": score_text(line),
        "Difference": change_text(line) if paired else "",
        "p": "" if math.isnan(line["p_adjusted"]) else f"{line['p_adjusted']:.3f}",
        WITHOUT: without_text(line),
        "Runs": ", ".join([str(line["seeds"]), *troubles(line)]),
        "Rate": rate_text(line["learning_rate"]),
        "Anisotropy": "" if math.isnan(line["anisotropy"]) else f"{line['anisotropy']:.3f}",
        "Time": f"{line['seconds']:.0f} s",
    }


def _protocol(rows: list[Row], experiment: Json) -> str:
    """One sentence on the compared readouts, their encoder and the data."""
    parts = []
    match experiment:
        case {"encoder": str(encoder)}:
            parts.append(f"encoder {encoder}")
    if rates := sorted({row.learning_rate for row in rows if row.learning_rate is not None}):
        parts.append(f"learning rate {' or '.join(rate_text(rate) for rate in rates)}")
    done = {(row.regime, row.protocol): None for row in rows if row.protocol}
    for regime, phrase in done:
        titles = dict.fromkeys(row.title for row in rows if (row.regime, row.protocol) == (regime, phrase))
        everywhere = len(titles) == len({row.title for row in rows if row.regime == regime})
        where = "" if everywhere else f" ({', '.join(titles)})"
        parts.append(f"{regime_title(regime).lower()}: {phrase}{where}")
    parts += list(filter(None, [describe_training(rows), describe_seeds(rows)]))
    parts.append(f"readouts {_list_readouts(list(dict.fromkeys(row.name for row in rows)))}")
    sizes = {label(row, name): (size, name) for row in rows for name, size in row.evaluation_examples.items()}
    scored = ", ".join(f"{label} {name} ({size:,})" for label, (size, name) in sizes.items())
    text = f"{'; '.join(parts)}; scored on {scored}."
    return text[0].upper() + text[1:]


def _list_readouts(readouts: list[str]) -> str:
    """List all readouts, or the axes of their grid."""
    if not is_grid(readouts):
        return ", ".join(readouts)
    axes = (list(dict.fromkeys(parts)) for parts in zip(*map(parts_of, readouts), strict=True))
    return " x ".join("{" + ", ".join(axis) + "}" for axis in axes)


def _absent_notes(absent: Absent) -> list[str]:
    """A line for each reason why a regime has no row of a task."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for regime, tasks in absent.items():
        for title, reason in tasks.items():
            reasons.setdefault((regime, reason), []).append(title)
    return [
        f"{regime_title(regime)} has nothing of {', '.join(titles)}: {reason}."
        for (regime, reason), titles in reasons.items()
    ]


def _wide_note(rows: list[Row]) -> str:
    total = sum(row.seconds for row in rows)
    return (
        "In brackets the difference; a star where its corrected p is below 0.05. Degenerate runs are no better than "
        "the majority baseline; where all of a side are, the difference has no star. "
        f"All {len(rows)} runs took {total:.0f} s."
    )


def _notes(summary: pd.DataFrame, compared: pd.DataFrame, method: Method) -> list[str]:
    """Notes that explain the table to its reader."""
    notes = ["Score: the metric times 100, mean \N{PLUS-MINUS SIGN} s.d. over the runs that finished."]
    if not compared.empty:
        to, number = compared["reference"].unique(), int(compared["p"].notna().sum())
        reference = to[0] if len(to) == 1 else f"{to[0].split('/')[1]} at the same layers"
        notes.append(
            f"Difference: to {reference}, paired by seed, with the 95% interval; p is corrected for "
            f"{plural(number, 'comparison')} (Holm)."
        )
        if (compared["pairs"] > compared["pairs_kept"]).any():
            notes.append(
                f"{WITHOUT}, or after a semicolon: the difference of those pairs of which no run is degenerate."
            )
    notes += _level_notes(summary, compared, method)
    unjudged = ((compared["pairs"] > 0) & ~compared["verdict"].eq(True)).any()
    notes.append(
        "Runs: those that finished; degenerate ones are no better than the majority baseline"
        f"{', and where all of a side are, the difference has no p' if unjudged else ''}."
    )
    notes.append("Time: mean wall time of a run.")
    if summary["anisotropy"].notna().any():
        notes.append("Anisotropy: the mean cosine of the vectors of two different texts of the set.")
    return notes + [SELECTED[on] for on in SELECTED if (summary["selected_on"] == on).any()]


def _level_notes(summary: pd.DataFrame, compared: pd.DataFrame, method: Method) -> list[str]:
    """Notes on intervals: the method, what they are over, and what they do not cover."""
    seeded = [frame[frame["seeded"].astype(bool)] for frame in (summary, compared)]
    levels = {level for frame in seeded for level in frame["over"] if level}
    over = [level for level in ("pretrainings", "seeds") if level in levels]
    text = f"Intervals: {METHODS[method]}, over {' or '.join(over)}{' and ' * bool(over)}examples"
    notes = [f"{text}{'' if 'pretrainings' in levels else '; of this one encoder, not of others pretrained alike'}."]
    if "examples" in levels:
        notes.append("With one seed, an interval is over examples only and says nothing about other seeds.")
    if method == DEFAULT and are_few(compared["components"].dropna()):
        notes.append(FEW)
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
    """Print the table narrow enough for most terminals: the metric is below the task, and long readouts are folded."""
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    least = {"Readout": 12, "Runs": len("degenerate,")}
    columns = table.columns.drop("Metric", errors="ignore")
    for name in columns:
        width = min(least.get(name, 80), max(len(text) for text in [name, *table[name]]))
        shown.add_column(name, no_wrap=name not in least, overflow="fold", min_width=width)
        shown.columns[-1].justify = "left" if name in WORDS else "right"
    for _, group in table.groupby("Task", sort=False):
        task, metric = group["Task"].iloc[0], group["Metric"].iloc[0] if "Metric" in group else ""
        firsts = [task, metric] + [""] * len(group) if len(group) > 1 else [f"{task}\n{metric}".strip()]
        for first, line in zip(firsts, group[columns].drop(columns="Task").to_numpy(), strict=False):
            shown.add_row(first, *line)
        shown.add_section()
    # On a terminal that is too narrow, rich would drop columns: let the terminal wrap lines instead.
    width = max(Console().width, Console(width=1000).measure(shown).minimum)
    Console(width=width).print(protocol, shown, *notes, sep="\n", highlight=False, markup=False)
