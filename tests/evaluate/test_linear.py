"""Linear heads are scikit-learn's, however many are fitted at once."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from bert_jax.evaluate.linear import fit_logistic, fit_ridge, unit

PENALTIES = np.array([30.0, 0.5])


def problem(classes, rows=150, width=8, seed=0):
    """Features of unlike scales and a common offset, labels of unlike frequency, and three sets of rows."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(rows, width)) * np.geomspace(0.1, 3, width) + 4).astype(np.float32)
    scores = (x - 4) @ rng.normal(size=(width, max(classes, 1))) + rng.gumbel(size=(rows, max(classes, 1)))
    labels = scores[:, 0].astype(np.float32) if classes == 0 else scores.argmax(1)
    chosen = np.array([np.ones(rows, bool), np.arange(rows) % 3 > 0, rng.random(rows) < 0.5])
    return x, labels, chosen


@pytest.mark.parametrize("classes", [2, 3, 6])
def test_logistic_regressions_are_those_of_scikit_learn(classes):
    x, labels, chosen = problem(classes)
    heads = fit_logistic(x, labels, classes, chosen, PENALTIES)
    for s, rows in enumerate(chosen):
        for p, penalty in enumerate(PENALTIES):
            theirs = LogisticRegression(C=1 / penalty, tol=1e-6, max_iter=5000).fit(x[rows].astype(float), labels[rows])
            ours = heads.outputs(x, s, p)
            ours = ours - ours.mean(1, keepdims=True) if classes > 2 else ours[:, 0]
            wanted = theirs.decision_function(x)
            wanted = wanted - wanted.mean(1, keepdims=True) if classes > 2 else wanted
            np.testing.assert_allclose(ours, wanted, atol=0.02)


def test_ridge_regressions_are_those_of_scikit_learn():
    x, scores, chosen = problem(0)
    heads = fit_ridge(x, scores, chosen, PENALTIES)
    for s, rows in enumerate(chosen):
        for p, penalty in enumerate(PENALTIES):
            theirs = Ridge(alpha=penalty, solver="svd").fit(x[rows].astype(float), scores[rows].astype(float))
            np.testing.assert_allclose(heads.outputs(x, s, p)[:, 0], theirs.predict(x), atol=1e-3)


@pytest.mark.parametrize("fit", ["logistic", "ridge"])
def test_a_head_does_not_depend_on_what_it_is_fitted_beside(fit):
    x, labels, chosen = problem(2)

    def heads(rows, penalties):
        return (
            fit_logistic(x, labels, 2, rows, penalties) if fit == "logistic" else fit_ridge(x, labels, rows, penalties)
        )

    alone, beside = heads(chosen[1:2], PENALTIES[1:]), heads(chosen, PENALTIES)
    np.testing.assert_allclose(alone.outputs(x, 0, 0), beside.outputs(x, 1, 1), atol=0.02)


def test_rows_that_are_left_out_have_no_say():
    x, labels, chosen = problem(2)
    other = np.where(chosen[1], labels, 1 - labels)
    one, two = (fit_logistic(x, said, 2, chosen[1:2], PENALTIES[:1]) for said in (labels, other))
    np.testing.assert_array_equal(one.weights, two.weights)


def test_features_that_say_nothing_give_the_commonest_class():
    labels = np.array([0, 1, 1, 1] * 5)
    heads = fit_logistic(np.ones((20, 3), np.float32), labels, 2, np.ones((1, 20), bool), np.ones(1))
    np.testing.assert_allclose(heads.outputs(np.ones((2, 3)), 0, 0), np.log(3), atol=1e-2)
    assert unit(np.ones((20, 3))) == 1.0


def test_the_unit_of_a_penalty_follows_the_scale_of_the_features():
    x, _, _ = problem(2)
    assert unit(100 * x + 7) == pytest.approx(100 * unit(x), rel=1e-4)
    assert np.mean((x / unit(x)).var(0)) == pytest.approx(1, rel=1e-4)
