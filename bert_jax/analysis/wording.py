"""Scores, differences and counts of a line of a table in words."""

import math

import pandas as pd

from bert_jax.study.regimes import is_trained


def num_digits(line: pd.Series) -> int:
    """Decimals of a score: one for fine-tuning, whose variation between seeds makes a second one meaningless."""
    return 1 if is_trained(line["regime"]) else 2


def score_text(line: pd.Series) -> str:
    """Mean and standard deviation; empty without a finished run."""
    digits = num_digits(line)
    sd = "" if math.isnan(line["sd"]) else f" \N{PLUS-MINUS SIGN} {line['sd']:.{digits}f}"
    return f"{line['mean']:.{digits}f}{sd}" if line["seeds"] else ""


def change_text(line: pd.Series, which: str = "") -> str:
    """A difference with its interval; which: the suffix of its columns."""
    digits = num_digits(line)
    difference, low, high = (line[f"{name}{which}"] for name in ("difference", "low", "high"))
    return f"{difference:+.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def without_text(line: pd.Series) -> str:
    """The difference without degenerate runs; empty if there are none."""
    kept = line["pairs_kept"]
    if not line["pairs"] > max(kept, 1):
        return ""
    return f"{change_text(line, '_kept')} of {plural(int(kept), 'pair')}" if kept else "no pair left"


def troubles(line: pd.Series) -> list[str]:
    """Counts of degenerate, failed and unpaired runs, where there are any."""
    runs = [f"{line[name]} {name}" for name in ("degenerate", "failed") if line[name]]
    return runs + ([f"{line['pairs']:.0f} paired"] if line["pairs"] < line["seeds"] else [])


def rate_text(rate: float | None) -> str:
    """A learning rate; empty for none."""
    return "" if rate is None or math.isnan(rate) else f"{rate:g}".replace("e-0", "e-")


def plural(number: int, noun: str) -> str:
    """A number with its noun."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
