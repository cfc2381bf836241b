"""Tables and figures are functions of rows: `write_report(folder)` makes them all again.

Where a learning rate was chosen on the evaluation set, the report says so.
"""

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from bert_jax.comparison import differences, label, short_names, summarise
from bert_jax.errors import InputError
from bert_jax.figure import draw
from bert_jax.results import Row, read_experiment, read_rows, writing

WORDS = ("Task", "Metric", "Readout")
"""Columns that are set flush left."""


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


def _table(summary: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """The two frames as one table of text; a column that would say nothing is left out."""
    keys = ["task", "evaluation", "readout"]
    merged = summary.merge(compared.drop(columns="label"), "left", on=keys, suffixes=("_of_mean", ""))
    names = short_names(list(summary["readout"].unique()))
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
        case {"encoder": str(encoder), "finetune": {"from_scratch": True}}:
            parts.append(f"encoder {encoder}, its weights drawn at random")
        case {"encoder": str(encoder)}:
            parts.append(f"encoder {encoder}")
    match experiment:
        case {"finetune": {"epochs": epochs, "batch_size": size, "max_length": length}}:
            parts.append(f"{_plural(epochs, 'epoch')}, batch size {size}, at most {length} tokens")
    rates = sorted({row.learning_rate for row in rows})
    parts.append(f"learning rate {' or '.join(_rate(rate) for rate in rates)}")
    parts.append(_plural(len({row.seed for row in rows}), "seed"))
    parts.append(f"readouts {', '.join(dict.fromkeys(row.readout for row in rows))}")
    sizes = {label(row, name): (size, name) for row in rows for name, size in row.evaluation_examples.items()}
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
