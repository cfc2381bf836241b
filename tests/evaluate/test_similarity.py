"""Cosines, anisotropy, whitening and the aggregation of subsets, by their definitions."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.evaluate.similarity import (
    agreement,
    anisotropy,
    cosines,
    prepare_similarity,
    split_whitening,
    whiten,
)
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.tokenizer import WordPiece

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)) @ RNG.normal(size=(6, 6)) + 3


def test_a_cosine_knows_no_length_and_a_zero_vector_has_none():
    np.testing.assert_allclose(cosines(X, 5 * X), 1)
    np.testing.assert_allclose(cosines(X, -X), -1)
    assert cosines(np.zeros((1, 6)), X[:1]).tolist() == [0]


def test_anisotropy_is_the_mean_over_all_pairs():
    pairs = [(i, j) for i in range(len(X)) for j in range(len(X)) if i != j]
    a, b = (X[[pair[side] for pair in pairs]] for side in (0, 1))
    assert anisotropy(X) == pytest.approx(cosines(a, b).mean())
    assert anisotropy(np.ones((4, 3))) == pytest.approx(1)


@pytest.mark.parametrize("size", [None, 3])
def test_whitened_vectors_have_no_mean_and_covariance_one(size):
    found = whiten(X, size)
    width = size or 6
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(found.T @ found / len(found), np.eye(width), atol=1e-9)


def test_whitening_can_be_fitted_on_other_vectors(monkeypatch):
    """These get mean zero and covariance one; vectors of another cloud keep their place relative to it."""
    whole = whiten(X)
    found = whiten(X[:10] + 1, 3, X)
    axes = np.linalg.lstsq(X - X.mean(0), whiten(X, 3), rcond=None)[0]
    np.testing.assert_allclose(found, (X[:10] + 1 - X.mean(0)) @ axes, atol=1e-9)
    monkeypatch.setattr("bert_jax.evaluate.similarity._PIECE", 7)
    pieces = whiten(X)
    np.testing.assert_allclose(pieces @ pieces.T, whole @ whole.T, atol=1e-9)


def test_the_largest_axes_are_kept_and_those_without_variance_left_out():
    flat = np.concatenate([X, X[:, :1]], 1)
    assert whiten(flat).shape[1] == 6
    spread = RNG.normal(size=(200, 3)) * [1, 100, 10]
    kept = whiten(spread, 1)[:, 0]
    assert abs(np.corrcoef(kept, spread[:, 1])[0, 1]) > 0.99


def test_aggregations_are_senteval_s():
    found, scores, sizes = RNG.normal(size=60), RNG.normal(size=60), [10, 20, 30]
    each = [spearmanr(found[i:j], scores[i:j]).statistic for i, j in ((0, 10), (10, 30), (30, 60))]
    assert agreement(found, scores, sizes, "all") == pytest.approx(spearmanr(found, scores).statistic)
    assert agreement(found, scores, sizes, "mean") == pytest.approx(np.mean(each))
    assert agreement(found, scores, sizes, "wmean") == pytest.approx(np.average(each, weights=sizes))


def test_every_different_text_is_read_once(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n")
    tokenizer = WordPiece.from_vocabulary(tmp_path / "vocab.txt")
    data = prepare_similarity(tokenizer, Split(["a", "b", "a"], ["b", "c", "a"], np.zeros(3, np.float32)), 16)
    assert len(data.encodings) == 3 and data.a.tolist() == [0, 1, 0] and data.b.tolist() == [1, 2, 0]


def test_whitening_is_a_projection_of_its_own():
    assert split_whitening(ReadoutConfig("last", "mean", "tanh"))[1] is False
    assert split_whitening(ReadoutConfig("1", "mean", "whiten")) == (ReadoutConfig("1", "mean"), True, None)
    assert split_whitening(ReadoutConfig("1", "mean", "whiten(size=4)"))[2] == 4
    for wrong in ("whiten(0)", "whiten(axes=3)", "whiten(2, 3)", "whiten(size='x')"):
        with pytest.raises(InputError, match="size=256"):
            split_whitening(ReadoutConfig("last", "mean", wrong))
