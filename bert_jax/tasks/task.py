"""A task is a row of data: what its texts and labels are called and how it is scored."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError


@dataclass(frozen=True)
class Task:
    """A sentence or sentence-pair task in GLUE's shape."""

    name: str
    """What it is called on a command line and in TFDS: `cola`."""
    title: str
    """What it is called in a table: `CoLA`."""
    texts: tuple[str, ...]
    """The TFDS features with the text: one name, or two for a pair task."""
    classes: tuple[str, ...]
    """Class names in label order; empty for a regression task."""
    metrics: tuple[str, ...]
    """Names in `bert_jax.evaluate.metrics.METRICS`; the first is the headline."""
    evaluations: tuple[str, ...] = ("validation",)
    """TFDS splits to score; MNLI has two."""
    train: str = "train"
    """TFDS split to train on; empty for a diagnostic set, which is only scored."""
    trained_on: str = ""
    """The task whose training split serves a diagnostic set."""
    folds: int = 0
    """In how many folds its rows take turns at being scored, where it has no split for that; 0 where it has."""
    validation: str = ""
    """The split on which a probe's regularisation is chosen; by default folds of the training rows."""
    directed: bool = False
    """True where exchanging the two texts may change the answer, as with premise and hypothesis."""
    needs: str = ""
    """What a reader of the sentence must know to solve it; one sentence."""

    @property
    def is_regression(self) -> bool:
        """True where labels are scores and not classes."""
        return not self.classes

    @property
    def num_outputs(self) -> int:
        """Outputs of the head: C classes, or one score."""
        return len(self.classes) or 1


class Split(NamedTuple):
    """The rows of one split of a task, in file order.

    a: first texts. b: second texts, or None for a single-sentence task.
    labels [rows]: int32 classes, float32 scores, or None where a test set hides them.
    """

    a: list[str]
    b: list[str] | None
    labels: np.ndarray | None

    @property
    def gold(self) -> np.ndarray:
        """The labels, which a split that is fitted or scored has."""
        assert self.labels is not None, "a split without labels can be neither fitted nor scored"
        return self.labels

    def digest(self) -> str:
        """The first 12 hex digits of the SHA-256 of all texts and labels, in order."""
        found = hashlib.sha256()
        for texts in (self.a, self.b):
            found.update(json.dumps(texts).encode())
        if self.labels is not None:
            found.update(str(self.labels.dtype.kind).encode() + np.ascontiguousarray(self.labels).tobytes())
        return found.hexdigest()[:12]

    def head(self, rows: int) -> "Split":
        """The first `rows` rows."""
        return Split(
            self.a[:rows],
            None if self.b is None else self.b[:rows],
            None if self.labels is None else self.labels[:rows],
        )

    def take(self, places: np.ndarray) -> "Split":
        """The rows at some places."""
        a, b = ([side[i] for i in places] if side is not None else None for side in (self.a, self.b))
        assert a is not None, "every row has a first text"
        return Split(a, b, None if self.labels is None else self.labels[places])


def hold_out(split: Split, fraction: float = 0.1, seed: int = 0) -> tuple[Split, Split]:
    """The rows without a random part of them, and that part; both in file order, and the same for every run.

    A learning rate that is chosen on the part is not chosen on what it is scored on.

    Raises:
        InputError: there are too few rows to leave one on each side.
    """
    rows = len(split.a)
    number = max(1, round(fraction * rows))
    if not 0 < number < rows:
        raise InputError(f"{rows} training rows are too few to hold {fraction:g} of them out; use --select evaluation")
    held = np.zeros(rows, bool)
    held[np.random.default_rng(seed).permutation(rows)[:number]] = True
    return split.take(np.flatnonzero(~held)), split.take(np.flatnonzero(held))


def count_duplicates(task: Task, train: Split, evaluation: Split) -> int:
    """The rows of an evaluation whose text, or pair of texts, is in the training split too.

    Rows without any text are not counted. White space around a text does not matter; nor does the order of a pair,
    unless the task has a direction. Where the training split is the evaluation, whose folds take turns, another row
    has the text.
    """
    known = Counter(_texts(task, train))
    others = 1 if train is evaluation else 0
    return sum(known[texts] > others for texts in _texts(task, evaluation) if any(texts))


def _texts(task: Task, split: Split) -> Iterator[tuple[str, ...]]:
    if split.b is None:
        yield from ((text.strip(),) for text in split.a)
        return
    for a, b in zip(split.a, split.b, strict=True):
        pair = a.strip(), b.strip()
        yield pair if task.directed else tuple(sorted(pair))
