"""The bootstrap: its metrics are the usual ones, its draws are paired, its p-values mean what they say."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from statsmodels.stats.multitest import multipletests

from bert_jax.analysis import bootstrap
from bert_jax.analysis.bootstrap import interval, paired_bootstrap
from bert_jax.analysis.statistics import RESAMPLED, adjust
from bert_jax.errors import InputError
from bert_jax.evaluate.metrics import is_degenerate

USUAL = {
    "accuracy": metrics.accuracy_score,
    "f1": metrics.f1_score,
    "mcc": metrics.matthews_corrcoef,
    "pearson": lambda labels, predictions: stats.pearsonr(labels, predictions)[0],
    "spearman": lambda labels, predictions: stats.spearmanr(labels, predictions)[0],
}


def noisy_copies(rng, labels, rights):
    """[S N] binary predictions, one row per share of right answers."""
    return np.where(rng.random((len(rights), len(labels))) < np.reshape(rights, (-1, 1)), labels, 1 - labels)


def examples(name, num_classes=2, seeds=3, size=61):
    rng = np.random.default_rng(size)
    if name in ("pearson", "spearman"):
        labels = rng.integers(0, 11, size) / 2  # many ties, as in STS-B
        return 1e3 + labels + rng.normal(size=(seeds, size)).round(1), labels
    labels = rng.integers(num_classes, size=size)
    return np.where(rng.random((seeds, size)) < 0.6, labels, rng.integers(num_classes, size=(seeds, size))), labels


@pytest.mark.parametrize(("name", "num_classes"), [*((name, 2) for name in USUAL), ("accuracy", 3), ("mcc", 3)])
def test_metric_of_a_resample_is_the_usual_metric_of_the_drawn_examples(name, num_classes):
    predictions, labels = examples(name, num_classes)
    drawn = np.random.default_rng(0).integers(len(labels), size=(50, len(labels)))
    counts = np.stack([np.bincount(row, minlength=len(labels)) for row in drawn])
    expected = [[USUAL[name](labels[row], side[row]) for side in predictions] for row in drawn]
    np.testing.assert_allclose(RESAMPLED[name](predictions, labels)(counts), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["mcc", "pearson", "spearman"])
def test_constant_predictions_correlate_with_nothing(name):
    _, labels = examples(name)
    constant = np.full((2, len(labels)), 1 if name == "mcc" else 0.1, np.int32 if name == "mcc" else np.float32)
    assert interval(name, constant, labels, resamples=20) == (0, 0)


@pytest.mark.parametrize("name", USUAL)
def test_mean_is_the_difference_of_mean_scores(name):
    a, labels = examples(name)
    b = a[:, ::-1]
    expected = np.mean([USUAL[name](labels, row) for row in b]) - np.mean([USUAL[name](labels, row) for row in a])
    assert paired_bootstrap(name, a, b, labels, resamples=10).mean == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", USUAL)
def test_swapping_the_sides_turns_the_difference_around(name):
    a, labels = examples(name)
    b = a[:, ::-1]
    one, other = (paired_bootstrap(name, *sides, labels, resamples=200) for sides in ((a, b), (b, a)))
    np.testing.assert_allclose(one, (-other.mean, -other.high, -other.low, other.p_value), atol=1e-12)


def test_the_result_depends_on_the_seed_and_on_nothing_else(monkeypatch):
    a, labels = examples("spearman")
    b = a[:, ::-1]
    first = paired_bootstrap("spearman", a, b, labels, resamples=300, seed=1)
    assert paired_bootstrap("spearman", a, b, labels, resamples=300, seed=2) != first
    monkeypatch.setattr(bootstrap, "CELLS", 7 * len(labels))
    np.testing.assert_allclose(paired_bootstrap("spearman", a, b, labels, resamples=300, seed=1), first, atol=1e-12)


def test_equal_sides_do_not_differ():
    a, labels = examples("accuracy")
    assert paired_bootstrap("accuracy", a, a, labels) == (0, 0, 0, 1)


def test_pairing_seeds_removes_what_they_share():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    rights = np.linspace(0.6, 0.9, 10)
    a, b = noisy_copies(rng, labels, rights), noisy_copies(rng, labels, rights + 0.05)
    paired = paired_bootstrap("accuracy", a, b, labels)
    crossed = paired_bootstrap("accuracy", a, b[::-1], labels)
    assert paired.mean == pytest.approx(crossed.mean)
    assert paired.high - paired.low < 0.7 * (crossed.high - crossed.low)
    assert paired.p_value < 0.05 < crossed.p_value


def test_pairing_examples_removes_what_they_share():
    rng = np.random.default_rng(1)
    labels = np.ones(500, int)
    a = np.repeat((rng.random(500) < 0.7)[None], 2, axis=0).astype(int)
    b = np.where(rng.random(500) < 0.03, 1, a)  # right wherever a is, and a little more
    found = paired_bootstrap("accuracy", a, b, labels)
    low, high = interval("accuracy", a, labels)
    assert found.low > 0 and found.p_value < 0.05
    assert found.high - found.low < 0.5 * (high - low)


def simulate(seeds, size, seed_sd, trials=200):
    """Bootstraps of two sides that are equally good; accuracy varies between seeds by about `seed_sd`."""
    rng = np.random.default_rng(0)
    for trial in range(trials):
        labels = rng.integers(2, size=size)
        rights = rng.normal(0.75, seed_sd, size=(2, seeds)).clip(0.5, 1)
        a, b = (noisy_copies(rng, labels, side) for side in rights)
        yield paired_bootstrap("accuracy", a, b, labels, resamples=200, seed=trial)


def test_p_is_uniform_and_the_interval_covers_where_there_is_no_effect():
    found = list(simulate(seeds=1, size=200, seed_sd=0))
    assert stats.kstest([trial.p_value for trial in found], "uniform").pvalue > 0.01
    assert 0.90 <= np.mean([trial.low <= 0 <= trial.high for trial in found]) <= 0.99


def test_seeds_count_as_chance_too():
    # Examples alone would call nearly every one of these significant.
    found = list(simulate(seeds=20, size=500, seed_sd=0.1))
    assert np.mean([trial.p_value < 0.05 for trial in found]) < 0.11


def test_one_seed_gives_an_interval_over_examples():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    found = paired_bootstrap("f1", noisy_copies(rng, labels, [0.6]), noisy_copies(rng, labels, [0.9]), labels)
    assert 0 < found.low < found.mean < found.high and found.p_value == pytest.approx(2 / 1001)


def test_adjust_is_holms_step_down_over_the_comparisons_made():
    np.testing.assert_allclose(adjust([0.01, np.nan, 0.04, 0.03]), [0.03, np.nan, 0.06, 0.06])
    assert np.isnan(adjust([np.nan])).all() and adjust([]).size == 0


def test_adjusted_p_values_are_those_of_statsmodels():
    rng = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        for digits in (1, 2, 9):  # few digits make ties
            p_values = rng.random(size).round(digits) * rng.choice([0.01, 1], size)
            np.testing.assert_array_equal(adjust(p_values), multipletests(p_values, method="holm")[1])


def test_degenerate_is_no_better_than_the_majority():
    assert is_degenerate(0.6, 0.6) and is_degenerate(0.5, 0.6) and is_degenerate(float("nan"), 0)
    assert not is_degenerate(0.61, 0.6)


def test_bad_arguments_are_named():
    a, labels = examples("accuracy")
    with pytest.raises(InputError, match="Did you mean 'accuracy'"):
        paired_bootstrap("acuracy", a, a, labels)
    with pytest.raises(InputError, match=r"\(3, 61\), \(2, 61\) and \(61,\)"):
        paired_bootstrap("accuracy", a, a[:2], labels)
    with pytest.raises(InputError, match="at least one"):
        interval("accuracy", a[:0], labels)
