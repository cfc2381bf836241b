"""The published figures of all-MiniLM-L6-v2 on semantic textual similarity, reproduced from text to correlation."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

import bert_jax
from bert_jax.tasks.sts import read_sts
from bert_jax.tasks.task import Split

PUBLISHED = {
    "STS13-en-test": {"mean": 80.60, "cls": 76.46},
    "STSBenchmark": {"mean": 82.03, "cls": 73.50},
}
"""Spearman x100 over all the pairs of a set: mean from the MTEB leaderboard, cls from the same weights in NumPy.
`results/minilm-sts` has the other sets."""


def correlation(pairs: Split, vectors: dict[str, np.ndarray]) -> float:
    a, b = (np.stack([vectors[text] for text in texts]).astype(np.float64) for texts in (pairs.a, pairs.b))
    cosines = (a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))
    return 100 * spearmanr(cosines, pairs.labels).statistic


def test_similarity_reproduces_the_published_figures(minilm: Path, shared: Path) -> None:
    sets = {}
    for name in PUBLISHED:
        subsets = read_sts(shared / "sts" / name).values()
        a, b = ([text for pairs in subsets for text in getattr(pairs, side)] for side in "ab")
        sets[name] = Split(a, b, np.concatenate([pairs.labels for pairs in subsets]))
    texts = sorted({text for pairs in sets.values() for text in (*pairs.a, *pairs.b)})
    # One pass over the encoder serves both poolings.
    both = bert_jax.load(minilm).embed(texts, pooling="mean + cls", batch_size=64, max_length=256)
    vectors = {
        "mean": dict(zip(texts, both[:, :384], strict=True)),
        "cls": dict(zip(texts, both[:, 384:], strict=True)),
    }
    measured = {
        name: {pooling: correlation(pairs, vectors[pooling]) for pooling in published}
        for (name, published), pairs in zip(PUBLISHED.items(), sets.values(), strict=True)
    }
    for name, published in PUBLISHED.items():
        assert measured[name] == pytest.approx(published, abs=0.02), name
