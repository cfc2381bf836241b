"""Random numbers as a pure function of (seed, epoch, index), for a whole batch of indices at once.

NumPy's generators must be seeded one by one, which costs more than an example is worth. A hash of the
counters does not: SplitMix64's finaliser (Steele, Lea, Flood 2014), applied once for every counter.
"""

import numpy as np
from jaxtyping import Float, Int


def uniform(seed: int, epoch: int, indices: Int[np.ndarray, " B"], stream: int, draws: int) -> Float[np.ndarray, "B R"]:
    """`draws` numbers in [0, 1) for each index; another `stream` gives independent ones."""
    state = np.zeros(1, np.uint64)
    for counter in (seed, epoch, stream):
        state = _mix(np.array([counter], np.uint64), state)
    rows = _mix(indices.astype(np.uint64), state)
    bits = _mix(np.arange(draws, dtype=np.uint64)[None], rows[:, None])
    return (bits >> np.uint64(11)) * 2.0**-53


def _mix(value: np.ndarray, state: np.ndarray) -> np.ndarray:
    # Arrays of integers wrap around, which is the point; NumPy's scalars would warn.
    z = (state ^ value) + np.uint64(0x9E3779B97F4A7C15) * (value + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
