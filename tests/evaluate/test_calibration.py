"""Calibration: hand-computed values, and what a perfect and an overconfident classifier have."""

import numpy as np
import pytest

from bert_jax.evaluate.calibration import brier_score, expected_calibration_error


def logits_of(probabilities):
    return np.log(np.array([[1 - p, p] for p in probabilities]))


def test_values_by_hand():
    logits, labels = logits_of([0.9, 0.9, 0.8, 0.3]), np.array([1, 0, 1, 0])
    # Bins of width 1/15: {0.9, 0.9}, {0.8}, {0.7}.
    assert expected_calibration_error(logits, labels) == pytest.approx((abs(1 - 1.8) + 0.2 + 0.3) / 4)
    assert brier_score(logits, labels) == pytest.approx(2 * (0.01 + 0.81 + 0.04 + 0.09) / 4)


def test_probabilities_that_come_true_have_no_error_and_certain_ones_have_the_error_rate():
    rng = np.random.default_rng(0)
    draws = rng.dirichlet(np.ones(3), 50_000)
    labels = (rng.random((len(draws), 1)) > draws.cumsum(1)).sum(1)
    assert expected_calibration_error(np.log(draws), labels) < 0.01
    assert expected_calibration_error(60 * draws, labels) > 0.2
    wrong = np.array([0, 0, 0, 1])
    certain = 200 * np.eye(2)[[0, 0, 0, 0]]
    assert expected_calibration_error(certain, wrong) == pytest.approx(0.25)
    assert brier_score(certain, wrong) == pytest.approx(0.5)


def test_a_shift_of_all_logits_of_a_row_changes_nothing():
    logits, labels = np.random.default_rng(1).normal(size=(20, 3)), np.arange(20) % 3
    shifted = logits + 700
    for measure in (brier_score, expected_calibration_error):
        assert measure(shifted, labels) == pytest.approx(measure(logits, labels))
