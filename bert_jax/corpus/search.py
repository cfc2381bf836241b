"""Search in long arrays of starts, sorted and without repetition, such as `Corpus.sentences`.

All wanted values take each step of a binary search together. `numpy.searchsorted` takes them one after the other, and
in an array that is much larger than the processor's caches waits for memory at every step of every value.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int

Places = Int[np.ndarray, " B"]
_ENTRIES = 1 << 14
"""Largest number of entries of a `Coarse`: few enough for a cache, and to read them in a moment from a cold disk."""
_LONG = 1 << 20
"""Length of arrays that fit into a processor's caches, and need none."""


class Coarse(NamedTuple):
    """Every `step`-th entry of an array of starts, in memory."""

    values: np.ndarray
    step: int


def coarse(starts: np.ndarray) -> Coarse | None:
    """Copy evenly spaced entries of a long array; None for a short one."""
    if len(starts) <= _LONG:
        return None
    step = -(-len(starts) // _ENTRIES)
    return Coarse(starts[::step].copy(), step)


def count_up_to(starts: np.ndarray, wanted: Places, known: Coarse | None = None) -> Places:
    """Number of starts that are at most `wanted`, for every value.

    Args:
        starts: the array.
        wanted: values of at least the first start.
        known: entries of a long array, which spare the first steps.
    """
    if known is None:
        return np.searchsorted(starts, wanted, side="right")
    last = np.searchsorted(known.values, wanted, side="right") * known.step
    return count_between(starts, wanted, last - known.step + 1, np.minimum(last, len(starts)))


def count_between(starts: np.ndarray, wanted: Places, low: Places, high: Places) -> Places:
    """`count_up_to` where the result is known to be from `low` to `high`, both inclusive."""
    step = 1 << int((high - low).max()).bit_length()
    while step := step >> 1:
        probe = np.minimum(low + step, high)
        low = np.where(starts[probe - 1] <= wanted, probe, low)
    return low
