"""Seeds and examples as crossed random factors: exact influences, the published formulae, and intervals that hold."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats
from test_statistics import USUAL, examples

from benchmarks.coverage import SPREADS, Coverage, cover, simulate
from bert_jax.analysis.crossed import Components, components, measure
from bert_jax.analysis.statistics import checked, influence, scorer
from bert_jax.errors import InputError

EVERY_METRIC = [*((name, 2) for name in USUAL), ("accuracy", 3), ("mcc", 3)]


@pytest.mark.parametrize("over", ["", "_mean", "_wmean"])
@pytest.mark.parametrize(("name", "num_classes"), EVERY_METRIC)
def test_influence_is_the_derivative_of_the_score_by_the_weight_of_an_example(name, num_classes, over):
    predictions, labels = examples(name, num_classes)
    groups = np.arange(len(labels)) % 3 if over else None
    sides, labels = checked(name + over, predictions[None], labels, groups)
    score, often, one = scorer(name + over, sides, labels, groups), 1000, np.eye(len(labels), dtype=int)
    slope = (score(often + one) - score(often - one))[:, 0].T * often / 2
    found = influence(name + over, sides, labels, groups)[0]
    np.testing.assert_allclose(found, slope * len(labels), rtol=0, atol=1e-7)
    np.testing.assert_allclose(found.mean(-1), 0, atol=1e-12)


@pytest.mark.parametrize("name", USUAL)
def test_influences_give_the_jackknifes_variance(name):
    predictions, labels = examples(name, size=400)
    sides, labels = checked(name, predictions[None], labels, None)
    left_out = scorer(name, sides, labels, None)(1 - np.eye(len(labels), dtype=int))[:, 0]
    jackknife = (len(labels) - 1) * left_out.var(0)
    found = np.square(influence(name, sides, labels, None)[0]).sum(-1) / len(labels) / (len(labels) - 1)
    np.testing.assert_allclose(found, jackknife, rtol=0.03)


@pytest.mark.parametrize("name", ["f1", "mcc", "pearson", "spearman"])
def test_nothing_moves_the_score_of_constant_predictions(name):
    _, labels = examples(name)
    constant = np.zeros((2, len(labels)), labels.dtype)
    side = measure(name, constant[None], labels).side(0)
    assert side.test() == (0, 0, 0, 1)


def two_modalities(a, b):
    """Obuchowski and Rockette's F test with Hillis' degrees of freedom, written as in Hillis 2007 for accuracies [S N]:
    mean squares and three covariances of jackknife pseudovalues."""
    seeds, size = a.shape
    scores = np.stack([a, b]).mean(-1)
    centred = np.concatenate([a, b]) - scores.reshape(-1, 1)
    covariance = (centred @ centred.T / (size * (size - 1))).reshape(2, seeds, 2, seeds)
    other = ~np.eye(seeds, dtype=bool)
    cov2 = np.mean([covariance[i, :, i, :][other].mean() for i in range(2)])
    cov3 = np.mean([covariance[i, :, 1 - i, :][other].mean() for i in range(2)])
    residual = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
    square = np.square(residual).sum() / (seeds - 1)
    denominator = square + max(0, seeds * (cov2 - cov3))
    df = denominator**2 / (square**2 / (seeds - 1))
    error = math.sqrt(2 / seeds * denominator)
    mean = scores[1].mean() - scores[0].mean()
    half = stats.t.ppf(0.975, df) * error
    return mean, mean - half, mean + half, 2 * stats.t.sf(abs(mean) / error, df)


@pytest.mark.parametrize("seeds", [2, 3, 7])
@pytest.mark.parametrize("matter", ["seeds", "examples"])
def test_a_difference_is_that_of_the_published_formulae(seeds, matter):
    rng = np.random.default_rng(seeds)
    for _ in range(20):
        a, b, labels = simulate(rng, "accuracy", SPREADS[matter], seeds, 90)
        expected = two_modalities((a == labels).astype(float), (b == labels).astype(float))
        found = measure("accuracy", np.stack([a, b]), labels).difference(0, 1).test()
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_the_error_has_the_variance_of_readers_and_the_covariance_of_examples():
    one = Components(0.1, 4, 0.04, 0.02, 0.03, 100)
    error, df = one.error()
    assert error == pytest.approx(0.2) and df == pytest.approx(0.04**2 / (0.01**2 / 3))
    assert one._replace(between=0.0).error() == (pytest.approx(math.sqrt(0.03)), math.inf)
    half = stats.norm.ppf(0.975) * math.sqrt(0.03)
    assert one._replace(between=0.0).test()[:3] == pytest.approx((0.1, 0.1 - half, 0.1 + half))


def test_a_negative_covariance_counts_as_none():
    found = components(np.array([0.2, 0.4]), np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]]))
    assert found.shared == 0 and found.error()[0] == pytest.approx(math.sqrt(0.02 / 2))


@pytest.mark.parametrize("name", USUAL)
def test_swapping_the_sides_turns_the_difference_around_and_equal_sides_do_not_differ(name):
    a, labels = examples(name)
    measured = measure(name, np.stack([a, a[:, ::-1], a]), labels)
    one, other = measured.difference(0, 1).test(), measured.difference(1, 0).test()
    np.testing.assert_allclose(one, (-other.mean, -other.high, -other.low, other.p_value), atol=1e-12)
    assert measured.difference(0, 2).test() == (0, 0, 0, 1)


def test_readers_are_averaged_over_their_runs_however_many_each_has():
    rng = np.random.default_rng(0)
    a, b, labels = simulate(rng, "mcc", SPREADS["both"], 6, 200)
    found = measure("mcc", np.stack([a, b]), labels, readers=[0, 0, 0, 1, 2, 2]).difference(0, 1)
    runs = measure("mcc", np.stack([a, b]), labels)
    gaps = runs.scores[1] - runs.scores[0]
    each = [gaps[:3].mean(), gaps[3], gaps[4:].mean()]
    assert found.readers == 3 and found.mean == pytest.approx(np.mean(each))
    assert found.between == pytest.approx(np.var(each, ddof=1))


def test_one_seed_is_over_examples_alone():
    rng = np.random.default_rng(0)
    spread = SPREADS["examples"]._replace(seed=0.0)
    inside = {"accuracy": 0, "mcc": 0}
    for name in inside:
        for _ in range(400):
            a, b, labels = simulate(rng, name, spread, 1, 300)
            found = measure(name, np.stack([a, b]), labels).difference(0, 1).test()
            inside[name] += found.low <= 0 <= found.high
    assert all(0.92 <= count / 400 <= 0.98 for count in inside.values()), inside


SHORT = Coverage(examples=200, simulations=400, bootstraps=1, resamples=100)


@pytest.mark.parametrize("matter", SPREADS)
@pytest.mark.parametrize("metric", ["accuracy", "pearson"])
def test_intervals_hold_whatever_matters(metric, matter):
    found = cover(SHORT, metric, matter, 5)
    assert 92 <= found["crossed"] <= 98, found


def test_the_other_methods_do_not_hold_where_seeds_or_examples_matter():
    drawn = dataclasses.replace(SHORT, simulations=150, bootstraps=150)
    assert cover(drawn, "accuracy", "seeds", 3)["bootstrap"] < 90
    assert cover(SHORT, "accuracy", "examples", 10)["t"] < 88


def test_bad_arguments_are_named():
    a, labels = examples("accuracy")
    with pytest.raises(InputError, match="Did you mean 'accuracy'"):
        measure("acuracy", a[None], labels)
    with pytest.raises(InputError, match=r"\(1, 3, 60\)"):
        measure("accuracy", a[None, :, :60], labels)
