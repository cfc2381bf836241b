"""Random numbers as a pure function of (seed, epoch, index), for a whole batch of indices at once.

NumPy's generators must be seeded one by one, which is too slow for each example. A hash of the counters is
fast: SplitMix64's finaliser (Steele, Lea, Flood 2014), applied once for every counter.
"""

import math

import numpy as np
from jaxtyping import Float, Int, UInt64

Epoch = int | Int[np.ndarray, " B"]
"""One epoch for all indices, or one for each index."""

_ROUNDS = 8


def bits(seed: int, epoch: Epoch, indices: Int[np.ndarray, " B"], stream: int, draws: int) -> UInt64[np.ndarray, "B R"]:
    """`draws` times 64 random bits for each index; another `stream` gives independent ones."""
    rows = _mix(indices.astype(np.uint64), _state(seed, epoch, stream))
    return _mix(np.arange(draws, dtype=np.uint64)[None], rows[:, None])


def uniform(
    seed: int, epoch: Epoch, indices: Int[np.ndarray, " B"], stream: int, draws: int
) -> Float[np.ndarray, "B R"]:
    """`bits` as numbers in [0, 1)."""
    return (bits(seed, epoch, indices, stream, draws) >> np.uint64(11)) * 2.0**-53


def shuffled(seed: int, epoch: Epoch, places: Int[np.ndarray, " B"], stream: int, size: int) -> Int[np.ndarray, " B"]:
    """Entries at some places of a random permutation of 0, 1, ..., size - 1, a different one in each epoch.

    The whole permutation is never built: a Feistel network permutes a grid hardly larger than `size`, and is applied
    again to an entry that is not below `size` (cycle walking; Black and Rogaway 2002, Ciphers with Arbitrary Finite
    Domains).
    """
    state = _state(seed, epoch, stream)
    keys = [_mix(np.full(1, turn, np.uint64), state) for turn in range(_ROUNDS)]
    width = math.isqrt(size - 1) + 1
    found = _shuffled_grid(places.astype(np.uint64), keys, -(-size // width), width)
    while (beyond := found >= size).any():
        found = np.where(beyond, _shuffled_grid(found, keys, -(-size // width), width), found)
    return found.astype(np.int64)


def _shuffled_grid(cells: np.ndarray, keys: list[np.ndarray], height: int, width: int) -> np.ndarray:
    row, column = cells // width, cells % width
    for down, right in zip(keys[::2], keys[1::2], strict=True):
        row = (row + _mix(column, down) % height) % height
        column = (column + _mix(row, right) % width) % width
    shuffled: np.ndarray = row * width + column
    return shuffled


def _state(seed: int, epoch: Epoch, stream: int) -> np.ndarray:
    state = np.zeros(1, np.uint64)
    for counter in (seed, epoch, stream):
        state = _mix(np.atleast_1d(counter).astype(np.uint64), state)
    return state


def _mix(value: np.ndarray, state: np.ndarray) -> np.ndarray:
    # Arrays of integers wrap around, as intended; NumPy's scalars would warn.
    z: np.ndarray = state ^ value
    z += np.uint64(0x9E3779B97F4A7C15) * (value + np.uint64(1))
    for shift, factor in [(30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)]:
        z ^= z >> np.uint64(shift)
        z *= np.uint64(factor)
    return z
