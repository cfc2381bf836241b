"""Metrics against values worked out by hand, and at the edges where a library would warn or answer NaN."""

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.evaluate.metrics import METRICS, majority, predict, score
from bert_jax.tasks.task import Task

BINARY = Task("binary", "Binary", ("sentence",), ("no", "yes"), ("accuracy", "f1", "mcc"))
THREE = Task("three", "Three", ("sentence",), ("a", "b", "c"), ("mcc", "accuracy"))
GRADED = Task("graded", "Graded", ("sentence1", "sentence2"), (), ("pearson", "spearman"))


def classes(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def scores(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_binary_metrics_by_hand() -> None:
    # 3 true positives, 2 true negatives, 1 false positive, 2 false negatives.
    labels = classes(1, 1, 1, 0, 0, 0, 1, 1)
    predictions = classes(1, 1, 1, 0, 0, 1, 0, 0)
    by_hand = {"accuracy": 5 / 8, "f1": 6 / 9, "mcc": (3 * 2 - 1 * 2) / np.sqrt(4 * 5 * 3 * 4)}
    assert score(BINARY, predictions, labels) == pytest.approx(by_hand)


def test_mcc_of_three_classes_by_hand() -> None:
    # Gorodkin 2004: (c s - sum p t) / sqrt((s^2 - sum p^2) (s^2 - sum t^2)), c right of s rows.
    labels = classes(0, 0, 1, 1, 2, 2)
    predictions = classes(0, 0, 1, 2, 2, 1)
    by_hand = (4 * 6 - 12) / np.sqrt((36 - 12) * (36 - 12))
    assert METRICS["mcc"](predictions, labels) == pytest.approx(by_hand)


def test_correlations_by_hand() -> None:
    predictions, labels = scores(1, 2, 3, 10), scores(0, 1, 3, 2)
    # Deviations (-3 -2 -1 6) and (-1.5 -0.5 1.5 0.5); ranks 1 2 3 4 and 1 2 4 3.
    pearson = (4.5 + 1 - 1.5 + 3) / np.sqrt(50 * 5)
    assert score(GRADED, predictions, labels) == pytest.approx({"pearson": pearson, "spearman": 1 - 6 * 2 / 60})


def test_ties_share_their_mean_rank() -> None:
    # Ranks 1.5 1.5 3 and 1 2 3.
    assert METRICS["spearman"](scores(5, 5, 9), scores(1, 2, 3)) == pytest.approx(1.5 / np.sqrt(1.5 * 2))


def test_correlations_keep_fractions_of_a_score() -> None:
    assert METRICS["pearson"](scores(0.1, 0.2, 0.3), scores(0.1, 0.2, 0.3)) == pytest.approx(1)


@pytest.mark.parametrize("name", ["pearson", "spearman", "mcc"])
def test_a_constant_has_no_correlation(name: str) -> None:
    varied, constant = classes(0, 1, 2, 1), classes(1, 1, 1, 1)
    assert METRICS[name](constant, varied) == 0.0
    assert METRICS[name](varied, constant) == 0.0
    assert METRICS[name](constant, constant) == 0.0


def test_rounding_noise_has_no_correlation() -> None:
    assert METRICS["pearson"](1 + 1e-15 * np.arange(4), np.arange(4.0)) == 0.0


@pytest.mark.parametrize(("prediction", "label", "expected"), [(0, 0, 0.0), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)])
def test_f1_of_one_class(prediction: int, label: int, expected: float) -> None:
    assert METRICS["f1"](classes(prediction, prediction), classes(label, label)) == expected


def test_every_metric_gives_a_float_for_a_single_row() -> None:
    for metric in METRICS.values():
        assert type(metric(classes(1), classes(1))) is float


def test_predict_takes_the_largest_logit() -> None:
    answers = predict(np.float32([[0, 3, 1], [2, 2, 1], [-9, -8, -7]]), THREE)
    np.testing.assert_array_equal(answers, classes(1, 0, 2), strict=True)


def test_predict_keeps_a_score_whole() -> None:
    np.testing.assert_array_equal(predict(np.float32([[0.25], [4.75]]), GRADED), scores(0.25, 4.75), strict=True)


def test_predict_refuses_other_shapes_and_nan() -> None:
    with pytest.raises(ValueError, match=r"Three needs logits \[rows, 3\], not \[2, 2\]"):
        predict(np.zeros((2, 2)), THREE)
    with pytest.raises(ValueError, match="2 of 6 logits are not finite"):
        predict(np.array([[0, np.nan, 0], [np.inf, 0, 0]]), THREE)


def test_score_keeps_the_headline_first() -> None:
    assert list(score(THREE, classes(0, 1), classes(0, 1))) == ["mcc", "accuracy"]


def test_score_refuses_what_it_cannot_count() -> None:
    with pytest.raises(ValueError, match="1 of 2 predictions are not finite"):
        score(GRADED, scores(np.nan, 1), scores(0, 1))
    with pytest.raises(ValueError, match=r"predictions \[1\] by labels \[2\]"):
        score(BINARY, classes(1), classes(1, 0))
    with pytest.raises(ValueError, match=r"predictions \[0\] by labels \[0\]"):
        score(BINARY, classes(), classes())
    with pytest.raises(InputError, match=r"unknown metric of X 'acuracy'\. Did you mean 'accuracy'"):
        score(Task("x", "X", ("sentence",), ("a", "b"), ("acuracy",)), classes(0), classes(0))


def test_majority_is_the_score_of_one_answer() -> None:
    assert majority(BINARY, classes(1, 1, 1, 0)) == pytest.approx({"accuracy": 0.75, "f1": 6 / 7, "mcc": 0.0})
    assert majority(BINARY, classes(0, 0, 1)) == pytest.approx({"accuracy": 2 / 3, "f1": 0.0, "mcc": 0.0})
    assert majority(GRADED, scores(0, 2.5, 5)) == {"pearson": 0.0, "spearman": 0.0}
