"""Searches are those of NumPy, however little of an array is known and however close the bounds are."""

import numpy as np
import pytest

from bert_jax.corpus import search
from bert_jax.corpus.search import coarse, count_between, count_up_to


def starts_of(size, longest, seed=0):
    return np.concatenate([[0], np.cumsum(np.random.default_rng(seed).integers(1, longest + 1, size))])


@pytest.mark.parametrize("entries", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("longest", [1, 40])
def test_counts_by_coarse_entries_are_numpys(monkeypatch, entries, longest):
    monkeypatch.setattr(search, "_LONG", 100)
    monkeypatch.setattr(search, "_ENTRIES", entries)
    for size in (100, 101, 127, 128, 999):
        starts = starts_of(size, longest)
        known, wanted = coarse(starts), np.arange(starts[-1] + 3)
        assert known is not None and len(known.values) <= entries
        np.testing.assert_array_equal(count_up_to(starts, wanted, known), np.searchsorted(starts, wanted, "right"))


def test_a_short_array_needs_no_coarse_entries():
    starts = starts_of(1000, 9)
    assert coarse(starts) is None
    np.testing.assert_array_equal(count_up_to(starts, np.array([0, 3])), np.searchsorted(starts, [0, 3], "right"))


def test_counts_between_bounds_are_numpys():
    """Of every width, those that leave nothing to search included, and both ends of the array."""
    starts, rng = starts_of(500, 9), np.random.default_rng(1)
    wanted = rng.integers(-3, starts[-1] + 3, 3000)
    count = np.searchsorted(starts, wanted, "right")
    for width in (0, 1, 2, 5, 100, 600):
        low = np.maximum(count - rng.integers(0, width + 1, 3000), 0)
        high = np.minimum(count + rng.integers(0, width + 1, 3000), len(starts))
        np.testing.assert_array_equal(count_between(starts, wanted, low, high), count)
