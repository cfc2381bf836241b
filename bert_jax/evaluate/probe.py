"""Linear probes: a task's labels predicted from frozen sentence vectors by one linear layer.

The features of a single sentence are its vector u, those of a pair [|u-v|, u*v], or [u, v, |u-v|, u*v] if the order of
its texts matters (Conneau and Kiela 2018, arXiv 1803.05449). What is fitted on them, and on which rows its
regularisation is chosen, is a protocol.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.config import ProbeConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate import scaled_protocol, senteval_protocol
from bert_jax.evaluate.features import Features
from bert_jax.evaluate.protocol import Answers, Inputs, Protocol, Rows
from bert_jax.rounding import varying
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.template import Encoding
from bert_jax.tokenizers.tokenizer import Tokenizer

PROTOCOLS: dict[str, Protocol] = {
    "scaled": scaled_protocol.protocol,
    "senteval": senteval_protocol.protocol,
}
"""Value of `ProbeConfig.protocol` -> protocol."""


class ProbeData(NamedTuple):
    """A task tokenized for one pass of the encoder.

    encodings: one for each distinct text. train, validation, evaluations: each split's rows, as indices into the
    encodings; validation is None for tasks without one.
    """

    task: Task
    encodings: list[Encoding]
    train: "Places"
    validation: "Places | None"
    evaluations: dict[str, "Places"]


class Places(NamedTuple):
    """Rows of a split: indices [N] of their texts in the encodings.

    b: second texts encoded separately, or None. words: number of words in each text [N 1 or 2].
    """

    a: np.ndarray
    b: np.ndarray | None
    labels: np.ndarray
    words: np.ndarray


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
        sides = [split.a] if split.b is None else [split.a, split.b]
        words = np.array([[len(text.split()) for text in side] for side in sides]).T
        if len(sides) == 2 and config.pairs == "joint":
            return Places(place(list(zip(*sides, strict=True))), None, split.gold, words)
        a, *b = (place([(text,) for text in side]) for side in sides)
        return Places(a, b[0] if b else None, split.gold, words)

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
    """Describe the head, its input, the rows that C is chosen on, and the protocol's name, in a phrase."""
    features = "u"
    if len(task.texts) == 2:
        apart = "[u, v, |u-v|, u*v]" if task.directed else "[|u-v|, u*v]"
        features = "the pair read jointly" if config.pairs == "joint" else apart
    return f"{PROTOCOLS[config.protocol].describe(task, config, features)}, protocol {config.protocol}"


def probe(data: ProbeData, features: Features, readout: ReadoutConfig, config: ProbeConfig, seed: int) -> Answers:
    """Fit the protocol's heads on one readout's vectors and predict every evaluation set."""
    vectors, directed = _signal(np.asarray(features[readout]), data.train), data.task.directed

    def rows(places: Places) -> Rows:
        return Rows(_combine(vectors, places, directed), places.labels, places.words)

    train = rows(data.train)
    others = {
        name: train.x if data.task.folds else _combine(vectors, places, directed)
        for name, places in data.evaluations.items()
    }
    held = None if data.validation is None else rows(data.validation)
    return PROTOCOLS[config.protocol].answer(Inputs(data.task, train, held, others), config, seed)


def _signal(vectors: np.ndarray, train: "Places") -> np.ndarray:
    """Zero the coordinates of the vectors that vary only by rounding over the training texts.

    Division by the features' `unit` in protocol scaled would otherwise make such a coordinate as large as a real one.
    """
    used = np.unique(train.a if train.b is None else np.concatenate([train.a, train.b]))
    kept = varying(vectors[used])
    return vectors if kept.all() else vectors * kept


def _combine(vectors: np.ndarray, places: Places, directed: bool) -> np.ndarray:
    """A head's input for each row [N D], as a new array."""
    u: np.ndarray = vectors[places.a]
    if places.b is None:
        return u
    v = vectors[places.b]
    return np.concatenate([*((u, v) if directed else ()), np.abs(u - v), u * v], 1)


def _check_folds(task: Task, labels: np.ndarray | None, count: int) -> None:
    assert labels is not None, "a split without labels cannot be fitted"
    rarest = len(labels) if task.is_regression else np.bincount(labels)[np.unique(labels)].min()
    if count > rarest:
        fewer = "; its protocol fixes their number" if task.folds else ", or fewer folds"
        raise InputError(
            f"{task.title}: {count} folds need as many rows of each class, and one has {rarest}; "
            f"use more training rows{fewer}"
        )
