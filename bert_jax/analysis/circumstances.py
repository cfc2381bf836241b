"""Circumstances of the numbers of a table, in words: training rows, seeds of each cell, and runs that are missing."""

from collections import Counter
from collections.abc import Sequence

from bert_jax.analysis.comparison import is_seeded
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import Row

SHOWN = 6
"""Largest number of cells to name; the others are counted."""


def describe_training(rows: Sequence[Row]) -> str:
    """The number of training rows of each task: `trained on CoLA (8,551), MRPC (300 by --train-rows)`; or empty."""
    sizes: dict[str, dict[str, None]] = {}
    for row in rows:
        if row.train_examples:
            limited = " by --train-rows" if row.config.get("train_rows") else ""
            sizes.setdefault(row.title, {})[f"{row.train_examples:,}{limited}"] = None
    found = ", ".join(f"{title} ({' or '.join(numbers)})" for title, numbers in sizes.items())
    return f"trained on {found}" if found else ""


def describe_seeds(rows: Sequence[Row]) -> str:
    """The number of seeds of each cell: `5 seeds`, or `1 to 2 seeds` where cells differ."""
    seeded = [row for row in rows if is_seeded(row)] or rows
    cells = Counter((row.regime, row.task, row.name, row.learning_rate, row.pretraining) for row in seeded)
    least, most = min(cells.values()), max(cells.values())
    return f"{most} seed{'s' * (most > 1)}" if least == most else f"{least} to {most} seeds"


def describe_missing(missing: dict[tuple[str, str], list[str]], done: int) -> str:
    """Say that a grid is incomplete and which runs it lacks; empty if it is complete."""
    total = sum(map(len, missing.values()))
    if not total:
        return ""
    cells: dict[str, list[str]] = {}
    for (regime, title), names in missing.items():
        for name in names:
            readout, _, seed = name.rpartition(" seed ")
            cells.setdefault(f"{title} {readout} ({regime_title(regime).lower()})", []).append(seed)
    shown = [f"{cell} seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" for cell, seeds in cells.items()]
    more = [f"{len(shown) - SHOWN} more cells"] if len(shown) > SHOWN else []
    return (
        f"INCOMPLETE: {total} of {total + done} runs are missing: {'; '.join([*shown[:SHOWN], *more])}. "
        "The same command goes on."
    )
