"""Metrics of tasks, from scikit-learn and scipy, over all rows of a split at once.

Metrics are fractions; tables print 0.5 as 50. They are GLUE's (Wang et al. 2019, arXiv 1804.07461).
"""

from collections.abc import Callable

import numpy as np
import sklearn.metrics
from scipy import stats

from bert_jax.errors import InputError, unknown
from bert_jax.rounding import is_constant
from bert_jax.tasks.task import Task

Metric = Callable[[np.ndarray, np.ndarray], float]
"""(predictions [rows], labels [rows]) -> a score; higher is better."""


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """The share of rows with the right class."""
    return float(np.mean(predictions == labels))


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1, 2 P R / (P + R); 0 if class 1 is in neither predictions nor labels."""
    return float(sklearn.metrics.f1_score(labels == 1, predictions == 1, zero_division=0.0))


def mcc(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews' correlation for any number of classes; 0 if predictions or labels are constant."""
    if is_constant(predictions) or is_constant(labels):
        return 0.0
    return float(sklearn.metrics.matthews_corrcoef(labels, predictions))


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's r; 0 if predictions or labels are constant up to rounding, see `bert_jax.rounding`."""
    if is_constant(predictions) or is_constant(labels):
        return 0.0
    return float(stats.pearsonr(np.asarray(predictions, np.float64), np.asarray(labels, np.float64)).statistic)


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Pearson's r of the ranks, with ties at their mean rank; 0 if either is constant up to rounding."""
    if is_constant(predictions) or is_constant(labels):
        return 0.0
    return pearson(stats.rankdata(predictions), stats.rankdata(labels))


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "mcc": mcc,
    "pearson": pearson,
    "spearman": spearman,
}


OF_SCORES = ("pearson", "spearman")
"""Metrics that compare scores; the others compare classes."""


def check_metrics(task: Task) -> None:
    """Raise for metrics of a task that do not exist or do not fit its labels.

    Raises:
        InputError: a metric is not in `METRICS`, is for scores where the task has classes or the reverse, or is F1 for
            other than two classes.
    """
    for name in task.metrics:
        if name not in METRICS:
            raise unknown(f"metric of {task.title}", name, METRICS)
        if (name in OF_SCORES) != task.is_regression:
            fits = [other for other in METRICS if (other in OF_SCORES) == task.is_regression]
            kind = "scores" if task.is_regression else "classes"
            raise InputError(f"{task.title}: {name} does not fit labels that are {kind}; take {', '.join(fits)}")
        if name == "f1" and len(task.classes) != 2:
            raise InputError(f"{task.title}: f1 is for two classes, not {len(task.classes)}; take accuracy or mcc")


def predict(logits: np.ndarray, task: Task) -> np.ndarray:
    """Predictions from a head's outputs.

    Args:
        logits: [rows C], or [rows 1] for a regression task.

    Returns:
        [rows]: the class with the largest logit (the first in a tie) as int32, or the score as float32.

    Raises:
        ValueError: the shape is not [rows, `task.num_outputs`].
        InputError: a logit is not finite.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != task.num_outputs:
        raise ValueError(f"{task.title} needs logits [rows, {task.num_outputs}], not {list(logits.shape)}")
    _check_finite(logits, "logits")
    return logits[:, 0].astype(np.float32) if task.is_regression else logits.argmax(axis=1).astype(np.int32)


def score(task: Task, predictions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The task's metrics by name, headline first.

    Args:
        predictions: [rows], from `predict`.
        labels: [rows] classes or scores.

    Raises:
        ValueError: there are no rows, or the lengths differ.
        InputError: a prediction is not finite, or a metric of the task is not in `METRICS`.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    if predictions.shape != labels.shape or predictions.ndim != 1 or not predictions.size:
        raise ValueError(f"cannot score predictions {list(predictions.shape)} by labels {list(labels.shape)}")
    _check_finite(predictions, "predictions")
    for name in task.metrics:
        if name not in METRICS:
            raise unknown(f"metric of {task.title}", name, METRICS)
    return {name: METRICS[name](predictions, labels) for name in task.metrics}


def majority(task: Task, labels: np.ndarray) -> dict[str, float]:
    """Scores of a constant prediction: the most common of these labels, or their mean.

    A run that scores no better has learned nothing. A correlation with a constant is 0.
    """
    labels = np.asarray(labels)
    answer = labels.mean() if task.is_regression else np.bincount(labels).argmax()
    return score(task, np.full_like(labels, answer), labels)


def _check_finite(values: np.ndarray, what: str) -> None:
    bad = np.count_nonzero(~np.isfinite(values))
    if bad:
        raise InputError(f"{bad} of {values.size} {what} are not finite: the weights or vectors are too large")


def is_degenerate(value: float, majority: float) -> bool:
    """True for a run that learned nothing: its score is not above the majority baseline, or is NaN."""
    return not value > majority + 1e-9


OVER_GROUPS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": lambda sizes: np.ones(len(sizes)) / len(sizes),
    "wmean": lambda sizes: sizes / sizes.sum(),
}
"""Aggregation -> function from group sizes [groups] to the weights of the groups' scores."""
