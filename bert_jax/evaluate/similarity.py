"""Zero-shot similarity: cosines of sentence vectors, their correlation with scores, and whitening."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.config import ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate.metrics import OVER_GROUPS, spearman
from bert_jax.rounding import RESOLUTION, merge_angles
from bert_jax.spec import parse_spec
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.template import Encoding
from bert_jax.tokenizers.tokenizer import Tokenizer

_PIECE = 100_000
"""Vectors whose covariance is added up at a time."""


class SimilarityData(NamedTuple):
    """Scored pairs. encodings: one for each distinct text. a, b: indices [pairs] into them. scores: [pairs]."""

    encodings: list[Encoding]
    a: np.ndarray
    b: np.ndarray
    scores: np.ndarray


def prepare_similarity(tokenizer: Tokenizer, pairs: Split, max_length: int, data: str = "the texts") -> SimilarityData:
    """Tokenize each distinct text once; warnings call the texts `data`."""
    assert pairs.b is not None and pairs.labels is not None, "similarity is between two texts with a score"
    texts = {text: place for place, text in enumerate(dict.fromkeys([*pairs.a, *pairs.b]))}
    a, b = (np.array([texts[text] for text in side]) for side in (pairs.a, pairs.b))
    return SimilarityData(encode_texts(tokenizer, list(texts), None, max_length, data), a, b, pairs.labels)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each row of a with the same row of b [N D]: [N] float64, 0 if a vector is zero.

    Angles that differ only by the rounding of float32 vectors give equal cosines, see `bert_jax.rounding`.
    """
    a, b = _directions(a), _directions(b)
    return merge_angles(np.einsum("nd,nd->n", a, b))


def anisotropy(vectors: np.ndarray) -> float | None:
    """Mean cosine over all pairs of different rows of vectors [N D], None without any: `(|sum u|^2 - N) / (N (N - 1))`.

    0 if directions are spread evenly, 1 if all vectors point one way (Ethayarajh 2019, arXiv 1909.00512).
    """
    directions = _directions(vectors)
    number = len(directions)
    if number < 2:
        return None
    total = np.square(directions.sum(0)).sum() - np.square(directions).sum()
    return float(total / (number * (number - 1)))


def whiten(vectors: np.ndarray, size: int | None = None, fitted_on: np.ndarray | None = None) -> np.ndarray:
    """Whiten vectors [N D] to zero mean and identity covariance, keeping the `size` axes of largest variance.

    `(x - mean) U S^(-1/2)`, where `U S U'` is the covariance (Su et al. 2021, arXiv 2103.15316). Mean and covariance
    are those of `fitted_on` [M D], by default of the vectors themselves. Axes whose standard deviation is within the
    rounding of the vectors are dropped, see `bert_jax.rounding`.
    """
    known = vectors if fitted_on is None else fitted_on
    mean = known.mean(0, dtype=np.float64)
    # In pieces, because a million texts in float64 take gigabytes.
    pieces = (known[start : start + _PIECE] - mean for start in range(0, len(known), _PIECE))
    variances, axes = np.linalg.eigh(sum(piece.T @ piece for piece in pieces) / len(known))
    order = np.argsort(variances)[::-1][:size]
    order = order[variances[order] > (RESOLUTION * np.abs(known).max()) ** 2]
    white: np.ndarray = (vectors - mean) @ (axes[:, order] / np.sqrt(variances[order]))
    return white


def split_whitening(readout: ReadoutConfig) -> tuple[ReadoutConfig, bool, int | None]:
    """Split a readout into the readout without whitening, whether it whitens, and to how many axes (None for all).

    Raises:
        InputError: `whiten` does not take these settings.
    """
    spec = parse_spec(readout.projection)
    if spec.name != "whiten":
        return readout, False, None
    sizes = [*spec.args, *spec.kwargs.values()]
    if len(sizes) > 1 or set(spec.kwargs) - {"size"} or any(type(size) is not int or size < 1 for size in sizes):
        raise InputError(f"projection {readout.projection!r}: write whiten, or whiten(size=256) to keep 256 axes")
    return ReadoutConfig(readout.layers, readout.pooling), True, sizes[0] if sizes else None


def agreement(found: np.ndarray, scores: np.ndarray, subsets: Sequence[int], aggregation: str) -> float:
    """Spearman's correlation of cosines and scores [N]: over all pairs, or a (weighted) mean over subsets.

    Args:
        subsets: sizes of the subsets in order; one or none if the set has no parts.
        aggregation: all, mean or wmean.
    """
    if aggregation == "all" or len(subsets) < 2:
        return spearman(found, scores)
    cuts = np.cumsum(subsets)[:-1]
    each = [spearman(x, y) for x, y in zip(np.split(found, cuts), np.split(scores, cuts), strict=True)]
    return float(OVER_GROUPS[aggregation](np.array(subsets)) @ np.array(each))


def _directions(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    directions: np.ndarray = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return directions
