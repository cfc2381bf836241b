"""Task definitions as rows of data, and the rows of a task's splits."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.tasks.table_files import Form


class OwnFiles(NamedTuple):
    """The files of a task of one's own.

    splits: (name, file) of each split. label, group: names of columns; group is empty without one. scores: lowest and
    highest score of a regression task.
    """

    splits: tuple[tuple[str, Path], ...]
    label: str
    group: str = ""
    scores: tuple[float, float] = (0.0, 0.0)
    form: Form = Form()


@dataclass(frozen=True)
class Task:
    """A sentence or sentence-pair task in GLUE's shape."""

    name: str
    """Name on the command line and in TFDS: `cola`."""
    title: str
    """Name in tables: `CoLA`."""
    texts: tuple[str, ...]
    """TFDS features that hold the text: one name, or two for a pair task."""
    classes: tuple[str, ...]
    """Class names in label order; empty for a regression task."""
    metrics: tuple[str, ...]
    """Names in `bert_jax.evaluate.metrics.METRICS`; the first is the headline metric."""
    evaluations: tuple[str, ...] = ("validation",)
    """TFDS splits to score; MNLI has two."""
    train: str = "train"
    """TFDS split to train on; empty for a diagnostic set, which is only scored."""
    trained_on: str = ""
    """The task whose training split serves a diagnostic set."""
    folds: int = 0
    """Number of cross-validation folds of a task without a test split; 0 for a task with one."""
    validation: str = ""
    """Split on which a probe's regularisation is chosen; if empty, folds of the training rows are used."""
    directed: bool = False
    """True if swapping the two texts may change the label, as with premise and hypothesis."""
    needs: str = ""
    """The information in the text that the task requires; one sentence."""
    favours: tuple[tuple[str, str], ...] = ()
    """Pooling -> why it is expected ahead of others on this task, one sentence each; printed where it is ahead."""
    suite: str = ""
    """Name of its suite in `bert_jax.tasks.suites.SUITES`, own for a task of one's own, or empty for a task whose rows
    are made by an experiment."""
    files: OwnFiles | None = None
    """The files of a task of one's own."""

    @property
    def is_regression(self) -> bool:
        """True if labels are scores instead of classes."""
        return not self.classes

    @property
    def num_outputs(self) -> int:
        """Number of outputs of the head: C classes, or 1 for a score."""
        return len(self.classes) or 1


class Split(NamedTuple):
    """The rows of one split of a task, in file order.

    a: first texts. b: second texts, or None for a single-sentence task.
    labels [rows]: int32 classes, float32 scores, or None for a test set with hidden labels. groups: for each row the
    name of a group that it belongs to, or None.
    """

    a: list[str]
    b: list[str] | None
    labels: np.ndarray | None
    groups: list[str] | None = None

    @property
    def gold(self) -> np.ndarray:
        """The labels of a split that must have them, because it is fitted or scored."""
        assert self.labels is not None, "a split without labels can be neither fitted nor scored"
        return self.labels

    def digest(self) -> str:
        """Return the first 12 hex digits of the SHA-256 of all texts and labels, in order."""
        found = hashlib.sha256()
        for texts in (self.a, self.b):
            found.update(json.dumps(texts).encode())
        if self.labels is not None:
            found.update(str(self.labels.dtype.kind).encode() + np.ascontiguousarray(self.labels).tobytes())
        return found.hexdigest()[:12]

    def head(self, rows: int) -> "Split":
        """Return the first `rows` rows."""
        return self.take(np.arange(min(rows, len(self.a))))

    def take(self, places: np.ndarray) -> "Split":
        """The rows at some places."""
        a, b, groups = (None if side is None else [side[i] for i in places] for side in (self.a, self.b, self.groups))
        assert a is not None, "every row has a first text"
        return Split(a, b, None if self.labels is None else self.labels[places], groups)


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
    """Count the rows of an evaluation split whose text, or pair of texts, is also in the training split.

    Rows without any text are not counted. White space around a text is ignored, and so is the order of a pair unless
    the task has a direction. If both splits are the same object (cross-validation), another row must have the text.
    If single texts are trained on and pairs evaluated, a pair counts if both of its texts are trained on.
    """
    known = Counter(_texts(task, train))
    if train.b is None and evaluation.b is not None:
        return sum(all((text,) in known for text in texts) for texts in _texts(task, evaluation) if any(texts))
    others = 1 if train is evaluation else 0
    return sum(known[texts] > others for texts in _texts(task, evaluation) if any(texts))


def _texts(task: Task, split: Split) -> Iterator[tuple[str, ...]]:
    if split.b is None:
        yield from ((text.strip(),) for text in split.a)
        return
    for a, b in zip(split.a, split.b, strict=True):
        pair = a.strip(), b.strip()
        yield pair if task.directed else tuple(sorted(pair))
