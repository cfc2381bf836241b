"""A hash table that numbers the words of texts, vectorised over all words of a text.

A word is identified by a 63-bit hash of its bytes: two of a million words collide with a probability of 5e-8.
"""

import functools
from typing import NamedTuple

import numpy as np

SPACE, NEWLINE = 32, 10
_SLOTS = 21
"""Bits of a table index."""
CAPACITY = 1 << (_SLOTS - 1)
"""Capacity in words: half the slots, so that lookups need about two probes."""
_BASE = 0x9E3779B97F4A7C15
_BYTE_CODES = np.random.default_rng(0).integers(1, 1 << 63, 256, np.uint64)


class FoundWords(NamedTuple):
    """The words of a text. numbers [N] int32. starts, ends [N] int64: byte offsets in the text. new [M] int64: index
    into these arrays of the first occurrence of each new word, in the order of their numbers."""

    numbers: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    new: np.ndarray


class Words:
    """Words, numbered from 0 in the order of their first occurrence."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Remove all words."""
        self.count = 0
        self._keys = np.zeros(1 << _SLOTS, np.uint64)  # 0 marks an empty slot
        self._numbers = np.zeros(1 << _SLOTS, np.int32)

    def find(self, text: np.ndarray) -> FoundWords:
        """Find the words of a text [bytes] uint8, each ended by a space or a newline; new words are added.

        Raises:
            ValueError: the table might overflow if all words were new; `clear` it first.
        """
        ends = np.flatnonzero((text == SPACE) | (text == NEWLINE))
        if self.count + len(ends) > CAPACITY:
            raise ValueError(f"{len(ends)} words in a text, and room for {CAPACITY - self.count}")
        starts = np.concatenate([[0], ends[:-1] + 1])
        hashes = _hash(text, starts, ends)
        numbers, unknown = self._look_up(hashes)
        _, first = np.unique(hashes[unknown], return_index=True)
        new = unknown[np.sort(first)]
        self._add(hashes[new])
        numbers[unknown] = self._look_up(hashes[unknown])[0]
        return FoundWords(numbers, starts, ends, new)

    def _look_up(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the numbers of words [N], and the indices of the unknown ones."""
        slots = _slots(hashes)
        keys, numbers = self._keys[slots], self._numbers[slots]
        looking = np.flatnonzero(keys != hashes)
        unknown = []
        while len(looking):
            empty = keys[looking] == 0
            unknown.append(looking[empty])
            looking = looking[~empty]
            slots[looking] = _next(slots[looking])
            keys[looking], numbers[looking] = self._keys[slots[looking]], self._numbers[slots[looking]]
            looking = looking[keys[looking] != hashes[looking]]
        return numbers, np.sort(np.concatenate([np.zeros(0, np.int64), *unknown]))

    def _add(self, hashes: np.ndarray) -> None:
        """Add distinct unknown words."""
        slots, waiting = _slots(hashes), np.arange(len(hashes))
        while len(waiting):
            free = waiting[self._keys[slots[waiting]] == 0]
            self._keys[slots[free]] = hashes[free]
            # If several words claim one slot, exactly one of them holds it now.
            have = free[self._keys[slots[free]] == hashes[free]]
            self._numbers[slots[have]] = self.count + have
            waiting = np.setdiff1d(waiting, have, assume_unique=True)
            slots[waiting] = _next(slots[waiting])
        self.count += len(hashes)


def _hash(text: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Hash each word [N] uint64: a polynomial of its bytes modulo 2^64, as a difference of prefix sums of the text."""
    up, down = _powers(_BASE, len(text)), _powers(pow(_BASE, -1, 1 << 64), len(text))
    sums = np.zeros(len(text) + 1, np.uint64)
    np.cumsum(_BYTE_CODES[text] * up[: len(text)], out=sums[1:])
    hashes: np.ndarray = (sums[ends] - sums[starts]) * down[starts]
    # Mix all bits into the upper ones, which select the slot, and avoid 0, which marks an empty slot.
    hashes = (hashes ^ (hashes >> np.uint64(32))) * np.uint64(_BASE) | np.uint64(1)
    return hashes


def _powers(base: int, count: int) -> np.ndarray:
    return _powers_up_to(base, 1 << max(count - 1, 1).bit_length())


@functools.cache
def _powers_up_to(base: int, count: int) -> np.ndarray:
    """Return base^0 ... base^(count-1) modulo 2^64."""
    powers = np.full(count, base, np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers)


def _slots(hashes: np.ndarray) -> np.ndarray:
    return (hashes >> np.uint64(64 - _SLOTS)).astype(np.int64)


def _next(slots: np.ndarray) -> np.ndarray:
    return (slots + 1) & ((1 << _SLOTS) - 1)
