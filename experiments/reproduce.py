"""Reproduce a published table: published and measured numbers side by side, with the protocol of both.

`python -m experiments.reproduce list` shows the tables and what each needs. The same command continues an interrupted
run; finished runs are not repeated, and tables share the encoders that they pretrain.
"""

import itertools
import sys
from collections.abc import Iterable, Sequence
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
    absence,
    check_encoders,
    chosen_columns,
    chosen_lines,
    difference,
    measure,
    run_table,
)
from experiments.cli import reporting, run
from experiments.columns import missing, read_column, stand_in
from experiments.needs import CLAIMS, describe_needs, print_list
from experiments.scales import SCALES, Reproduce, change, defaults, is_pretrained_here, place
from experiments.tables import tables
from experiments.tables.table import NONE, SPREAD, Column, Line, Table

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
        said = "; ".join(f"{', '.join(titles)}: {why}" for why, titles in _by_reason(reasons.items()).items())
        raise InputError(f"no column of {table.name} can be measured: {said}")
    for regime in {column.regime for column in measured} & set(RECIPE):
        check_batch_sizes(getattr(config, regime), f"--{regime}.")
    absent = dict.fromkeys(absence(table, config, line) for line in chosen_lines(table, config))
    if all(absent):
        why = "; ".join(absent) or "the encoder has no such layer"
        raise InputError(f"no row of {table.name} can be measured: {why}")
    check_encoders(table, config)


def _by_reason(reasons: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Reason -> titles, from (title, reason); without those that have none."""
    found: dict[str, list[str]] = {}
    for title, why in reasons:
        found.setdefault(why, []).append(title)
    return {why: titles for why, titles in found.items() if why}


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
    compared, notes = _name_references(found, _compare(gaps)), notes + _gap_notes(table, config, gaps)
    parts = [heading, frame.to_markdown(index=False, disable_numparse=True)]
    if not compared.empty:
        same = not any(line.against for line in found.lines)
        parts += [
            f"Difference to {found.lines[0].title}:" if same else "Differences:",
            compared.to_markdown(index=False),
        ]
    parts.append("\n".join(f"- {note}" for note in notes))
    with writing(config.out):
        config.out.mkdir(parents=True, exist_ok=True)
        (config.out / "table.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    console = Console(width=max(Console().width, 60 + 20 * len(found.columns)))
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
    others = [e for e in table.encoders if e.name not in made and not encoders[e.name] and place(e, config)]
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
    found += [table.incomparable] if table.incomparable else []
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
    """A line of measured numbers for each row, after the published ones, before the differences that may be shown."""
    compares = not refusals(table, config)
    splits = [other_split(table, config, column) for column in found.columns]
    lines = []
    if config.scale == "tiny":
        tasks = [stand_in(column, config) for column in found.columns]
        names = [_stand_in_name(task) for task in tasks]
        lines.append(["", "synthetic task", *names])
    for line in found.lines:
        titles, nothing = [column.title for column in table.columns], [NONE] * len(table.columns)
        published = dict(zip(titles, line.published.split() or nothing, strict=True))
        numbers = dict(zip(titles, line.numbers() or [None for _ in titles], strict=True))
        cells = [found.cells[line.title][column.title] for column in found.columns]
        quotes = bool(table.published_on and line.published)
        if quotes:
            lines.append([line.title, "published", *(published[column.title] for column in found.columns)])
        digits = [_decimals(published[column.title]) for column in found.columns]
        texts = [_text(cell, n) for cell, n in zip(cells, digits, strict=True)]
        lines.append(["" if quotes else line.title, "measured", *texts])
        if compares and quotes:
            gaps = [
                f"{cell.mean - number:+.{n}f}" if cell.values and number is not None and not split else ""
                for cell, number, n, split in zip(
                    cells, [numbers[c.title] for c in found.columns], digits, splits, strict=True
                )
            ]
            lines.append(["", "difference", *gaps])
    return pd.DataFrame(lines, columns=["", "numbers", *(column.title for column in found.columns)])


def _decimals(published: str) -> int:
    """The number of decimals to show beside a published number; at least one.

    >>> _decimals("84.44"), _decimals("83.73±.23"), _decimals("84"), _decimals("-")
    (2, 2, 1, 1)
    """
    return max(1, len(published.partition(SPREAD)[0].partition(".")[2]))


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
"""(line, column) -> its difference to the line that it is compared with."""


def _gaps(found: Found) -> Gaps:
    cells, references = found.cells, _references(found)
    made = {
        (title, column.title): difference(cells[other][column.title], cells[title][column.title], column)
        for (title, other), column in itertools.product(references.items(), found.columns)
    }
    return {key: gap for key, gap in made.items() if gap is not None}


def _references(found: Found) -> dict[str, str]:
    """Title of each line that is compared -> title of the line that it is compared with."""
    first, *others = found.lines
    pairs = {line.title: line.against or first.title for line in others}
    return {title: other for title, other in pairs.items() if other in found.cells}


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


def _name_references(found: Found, compared: pd.DataFrame) -> pd.DataFrame:
    """Say in the title of a row what it is compared with, where that is not the first line for all."""
    against = {line.title: f"{line.title}, to {line.against}" for line in found.lines if line.against}
    return compared if compared.empty else compared.assign(**{"": compared[""].replace(against)})


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
    without = [(column.title, missing(column, config)) for column in found.columns]
    without += [(line.title, absence(table, config, line)) for line in found.lines]
    for why, titles in _by_reason(without).items():
        notes.append(f"{', '.join(titles)} {'are' if titles[1:] else 'is'} absent: {why}.")
    for column in found.columns:
        split = "" if missing(column, config) else other_split(table, config, column)
        notes += [f"{column.title}: {split}, so no difference is shown."] if split and config.scale != "tiny" else []
    if len(found.lines) < len(config.rows or table.lines):
        notes.append("Rows of layers that an encoder lacks are left out.")
    for line in found.lines:
        reasons = {cell.reason for cell in found.cells[line.title].values()}
        notes += [f"{line.title}: some cells are not run yet."] if "not run yet" in reasons else []
        of_line = {missing(column, change(config, line.changes)) for column in found.columns} & reasons
        notes += [f"{line.title}: {why}." for why in sorted(of_line - {missing(c, config) for c in found.columns})]
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
