"""One rule to tell rounding error from signal.

Sentence vectors and predictions are computed in float32, and programs compiled for different lengths or batch sizes
round the same text differently. Measured over batch sizes and lengths, a vector that is the same for every text ([CLS]
at layer 0, or cut off from attention in six blocks) changes by less than one unit in the last place (2^-23) of its
largest entry. A float32 sum of D products with random rounding, without cancellation and with a different order each
time, has an error of sqrt(D) / 2 such units: 14 for D = 768. `RESOLUTION` is 8 units, between the two.

Values count as constant only if they vary by no more than that. They are not rounded to float32, because cosines are
computed in float64 and carry signal below float32 resolution: [CLS] in the third block of all-MiniLM-L6-v2 has cosines
from 0.999998 to 1 on the STS benchmark and a correlation of 39.01, which rounding to float32 would turn into 38.44.
"""

import numpy as np

RESOLUTION = 2.0**-20
"""Smallest difference that counts as signal, relative to the scale of the values."""


def is_constant(values: np.ndarray) -> bool:
    """Return True if values are equal up to rounding: the range is within `RESOLUTION` times the largest magnitude."""
    values = np.asarray(values, np.float64)
    return bool(np.ptp(values) <= RESOLUTION * np.abs(values).max())


def varying(features: np.ndarray) -> np.ndarray:
    """Mask [D] of the columns of features [N D] that vary by more than `RESOLUTION` times the largest magnitude.

    The magnitude is taken over all columns: a coordinate near zero is a difference of larger terms and has their
    rounding error.
    """
    lows, highs = features.min(0), features.max(0)
    varies: np.ndarray = highs.astype(np.float64) - lows > RESOLUTION * max(abs(lows).max(), abs(highs).max())
    return varies


def merge_angles(cosines: np.ndarray) -> np.ndarray:
    """Make cosines [N] equal where their angles differ by rounding only; all others are unchanged.

    Rounding turns a vector by about `RESOLUTION` radians, whatever the angle. The cosine then changes by that much
    times the sine of the angle, which near 1 is far less than float32 can resolve. Therefore angles are binned, with
    bins that extend `RESOLUTION` to either side of their centre, and every cosine is replaced by the first in its bin.
    """
    angles = np.arccos(np.clip(cosines, -1, 1))
    _, firsts, cells = np.unique(np.round(angles / (2 * RESOLUTION)), return_index=True, return_inverse=True)
    return cosines[firsts][cells]
