"""Power to find a difference, and the seeds or examples needed, from the variance components of a run.

A run of R' readers and N' examples has the standard error of

    se^2 = (S + W N / N') / R' + C N / N'

with C the covariance over examples that readers share, W the variance of one reader's difference over examples beyond
C, and S the remaining variance between readers. The power of its t test is that of the noncentral t distribution with
Hillis' degrees of freedom.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import pandas as pd
from scipy import stats

from bert_jax.analysis.crossed import LEVEL, Components, quantile

WANTED = 0.8
"""Power to plan for."""
MOST = 1000
"""Largest number of readers, and largest multiple of the present examples, that is considered."""
MANY = 1e5
"""Degrees of freedom from which Student's distribution is treated as normal."""


class SampleSizes(NamedTuple):
    """Power of one comparison for a given difference, and the sizes for a power of `WANTED`."""

    power: float
    """Power at the present size."""
    readers: int | None
    """Readers for a power of `WANTED` on the present examples; None if no number suffices."""
    examples: int | None
    """Examples for a power of `WANTED` with the present readers; None if no number suffices."""
    both: tuple[int, int] | None
    """Readers and examples together if neither alone suffices: with twice the examples, or four times ..."""
    smallest: float
    """The smallest difference with a power of `WANTED` at the present size; NaN if there is none."""


def resize(components: Components, readers: int, examples: float) -> Components:
    """The components expected for another number of readers and examples."""
    share = components.examples / examples
    own = max(0.0, components.within - components.shared)
    between = max(0.0, components.between - own) + own * share
    within, shared = components.within * share, components.shared * share
    if readers == 1 or components.readers == 1:
        between, shared = 0.0, within
    return components._replace(readers=readers, between=between, within=within, shared=shared, examples=int(examples))


def power(components: Components, effect: float) -> float:
    """The chance that the test of a difference with such variances is significant if the difference is `effect`."""
    error, df = components.error()
    if error == 0:
        return float(effect != 0)
    critical, shift = quantile(0.5 + LEVEL / 2, df), abs(effect) / error
    test = stats.norm(shift) if df > MANY else stats.nct(df, shift)
    return float(test.sf(critical) + test.cdf(-critical))


def plan(components: Components, effect: float) -> SampleSizes:
    """Readers and examples needed to find a difference of `effect`."""
    readers, examples = components.readers, components.examples

    by_readers = partial(_chance, components, effect, examples)

    def by_examples(number: int) -> float:
        return _chance(components, effect, number, readers)

    enough_readers = _first(by_readers, 2, MOST) if readers > 1 else None
    enough_examples = _first(by_examples, 2, MOST * examples)
    both = None
    if readers > 1 and enough_readers is None and enough_examples is None:
        sizes = (2**times * examples for times in range(1, MOST.bit_length()))
        tried = ((_first(partial(_chance, components, effect, size), 2, MOST), size) for size in sizes)
        both = next(((number, size) for number, size in tried if number is not None), None)
    return SampleSizes(by_readers(readers), enough_readers, enough_examples, both, smallest(components))


def smallest(components: Components) -> float:
    """The smallest difference with a power of `WANTED` at the present size, to a tenth of a point."""
    present = resize(components, components.readers, components.examples)
    step = _first(lambda step: power(present, step / MOST), 1, 2 * MOST)
    return math.nan if step is None else step / MOST


def _chance(components: Components, effect: float, examples: int, readers: int) -> float:
    return power(resize(components, readers, examples), effect)


def _first(chance: Callable[[int], float], least: int, most: int) -> int | None:
    """The smallest number at which an increasing chance reaches `WANTED`."""
    number = bisect_left(range(least, most + 1), WANTED, key=chance) + least
    return number if number <= most else None


def tabulate(compared: pd.DataFrame, points: float) -> pd.DataFrame:
    """A line of text for each measured difference: the power, readers and examples for one of so many points."""
    lines = []
    for _, line in compared[compared["pairs"] > 0].iterrows():
        found = plan(line["components"], points / 100)
        lines.append(
            {
                "Task": line["label"],
                "Regime": line["regime"],
                "Readout": line["readout"],
                "Standard error": f"{100 * line['components'].error()[0]:.2f}",
                "Power": f"{100 * found.power:.0f}%",
                "For 80%": _needed(found, "pretrainings" if line["over"] == "pretrainings" else "seeds"),
                "Found with 80%": "" if math.isnan(found.smallest) else f"{100 * found.smallest:.1f}",
            }
        )
    return pd.DataFrame(lines)


def _needed(found: SampleSizes, readers: str) -> str:
    """Text with the readers or the examples that suffice, or with both together."""
    ways = [(found.readers, readers), (found.examples, "examples")]
    alone = [f"{number:,} {noun}" for number, noun in ways if number is not None]
    if not alone and found.both is not None:
        return f"{found.both[0]:,} {readers} on {found.both[1]:,} examples"
    return " or ".join(alone) or "more than can be planned"


def describe(compared: pd.DataFrame, points: float) -> str:
    """One sentence on the power for all differences of a table; empty without any."""
    present = [resize(one, one.readers, one.examples) for one in compared["components"].dropna()]
    if not present:
        return ""
    chances = [100 * power(one, points / 100) for one in present]
    found = [100 * least for least in map(smallest, present) if not math.isnan(least)]
    text = f"Power: a true difference of {points:g} point{'s' * (points != 1)} would be significant (p < 0.05, not "
    text += f"corrected) in {_range(chances, '.0f')}% of repetitions of this run"
    text += f"; 80% takes a difference of {_range(found, '.1f')} points" if found else ""
    return f"{text} (seeds and examples for it: experiments.report --detect)."


def _range(values: list[float], digits: str) -> str:
    low, high = (f"{bound:{digits}}" for bound in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
