"""Protocol `scaled`: features divided by one number, and a wide grid of C, so that all layers are treated alike.

Folds, validation sets and the features of pairs are as in `bert_jax.evaluate.senteval_protocol`. The differences: a
value of C means the same for every encoder and layer, the grid is wider, heads converge, and scores are predicted by
ridge regression. All folds and values of C are fitted together.
"""

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from bert_jax.config import ProbeConfig
from bert_jax.evaluate import metrics
from bert_jax.evaluate.linear import Heads, fit_logistic, fit_ridge, unit
from bert_jax.evaluate.protocol import Answers, Inputs, Protocol
from bert_jax.tasks.task import Task


def describe(task: Task, config: ProbeConfig, features: str) -> str:
    """Describe the head, its input and the rows that C is chosen on, in a phrase."""
    folds = task.folds or config.folds
    held = f"the {task.validation} set" if task.validation else f"{folds} folds of the training rows"
    return f"{'ridge' if task.is_regression else 'logistic'} regression on {features}, C chosen on {held}"


def answer(inputs: Inputs, config: ProbeConfig, seed: int) -> Answers:
    """Fit heads and predict every evaluation. The seed decides only the folds."""
    task, labels = inputs.task, inputs.train.labels
    scale = unit(inputs.train.x)
    x = inputs.train.x / scale
    if task.folds:
        outputs, chosen = _by_folds(task, x, labels, _folds(task, labels, task.folds, seed), config)
        return _answers(task, dict.fromkeys(inputs.evaluations, outputs), chosen)
    if inputs.validation is not None:
        heads = _fit(task, x, labels, np.ones((1, len(x)), bool), config)
        held = inputs.validation.x / scale
        answers = [_answer(task, heads, held, 0, c) for c in range(len(config.c_values))]
        best = _best(task, answers, inputs.validation.labels)
    else:
        folds = _folds(task, labels, config.folds, seed)
        rows = np.array([np.ones(len(x), bool), *(folds != fold for fold in range(config.folds))])
        heads = _fit(task, x, labels, rows, config)
        answers = list(_held_out(task, heads, x, folds, 1 + np.arange(config.folds), len(config.c_values)))
        best = _best(task, answers, labels)
    found = {name: _outputs(task, heads, other / scale, 0, best) for name, other in inputs.evaluations.items()}
    return _answers(task, found, [config.c_values[best]])


def _answers(task: Task, outputs: dict[str, np.ndarray], chosen: list[float]) -> Answers:
    return Answers({name: metrics.predict(found, task) for name, found in outputs.items()}, chosen, outputs)


def _by_folds(
    task: Task, x: np.ndarray, labels: np.ndarray, folds: np.ndarray, config: ProbeConfig
) -> tuple[np.ndarray, list[float]]:
    """Outputs [N C] for each fold of a head fitted on the others, at a C chosen on the others: nested, as in SentEval.

    A head fitted without folds j and k is used twice: to choose C for fold j by predicting k, and the reverse.
    """
    count = folds.max() + 1
    without: list[tuple[int, ...]] = [*((fold,) for fold in range(count)), *combinations(range(count), 2)]
    place = {held: i for i, held in enumerate(without)}
    heads = _fit(task, x, labels, np.array([~np.isin(folds, held) for held in without]), config)
    outputs, chosen = np.empty((len(x), task.num_outputs), np.float32), []
    for fold in range(count):
        rest = folds != fold
        models = np.array([place[tuple(sorted({fold, other}))] for other in range(count)])
        answers = list(_held_out(task, heads, x[rest], folds[rest], models, len(config.c_values)))
        best = _best(task, answers, labels[rest])
        outputs[~rest] = _outputs(task, heads, x[~rest], fold, best)
        chosen.append(config.c_values[best])
    return outputs, chosen


def _held_out(
    task: Task, heads: Heads, x: np.ndarray, folds: np.ndarray, models: np.ndarray, choices: int
) -> Iterator[np.ndarray]:
    """For each C, the prediction of every row [rows] by the model fitted without its fold."""
    for c in range(choices):
        answers = np.empty(len(x), np.float32 if task.is_regression else np.int32)
        for fold in np.unique(folds):
            answers[folds == fold] = _answer(task, heads, x[folds == fold], models[fold], c)
        yield answers


def _fit(task: Task, x: np.ndarray, labels: np.ndarray, rows: np.ndarray, config: ProbeConfig) -> Heads:
    penalties = 1 / np.array(config.c_values)
    if task.is_regression:
        return fit_ridge(x, labels, rows, penalties)
    return fit_logistic(x, labels, len(task.classes), rows, penalties)


def _answer(task: Task, heads: Heads, x: np.ndarray, rows: int, c: int) -> np.ndarray:
    return metrics.predict(_outputs(task, heads, x, rows, c), task)


def _outputs(task: Task, heads: Heads, x: np.ndarray, rows: int, c: int) -> np.ndarray:
    """Logits or scores [N C]; of two classes the first has the logit 0."""
    outputs = heads.outputs(x, rows, c)
    return np.concatenate([np.zeros_like(outputs), outputs], 1) if len(task.classes) == 2 else outputs


def _best(task: Task, answers: list[np.ndarray], labels: np.ndarray) -> int:
    """Index of the C whose predictions score best; the first in a tie."""
    return int(np.argmax([metrics.score(task, found, labels)[task.metrics[0]] for found in answers]))


def _folds(task: Task, labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold of each row [rows], stratified by class."""
    splitter: Any = (KFold if task.is_regression else StratifiedKFold)(count, shuffle=True, random_state=seed)
    folds = np.empty(len(labels), int)
    for fold, (_, held) in enumerate(splitter.split(labels, None if task.is_regression else labels)):
        folds[held] = fold
    return folds


protocol = Protocol(describe, answer)
