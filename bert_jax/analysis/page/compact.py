"""Values of many examples in few bytes, for scripts in a page: numbers as text, and JSON deflated as base64."""

import base64
import json
import zlib
from typing import NamedTuple

import numpy as np

from bert_jax.files import Json

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
"""Digits of base 64, those of RFC 4648."""
_BASE = len(ALPHABET)
_LETTERS = np.frombuffer(ALPHABET.encode(), np.uint8)


class Numbers(NamedTuple):
    """N numbers as `digits` letters each: whole numbers from 0 on, or steps from `low` to `high` if these differ."""

    text: str
    digits: int
    low: float = 0.0
    high: float = 0.0


def encode_classes(values: np.ndarray) -> Numbers:
    """Classes [N] from 0 on; up to 64 take one letter each."""
    digits = 1 if not len(values) or values.max() < _BASE else 2
    return Numbers(_letters(values.astype(np.int64), digits), digits)


def encode_scores(values: np.ndarray) -> Numbers:
    """Scores [N] in 4095 steps between the least and the largest, two letters each."""
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    high = high if high > low else low + 1
    steps = np.rint((values - low) / (high - low) * (_BASE * _BASE - 1)).astype(np.int64)
    return Numbers(_letters(steps, 2), 2, low, high)


def _letters(values: np.ndarray, digits: int) -> str:
    places = [values // _BASE**place % _BASE for place in reversed(range(digits))]
    letters: bytes = _LETTERS[np.stack(places, -1)].tobytes()
    return letters.decode()


def pack(value: Json) -> str:
    """JSON, deflated (RFC 1950), in base64: no character in it can end a script element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return base64.b64encode(zlib.compress(text.encode())).decode()


def unpack(text: str) -> Json:
    """The value that `pack` was given."""
    value: Json = json.loads(zlib.decompress(base64.b64decode(text)))
    return value
