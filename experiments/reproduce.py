"""Reproduce a published table: published and measured numbers side by side, with the protocol of both.

`python -m experiments.reproduce list` shows the tables and what each needs. The same command continues an interrupted
run; finished runs are not repeated, and tables share the encoders that they pretrain.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table as RichTable

from bert_jax.analysis.estimates import DEFAULT, FEW, METHODS, Estimate, are_few
from bert_jax.analysis.statistics import adjust
from bert_jax.errors import InputError, unknown
from bert_jax.files import plain, writing
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.pair_sources import SYNTHETIC
from bert_jax.study.run import name_encoder
from experiments import what_is_in_cls
from experiments.cells import (
    Gap,
    Measured,
    check_encoders,
    chosen_columns,
    chosen_lines,
    difference,
    measure,
    missing,
    read_column,
    run_table,
    stand_in,
)
from experiments.cli import reporting, run
from experiments.scales import HARDWARE, SCALES, Reproduce, defaults, hours, is_pretrained_here
from experiments.tables import tables
from experiments.tables.table import NONE, Column, Line, Table

CLAIMS = "what-is-in-cls"
"""Name of `experiments.what_is_in_cls` in the list of tables."""
RECIPE = ("pretrain", "finetune", "probe", "sts", "siamese", "learning_rates", "select", "train_rows")
"""Settings that affect a number; if one differs from the source's, no difference to the source is shown."""


def main(config: Reproduce) -> None:
    """Run the missing parts of a table, then print the table."""
    prepare_process()
    table = tables()[config.table]
    _check(table, config)
    run_table(table, config)
    report(table, config)


def _check(table: Table, config: Reproduce) -> None:
    for flag, names, known in (
        ("row", config.rows, [line.title for line in table.lines]),
        ("column", config.columns, [column.title for column in table.columns]),
        ("encoder", config.given(), [encoder.name for encoder in table.encoders]),
    ):
        for name in names:
            if name not in known and not (flag == "encoder" and not name):
                raise unknown(f"{flag} of {table.name}", name, known)
    if "" in config.given() and len(table.encoders) > 1:
        several = ", ".join(encoder.name for encoder in table.encoders)
        raise InputError(f"--encoder: {table.name} has several encoders; write NAME=DIR, NAME being one of {several}")
    measured = [column for column in chosen_columns(table, config) if column.regime != "average"]
    reasons = {column.title: missing(column, config) for column in measured}
    if all(reasons.values()):
        said = "; ".join(f"{title}: {why}" for title, why in reasons.items())
        raise InputError(f"no column of {table.name} can be measured: {said}")
    for regime in {column.regime for column in measured} & set(RECIPE):
        check_batch_sizes(getattr(config, regime), f"--{regime}.")
    check_encoders(table, config)


# Printing.


class Found(NamedTuple):
    """All cells of a table: line title -> column title -> measurement."""

    lines: list[Line]
    columns: list[Column]
    cells: dict[str, dict[str, Measured]]


def collect(table: Table, config: Reproduce) -> Found:
    """Collect every cell from the run folders; an average needs all the columns that it is over."""
    lines, columns = chosen_lines(table, config), chosen_columns(table, config)
    cells = {
        line.title: {c.title: measure(table, config, line, c) for c in columns if c.regime != "average"}
        for line in lines
    }
    for line, column in ((line, column) for line in lines for column in columns if column.regime == "average"):
        parts = [measure(table, config, line, other) for other in table.columns if other.regime != "average"]
        seeds = set.intersection(*(set(part.values) for part in parts))
        # A column without randomness, such as zero-shot similarity, has a single run.
        values = {seed: float(np.mean([part.values[seed] for part in parts])) for seed in sorted(seeds)}
        cells[line.title][column.title] = Measured(values, reason="" if values else "not every column is there")
    return Found(lines, columns, cells)


def report(table: Table, config: Reproduce) -> None:
    """Print the table and write it to table.md in the run folder."""
    found = collect(table, config)
    heading, frame, notes = protocol(table, config), _frame(table, config, found), _notes(table, config, found)
    gaps = _gaps(found)
    compared, notes = _compare(gaps), notes + _gap_notes(table, config, gaps)
    parts = [heading, frame.to_markdown(index=False, disable_numparse=True)]
    if not compared.empty:
        parts += [f"Difference to {found.lines[0].title}:", compared.to_markdown(index=False)]
    parts.append("\n".join(f"- {note}" for note in notes))
    with writing(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        (config.out / "table.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    console = Console(width=max(Console().width, 60 + 14 * len(found.columns)))
    for part in (heading, _rich(frame), *([parts[2], _rich(compared)] if not compared.empty else []), *notes):
        console.print(part, highlight=False, markup=False)


def protocol(table: Table, config: Reproduce) -> str:
    """Protocols of the published and the measured numbers."""
    source = f"{table.source}{' (secondary: read in a quotation)' if table.secondary else ''}"
    published = f"{table.protocol}; scores are of the {table.published_on} set" if table.published_on else "nothing"
    encoders = {encoder.name: config.given_for(encoder.name) for encoder in table.encoders}
    made = [encoder.name for encoder in table.encoders if is_pretrained_here(encoder, config)]
    parts = [f"{name} is {name_encoder(place)}" for name, place in encoders.items() if place]
    how = f"{config.pretrain.steps:,} steps of {config.pretrain.batch_size}"
    how += "" if any(encoder.sizes for encoder in table.encoders) else f", size {config.pretrain.preset}"
    parts += [f"pretrained here ({how}): {', '.join(made)}"] if made else []
    others = [e for e in table.encoders if e.name not in made and not encoders[e.name]]
    parts += [f"{encoder.name} is {encoder.published}" for encoder in others]
    text = [f"{table.title}. Source: {source}.", f"Published: {published}."]
    if any(column.regime == "probe" for column in table.columns):
        parts.append(f"linear probes by protocol {config.probe.protocol}")
    if _is_random(table):
        parts.append("1 seed" if config.seeds == 1 else f"{config.seeds} seeds")
    text.append(f"Measured: scale {config.scale}, {SCALES[config.scale].title}; {'; '.join(parts)}.")
    if table.published_on and config.scale != "base":
        text.append(
            f"SCALE {config.scale.upper()} IS NOT THE SOURCE'S: published and measured numbers are of other sizes and "
            "data, and do not compare. No difference is shown."
        )
    return "\n".join(text)


def _is_random(table: Table) -> bool:
    """True if results depend on a seed; False if all columns compare vectors without training."""
    return any(column.regime not in ("sts", "average") for column in table.columns if not column.absent)


def refusals(table: Table, config: Reproduce) -> list[str]:
    """Reasons why the measured and published numbers of a table are not comparable; empty if they are."""
    if not table.published_on:
        return ["nothing is published"]
    found = [] if config.scale == "base" else [f"scale {config.scale} is not the source's"]
    if config.given() and not config.same_encoder:
        found.append("--encoder differs from the source's (--same-encoder if it is a copy)")
    own = defaults(table, config.scale)
    changed = [name.replace("_", "-") for name in RECIPE if plain(getattr(config, name)) != plain(getattr(own, name))]
    return found + ([f"settings other than the table's: {', '.join(changed)}"] if changed else [])


def other_split(table: Table, config: Reproduce, column: Column) -> str:
    """Reason why a column is not comparable with the published one, given the split it is scored on; empty if it is."""
    if column.regime in ("pretraining", "average") or missing(column, config) or not table.published_on:
        return ""
    measured = stand_in(column, config)
    evaluation = "validation"
    if column.regime != "siamese" and measured is not None:
        evaluation = measured.evaluation or read_column(measured, config).task.evaluations[0]
    split = "validation" if evaluation.startswith("validation") else "test"
    same = split == table.published_on
    return "" if same else f"published on the {table.published_on} set, measured on the {split} set"


def _frame(table: Table, config: Reproduce, found: Found) -> pd.DataFrame:
    """Two lines of text for each row, three where differences may be shown."""
    compares = not refusals(table, config)
    splits = [other_split(table, config, column) for column in found.columns]
    lines = []
    if config.scale == "tiny":
        tasks = [stand_in(column, config) for column in found.columns]
        names = [_stand_in_name(task) for task in tasks]
        lines.append(["", "synthetic task", *names])
    for line in found.lines:
        texts = line.published.split() or [NONE] * len(table.columns)
        published = dict(zip([column.title for column in table.columns], texts, strict=True))
        cells = [found.cells[line.title][column.title] for column in found.columns]
        if table.published_on:
            lines.append([line.title, "published", *(published[column.title] for column in found.columns)])
        digits = [max(1, len(published[column.title].partition(".")[2])) for column in found.columns]
        texts = [_text(cell, n) for cell, n in zip(cells, digits, strict=True)]
        lines.append(["" if table.published_on else line.title, "measured", *texts])
        if compares:
            gaps = [
                f"{cell.mean - float(text):+.{n}f}" if cell.values and text != NONE and not split else ""
                for cell, text, n, split in zip(
                    cells, [published[c.title] for c in found.columns], digits, splits, strict=True
                )
            ]
            lines.append(["", "difference", *gaps])
    return pd.DataFrame(lines, columns=["", "numbers", *(column.title for column in found.columns)])


def _stand_in_name(column: Column | None) -> str:
    if column is None or column.absent:
        return ""
    return column.task if column.source() == SYNTHETIC else {"siamese": "similarity"}.get(column.regime, "")


def _text(cell: Measured, digits: int) -> str:
    if not cell.values:
        return "all failed" if cell.failed else "absent"
    values = list(cell.values.values())
    text = f"{cell.mean:.{digits}f}"
    text += f" \N{PLUS-MINUS SIGN} {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    troubles = [f"{getattr(cell, name)} {name}" for name in ("degenerate", "failed") if getattr(cell, name)]
    return text + (f" ({', '.join(troubles)})" if troubles else "")


Gaps = dict[tuple[str, str], Gap]
"""(line, column) -> its difference to the first line."""


def _gaps(found: Found) -> Gaps:
    first, *others = found.lines
    pairs = ((line.title, column) for line in others for column in found.columns)
    cells = found.cells
    made = {
        (title, column.title): difference(cells[first.title][column.title], cells[title][column.title], column)
        for title, column in pairs
    }
    return {key: gap for key, gap in made.items() if gap is not None}


def _compare(gaps: Gaps) -> pd.DataFrame:
    """Every line's difference to the first, with its interval; a star where Holm's p is below 0.05."""
    adjusted = adjust(np.array([gap.every.figures.p_value for gap in gaps.values()]))
    texts: dict[str, dict[str, str]] = {}
    for ((title, heading), gap), p in zip(gaps.items(), adjusted, strict=True):
        text = _change(gap.every) + ("*" if gap.verdict and p < 0.05 else "")
        if gap.has_degenerate:
            text += f"; {_change(gap.kept)} of {gap.kept.runs}" if gap.kept else "; no pair left"
        texts.setdefault(title, {})[heading] = text
    return pd.DataFrame([{"": title} | cells for title, cells in texts.items()]).fillna("")


def _change(found: Estimate) -> str:
    gap = found.in_points()
    return f"{gap.mean:+.1f} [{gap.low:.1f}, {gap.high:.1f}]"


def _gap_notes(table: Table, config: Reproduce, gaps: Gaps) -> list[str]:
    """Notes on the intervals of differences: the method, and what they are over."""
    if not gaps:
        return []
    levels = {gap.every.level for gap in gaps.values()}
    over = " or ".join(level for level in ("pretrainings", "seeds") if level in levels)
    over = f"{over} and examples" if over else "examples"
    notes = [
        f"Difference: 95% interval by {METHODS[DEFAULT]}, over {over}; *: p < 0.05, corrected (Holm), "
        "where no side is degenerate in all its runs."
    ]
    if "examples" in levels and _is_random(table):
        notes.append("Where there is one run of each, an interval is over examples only.")
    if are_few(gap.every.components for gap in gaps.values()):
        notes.append(FEW)
    if any(gap.has_degenerate for gap in gaps.values()):
        notes.append(
            "After a semicolon: the difference over the pairs without a degenerate run, and the number of these pairs."
        )
    if any(is_pretrained_here(encoder, config) for encoder in table.encoders) and "pretrainings" not in levels:
        notes.append(
            "One pretraining of each encoder: differences are between these encoders, not between kinds of pretraining "
            "(--pretrain-seeds)."
        )
    return notes


def _notes(table: Table, config: Reproduce, found: Found) -> list[str]:
    """Notes that explain the table to its reader."""
    notes = ["Measured: the metric x 100, mean \N{PLUS-MINUS SIGN} s.d. over the seeds that finished."]
    for column in found.columns:
        reason = missing(column, config)
        split = "" if reason else other_split(table, config, column)
        notes += [f"{column.title} is absent: {reason}."] if reason else []
        notes += [f"{column.title}: {split}, so no difference is shown."] if split and config.scale != "tiny" else []
    for line in found.lines:
        reasons = {cell.reason for cell in found.cells[line.title].values()}
        notes += [f"{line.title} is absent: {line.absent}."] if line.absent else []
        notes += [f"{line.title}: some cells are not run yet."] if "not run yet" in reasons else []
    if table.published_on and config.scale == "base":
        notes += [f"No difference is shown: {'; '.join(refusals(table, config))}."] if refusals(table, config) else []
    return notes + list(table.notes)


def _rich(frame: pd.DataFrame) -> RichTable:
    shown = RichTable(box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(frame.columns):
        shown.add_column(name, justify="left" if number < 1 else "right", no_wrap=True)
    for row in frame.to_numpy():
        shown.add_row(*map(str, row))
    return shown


# The list.


def print_list() -> None:
    """Every table, with what it needs and about how long its pretrainings take."""
    console = Console(width=max(100, Console().width))
    for table in tables().values():
        console.print(f"[bold]{table.name}[/bold]  {table.title}", highlight=False)
        console.print(f"    source: {table.source}", highlight=False, markup=False)
        for scale in SCALES:
            console.print(f"    {scale}: {describe_needs(table, scale)}", highlight=False, markup=False)
    console.print(
        f"[bold]{CLAIMS}[/bold]  Five claims about \\[CLS], each with a measurement and a figure", highlight=False
    )
    console.print("    source: ours; see docs/what-is-in-cls.md", highlight=False, markup=False)
    console.print("    tiny: nothing; the synthetic language's encoders are pretrained", highlight=False, markup=False)
    console.print("    mini, base: --encoders NAME=DIR ..., GLUE, SentEval (--senteval-dir), --corpus", highlight=False)
    console.print(
        "Times are lower bounds for pretraining alone: an H100 at 50% of its peak, 8 A100 at 37%, 2 CPU cores at 60 "
        "GFLOP/s. Models smaller than base use an accelerator less well."
    )


def describe_needs(table: Table, scale: str) -> str:
    """The data that a table needs, and its hours by hardware."""
    config = defaults(table, scale)
    operations = hours(table, config)
    needs = []
    if scale != "tiny":
        kinds = {column.source() for column in table.columns if not column.absent}
        flags = {
            "glue": "GLUE (--glue-dir, or through TFDS)",
            "senteval": "SentEval (--senteval-dir)",
            "sts": "similarity sets (--sts-dir)",
            "siamese": "STS benchmark (--sts-dir)",
        }
        needs += [text for kind, text in flags.items() if kind in kinds]
        needs += ["--nli"] * any(column.task == "nli" for column in table.columns)
        needs += ["--sentences"] * any(column.task == "simcse" for column in table.columns)
        needs += ["--corpus"] if operations else []
        hub = [encoder.published for encoder in table.encoders if encoder.published and scale == "base"]
        needs += [f"{', '.join(hub)} from the hub, or --encoder"] if hub else []
    times = [f"{_time(operations / speed)} on {name}" for name, speed in HARDWARE.items()] if operations else []
    return "; ".join([", ".join(needs) or "nothing", f"pretraining {', '.join(times)}" if times else "no pretraining"])


def _time(hours: float) -> str:
    """Format a time in hours, rounded, as minutes, hours or days.

    >>> _time(0.05), _time(3.2), _time(200)
    ('3 min', '3.2 h', '8.3 days')
    """
    if hours < 1:
        return f"{max(1, round(60 * hours))} min"
    return f"{hours:.1f} h" if hours < 72 else f"{hours / 24:,.1f} days"


def named_tables(args: Sequence[str]) -> dict[str, tuple[str, Reproduce]]:
    """The tables as configurations, at the scale that the arguments ask for."""
    words = [word for arg in args for word in arg.split("=", 1)]
    after = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--scale"]
    scale = after[-1] if after and after[-1] in SCALES else "tiny"
    return {
        name: (
            f"{table.title}.\n\n{table.source}. Scale {scale}: {describe_needs(table, scale)}.",
            defaults(table, scale),
        )
        for name, table in tables().items()
    }


if __name__ == "__main__":
    if sys.argv[1:] == ["list"]:
        with reporting():
            print_list()
    elif sys.argv[1:2] == [CLAIMS]:
        what_is_in_cls.start(sys.argv[2:])
    else:
        run(main, named_tables(sys.argv[1:]))
