"""Protocol `senteval`: what SentEval's code fits (Conneau and Kiela 2018, arXiv 1803.05449; facebookresearch/SentEval).

Features are used as they are. Classes are predicted by scikit-learn's logistic regression at its defaults, as SentEval
does without its option `usepytorch`, and C is the first of those with the best accuracy on held-out rows:

    scored on                chosen on                                 values of C
    folds of all rows        folds of the rows outside each fold       1/4 to 8
    a test set               the validation set                        1/4 to 8
    a test set               folds of the training rows                1/2 to 32
    SNLI                     nothing                                   1e9

Scores are predicted by the head of `bert_jax.evaluate.relatedness`. Folds are dealt over rows in the order of their
number of words and their label. With seed 0 they are SentEval's own.
"""

import warnings
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from bert_jax.config import ProbeConfig
from bert_jax.evaluate.protocol import Answers, Inputs, Protocol, Rows
from bert_jax.evaluate.relatedness import predict_relatedness
from bert_jax.tasks.task import Task

SEED = 1111
"""SentEval's own seed; that of a run is added to it."""
NARROW, WIDE = tuple(2.0**power for power in range(-2, 4)), tuple(2.0**power for power in range(-1, 6))
GRIDS: dict[str, tuple[float, ...]] = {"snli": (1e9,)}
"""Values of C of the tasks that have their own."""


class _Fold(NamedTuple):
    """Indices of the rows that are fitted, and of those that are held out."""

    kept: np.ndarray
    held: np.ndarray


def describe(task: Task, config: ProbeConfig, features: str) -> str:
    """Describe the head, its input and the rows that its penalty or its last epoch is chosen on, in a phrase."""
    held = f"the {task.validation} set" if task.validation else f"{config.folds} folds of the training rows"
    if not task.is_regression:
        grid = _grid(task)
        choice = f"C of {grid[0]:g} to {grid[-1]:g} chosen on {held}" if len(grid) > 1 else "unpenalised"
        return f"scikit-learn's logistic regression on {features}, {choice}"
    held = held if task.validation else f"the first of {held}"
    return f"softmax over scores 1 to 5 on {features}, stopped by Pearson's r on {held}"


def answer(inputs: Inputs, config: ProbeConfig, seed: int) -> Answers:
    """Fit heads and predict every evaluation. The seed decides the folds and, for scores, the head's first weights."""
    train, order = _sort(inputs.train)
    inputs = inputs._replace(train=train)
    with warnings.catch_warnings():
        # A fit ends after 100 steps, converged or not: that is SentEval's protocol.
        warnings.simplefilter("ignore", ConvergenceWarning)
        if inputs.task.is_regression:
            return _scores(inputs, config, seed)
        if inputs.task.folds:
            return _nested(inputs, order, config, seed)
        return _test_sets(inputs, config, seed)


def _sort(rows: Rows) -> tuple[Rows, np.ndarray]:
    """Rows by the number of words in their first and second text, then by label; and the places that they came from."""
    order = np.lexsort((rows.labels, *rows.words.T[::-1]))
    return Rows(*(part[order] for part in rows)), order


def _grid(task: Task) -> tuple[float, ...]:
    return GRIDS.get(task.name, NARROW if task.folds or task.validation else WIDE)


def _nested(inputs: Inputs, order: np.ndarray, config: ProbeConfig, seed: int) -> Answers:
    """Predict each fold by a head fitted on the others, with C chosen on folds of those."""
    task, (x, labels, _) = inputs.task, inputs.train
    predictions, logits, chosen = np.empty_like(labels), np.empty((len(x), task.num_outputs), np.float32), []
    for kept, held in _folds(labels, task.folds, seed):
        best = _choose(x[kept], labels[kept], _folds(labels[kept], config.folds, seed), _grid(task))
        head = _fit(x[kept], labels[kept], best)
        predictions[order[held]], logits[order[held]] = head.predict(x[held]), _logits(head, x[held])
        chosen.append(best)
    names = inputs.evaluations
    return Answers(dict.fromkeys(names, predictions), chosen, dict.fromkeys(names, logits))


def _test_sets(inputs: Inputs, config: ProbeConfig, seed: int) -> Answers:
    """Predict test sets by a head fitted on all training rows, with C chosen on the validation set or on folds."""
    (x, labels, _), held, grid = inputs.train, inputs.validation, _grid(inputs.task)
    if held is None:
        best = _choose(x, labels, _folds(labels, config.folds, seed), grid)
    else:
        splits = [_Fold(np.arange(len(x)), len(x) + np.arange(len(held.x)))]
        best = _choose(np.concatenate([x, held.x]), np.concatenate([labels, held.labels]), splits, grid)
    head = _fit(x, labels, best)
    others = inputs.evaluations.items()
    predicted, logits = ({name: of(other) for name, other in others} for of in (head.predict, partial(_logits, head)))
    return Answers(predicted, [best], logits)


def _scores(inputs: Inputs, config: ProbeConfig, seed: int) -> Answers:
    """Predict scores; without a validation set, a fold of the training rows stands in for one."""
    train, held = inputs.train, inputs.validation
    if held is None:
        places = np.random.default_rng(seed).permutation(len(train.x))
        cut = len(places) // config.folds
        held, train = (Rows(*(part[some] for part in train)) for some in (places[:cut], places[cut:]))
    names, others = inputs.evaluations.keys(), inputs.evaluations.values()
    found = predict_relatedness(train.x, train.labels, held.x, held.labels, list(others), seed)
    return Answers(dict(zip(names, found, strict=True)), [])


def _folds(labels: np.ndarray, count: int, seed: int) -> list[_Fold]:
    splitter: Any = StratifiedKFold(count, shuffle=True, random_state=SEED + seed)
    return [_Fold(*fold) for fold in splitter.split(labels, labels)]


def _choose(x: np.ndarray, labels: np.ndarray, folds: Sequence[_Fold], grid: Sequence[float]) -> float:
    """The C with the best mean accuracy over folds, in percent to two decimals as in SentEval; the first in a tie."""
    if len(grid) == 1:
        return grid[0]
    right = [[_fit(x[kept], labels[kept], c).score(x[held], labels[held]) for kept, held in folds] for c in grid]
    return grid[int(np.argmax(np.round(100 * np.mean(right, 1), 2)))]


def _fit(x: np.ndarray, labels: np.ndarray, c: float) -> LogisticRegression:
    return LogisticRegression(C=c).fit(x, labels)


def _logits(head: LogisticRegression, x: np.ndarray) -> np.ndarray:
    """Logits [N C]; of two classes the first has the logit 0."""
    found = head.decision_function(x)
    return np.stack([np.zeros_like(found), found], 1) if found.ndim == 1 else found


protocol = Protocol(describe, answer)
