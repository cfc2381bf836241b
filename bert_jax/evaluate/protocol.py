"""The inputs and answers of a linear probe, and the two functions that a protocol of probing consists of."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bert_jax.config import ProbeConfig
from bert_jax.tasks.task import Task


class Rows(NamedTuple):
    """The rows of a split: features x [N D], labels [N], and the number of words in each of their texts [N 1 or 2]."""

    x: np.ndarray
    labels: np.ndarray
    words: np.ndarray


class Inputs(NamedTuple):
    """The splits of a task as features of one readout.

    validation: None for tasks without one. evaluations: name -> features [N D]; for a task that is scored by folds,
    those of the training rows.
    """

    task: Task
    train: Rows
    validation: Rows | None
    evaluations: dict[str, np.ndarray]


class Answers(NamedTuple):
    """predictions: evaluation -> [N]. chosen: the C of each head that made them; empty if there was none to choose.

    logits: evaluation -> logits [N C] of the predicted classes.
    """

    predictions: dict[str, np.ndarray]
    chosen: list[float]
    logits: dict[str, np.ndarray] = {}  # noqa: RUF012 - never written to


class Protocol(NamedTuple):
    """A protocol of linear probes.

    describe: (task, settings, name of the features) to the head and the rows that its C is chosen on, in a phrase.
    answer: fits heads on the training rows and predicts all evaluations; the integer is the seed.
    """

    describe: Callable[[Task, ProbeConfig, str], str]
    answer: Callable[[Inputs, ProbeConfig, int], Answers]
