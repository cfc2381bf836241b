"""Differences within rounding are removed, and larger ones are left unchanged."""

import numpy as np
import pytest
from scipy import stats

from bert_jax.analysis.bootstrap import interval, paired_bootstrap
from bert_jax.analysis.statistics import RESAMPLED
from bert_jax.evaluate.metrics import METRICS, pearson, spearman
from bert_jax.evaluate.similarity import cosines, whiten
from bert_jax.rounding import RESOLUTION, is_constant, merge_angles, varying

UNIT = 2.0**-23
"""The last place of float32 at 1."""


def test_the_last_place_of_a_double_is_no_signal():
    assert spearman(np.array([1, 1 - 2**-52, 1, 1, 1 - 2**-52]), np.array([1, 5, 2, 1, 4])) == 0
    assert pearson(np.array([1, 1 - 2**-52, 1, 1, 1 - 2**-52]), np.array([1, 5, 2, 1, 4])) == 0


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(20))
def test_a_constant_up_to_a_few_roundings_is_a_constant_for_scores_and_for_the_bootstrap(name, dtype, seed):
    rng = np.random.default_rng(seed)
    scale, size = 10 ** rng.uniform(-3, 3) * rng.choice([-1, 1]), int(rng.integers(5, 60))
    noisy = (scale * (1 + UNIT * rng.uniform(-3, 3, (2, size)))).astype(dtype)
    labels = rng.integers(0, 11, size) / 2
    assert METRICS[name](noisy[0], labels) == 0 and METRICS[name](labels, noisy[0]) == 0
    assert interval(name, noisy, labels, resamples=30) == (0, 0)
    assert paired_bootstrap(name, noisy[:1], noisy[1:], labels, resamples=30) == (0, 0, 0, 1)


@pytest.mark.parametrize("width", [1e-5, 1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("seed", range(20))
def test_what_varies_by_more_is_scored_to_the_bit_as_scipy_does(width, seed):
    """1e-5 is the width of the cosines of [CLS] in the first blocks of a published encoder."""
    rng = np.random.default_rng(seed)
    found, labels = 1 - width * rng.random(200), rng.integers(0, 11, 200) / 2
    assert spearman(found, labels) == pytest.approx(stats.spearmanr(found, labels).statistic, abs=1e-12)
    assert pearson(found, labels) == pytest.approx(stats.pearsonr(found, labels).statistic, abs=1e-12)
    once = np.ones((1, 200), int)
    for name, wanted in (("spearman", stats.spearmanr), ("pearson", stats.pearsonr)):
        scored = RESAMPLED[name](found[None], labels)(once)[0, 0]
        assert scored == pytest.approx(wanted(found, labels).statistic, abs=1e-9)


def vectors(rng, rows, angle, width=64):
    """Directions about `angle` radians around one of them, with outlying entries as encoders have them."""
    centre = rng.normal(size=width) * np.where(np.arange(width) == 3, 20, 1)
    return centre + angle * np.linalg.norm(centre) / np.sqrt(width) * rng.normal(size=(rows, width))


@pytest.mark.parametrize("angle", [1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_cosines_rank_pairs_as_exact_vectors_would(angle, seed):
    """Also where float32 could not hold the cosines: at a thousandth of a radian they differ in the seventh digit."""
    rng = np.random.default_rng(seed)
    a, b = vectors(rng, 2000, angle).reshape(2, 1000, -1)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    exact = 1 - ((a * b).sum(1) / lengths)
    found = cosines(a.astype(np.float32), b.astype(np.float32))
    assert stats.spearmanr(1 - found, exact).statistic > 0.9999
    np.testing.assert_allclose(1 - found, exact, rtol=4e-3, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_one_direction_rounded_anew_each_time_has_one_cosine(seed):
    rng = np.random.default_rng(seed)
    exact = vectors(rng, 1, 0.0)[0]
    units = UNIT * np.abs(exact).max()
    a, b = (exact + 0.5 * units * rng.uniform(-1, 1, (2, 100, len(exact)))).astype(np.float32)
    assert len(set(cosines(a, b))) == 1 and spearman(cosines(a, b), np.arange(100)) == 0


def test_cosines_that_are_apart_keep_their_bits():
    found = np.random.default_rng(0).uniform(-1, 1, 50)
    np.testing.assert_array_equal(merge_angles(found), found)
    assert merge_angles(np.array([0.0, 1 + 1e-16, -1.0])).tolist() == [0.0, 1.0, -1.0]


def test_a_coordinate_that_varies_by_rounding_is_no_feature_whatever_its_own_size():
    rng = np.random.default_rng(0)
    x = np.tile([10.0, 1e-3, 0.5, 2.0], (50, 1)) + rng.uniform(-1, 1, (50, 4)) * [10 * UNIT, 10 * UNIT, 1e-3, 0.1]
    assert varying(x.astype(np.float32)).tolist() == [False, False, True, True]
    assert not varying(np.zeros((3, 2), np.float32)).any() and is_constant(np.zeros(4))


def test_axes_of_rounding_are_not_whitened():
    rng = np.random.default_rng(0)
    constant = (vectors(rng, 1, 0.0) * (1 + UNIT * rng.uniform(-1, 1, (40, 64)))).astype(np.float32)
    assert whiten(constant).shape == (40, 0)
    plane = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 64))
    found = whiten(plane.astype(np.float32))
    assert found.shape == (40, 2) and np.abs(np.cov(found.T, bias=True) - np.eye(2)).max() < 1e-5


def test_the_resolution_is_a_few_units_of_float32():
    assert 8 * np.finfo(np.float32).eps == RESOLUTION
