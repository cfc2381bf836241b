"""Linear probes: a task's labels predicted from frozen sentence vectors by one linear layer.

SentEval's protocol (Conneau and Kiela 2018, arXiv 1803.05449): features are not standardised one by one; C is chosen on
held-out rows; MR, CR, SUBJ and MPQA are scored by ten folds, the others on their test set. The features of a pair are
[|u-v|, u*v], or [u, v, |u-v|, u*v] if the order of its texts matters.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from bert_jax.config import ProbeConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate import metrics
from bert_jax.evaluate.features import Features
from bert_jax.evaluate.linear import Heads, fit_logistic, fit_ridge, unit
from bert_jax.rounding import varying
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import Encoding, Tokenizer


class ProbeData(NamedTuple):
    """A task tokenized for one pass of the encoder.

    encodings: one for each distinct text. train, validation, evaluations: each split's rows, as indices into the
    encodings; validation is None for tasks that choose C by folds.
    """

    task: Task
    encodings: list[Encoding]
    train: "Places"
    validation: "Places | None"
    evaluations: dict[str, "Places"]


class Places(NamedTuple):
    """Rows of a split: indices [rows] of their texts in the encodings. b: second texts encoded separately, or None."""

    a: np.ndarray
    b: np.ndarray | None
    labels: np.ndarray


class Answers(NamedTuple):
    """predictions: evaluation -> [rows]. chosen: the C of each head that made them."""

    predictions: dict[str, np.ndarray]
    chosen: list[float]


def prepare_probe(
    task: Task,
    tokenizer: Tokenizer,
    train: Split,
    validation: Split | None,
    evaluations: Mapping[str, Split],
    config: ProbeConfig,
    max_length: int,
) -> ProbeData:
    """Tokenize each distinct text of a task once, or each distinct pair if pairs are joint.

    Raises:
        InputError: a class has fewer rows than there are folds.
    """
    places: dict[tuple[str, ...], int] = {}

    def place(texts: Sequence[tuple[str, ...]]) -> np.ndarray:
        return np.array([places.setdefault(text, len(places)) for text in texts])

    def locate(split: Split) -> Places:
        if split.b is not None and config.pairs == "joint":
            return Places(place(list(zip(split.a, split.b, strict=True))), None, split.gold)
        b = None if split.b is None else place([(text,) for text in split.b])
        return Places(place([(text,) for text in split.a]), b, split.gold)

    if validation is None:
        _check_folds(task, train.labels, task.folds or config.folds)
    located = locate(train), validation and locate(validation), {k: locate(v) for k, v in evaluations.items()}
    columns = [list(column) for column in zip(*places, strict=True)]
    encodings = encode_texts(tokenizer, columns[0], columns[1] if len(columns) == 2 else None, max_length, task.title)
    return ProbeData(task, encodings, *located)


def is_random(task: Task) -> bool:
    """True if a seed, which decides the folds, can change a probe's result: if C or the score is found by folds."""
    return bool(task.folds) or not task.validation


def describe(task: Task, config: ProbeConfig) -> str:
    """Describe the head, its input and the rows that C is chosen on, in a phrase."""
    seen = "u"
    if len(task.texts) == 2:
        apart = "[u, v, |u-v|, u*v]" if task.directed else "[|u-v|, u*v]"
        seen = "the pair read jointly" if config.pairs == "joint" else apart
    held = (
        f"the {task.validation} set" if task.validation else f"{task.folds or config.folds} folds of the training rows"
    )
    return f"{'ridge' if task.is_regression else 'logistic'} regression on {seen}, C chosen on {held}"


def probe(data: ProbeData, features: Features, readout: ReadoutConfig, config: ProbeConfig, seed: int) -> Answers:
    """Fit a head on one readout's vectors and predict every evaluation set. The seed decides only the folds."""
    vectors, task = _signal(np.asarray(features[readout]), data.train), data.task
    x = _combine(vectors, data.train, task.directed)
    scale = unit(x)
    x /= scale
    if task.folds:
        found = _by_folds(task, x, data.train.labels, _folds(task, data.train.labels, task.folds, seed), config)
        (name,) = data.evaluations
        return Answers({name: found[0]}, found[1])
    others = {name: _combine(vectors, places, task.directed) / scale for name, places in data.evaluations.items()}
    if data.validation is not None:
        heads = _fit(task, x, data.train.labels, np.ones((1, len(x)), bool), config)
        held = _combine(vectors, data.validation, task.directed) / scale
        answers = [_answer(task, heads, held, 0, c) for c in range(len(config.c_values))]
        best = _best(task, answers, data.validation.labels)
    else:
        folds = _folds(task, data.train.labels, config.folds, seed)
        rows = np.array([np.ones(len(x), bool), *(folds != fold for fold in range(config.folds))])
        heads = _fit(task, x, data.train.labels, rows, config)
        answers = list(_held_out(task, heads, x, folds, 1 + np.arange(config.folds), len(config.c_values)))
        best = _best(task, answers, data.train.labels)
    predictions = {name: _answer(task, heads, other, 0, best) for name, other in others.items()}
    return Answers(predictions, [config.c_values[best]])


def _signal(vectors: np.ndarray, train: "Places") -> np.ndarray:
    """Zero the coordinates of the vectors that vary only by rounding over the training texts.

    Division by the features' `unit` would otherwise make such a coordinate as large as a real one.
    """
    used = np.unique(train.a if train.b is None else np.concatenate([train.a, train.b]))
    kept = varying(vectors[used])
    return vectors if kept.all() else vectors * kept


def _combine(vectors: np.ndarray, places: Places, directed: bool) -> np.ndarray:
    """A head's input for each row [rows D], as a new array."""
    u: np.ndarray = vectors[places.a]
    if places.b is None:
        return u
    v = vectors[places.b]
    return np.concatenate([*((u, v) if directed else ()), np.abs(u - v), u * v], 1)


def _by_folds(
    task: Task, x: np.ndarray, labels: np.ndarray, folds: np.ndarray, config: ProbeConfig
) -> tuple[np.ndarray, list[float]]:
    """Predict each fold with a head fitted on the others, at a C chosen on the others: nested, as in SentEval.

    A head fitted without folds j and k is used twice: to choose C for fold j by predicting k, and the reverse.
    """
    count = folds.max() + 1
    without: list[tuple[int, ...]] = [*((fold,) for fold in range(count)), *combinations(range(count), 2)]
    place = {held: i for i, held in enumerate(without)}
    heads = _fit(task, x, labels, np.array([~np.isin(folds, held) for held in without]), config)
    predictions, chosen = np.empty_like(labels), []
    for fold in range(count):
        rest = folds != fold
        models = np.array([place[tuple(sorted({fold, other}))] for other in range(count)])
        answers = list(_held_out(task, heads, x[rest], folds[rest], models, len(config.c_values)))
        best = _best(task, answers, labels[rest])
        predictions[~rest] = _answer(task, heads, x[~rest], fold, best)
        chosen.append(config.c_values[best])
    return predictions, chosen


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
    outputs = heads.outputs(x, rows, c)
    if len(task.classes) == 2:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], 1)
    return metrics.predict(outputs, task)


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


def _check_folds(task: Task, labels: np.ndarray | None, count: int) -> None:
    assert labels is not None, "a split without labels cannot be fitted"
    rarest = len(labels) if task.is_regression else np.bincount(labels)[np.unique(labels)].min()
    if count > rarest:
        fewer = "; its protocol fixes their number" if task.folds else ", or fewer folds"
        raise InputError(
            f"{task.title}: {count} folds need as many rows of each class, and one has {rarest}; "
            f"use more training rows{fewer}"
        )
