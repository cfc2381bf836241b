"""Readers of a task's splits from folders or data sets."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.tasks import glue, senteval, sts
from bert_jax.tasks.suites import SUITES
from bert_jax.tasks.task import Split, Task, count_duplicates


class Source(NamedTuple):
    """A suite of tasks and the folders that it is read from. data: folder that the synthetic suite is written to."""

    suite: str
    data: Path
    glue_dir: Path | None = None
    senteval_dir: Path | None = None
    sts_dir: Path | None = None
    train_rows: int | None = None


class TaskSplits(NamedTuple):
    """The splits of a task.

    train: None for a set that is only scored. subsets: sizes of the subsets of its one evaluation. duplicates:
    evaluation -> number of rows whose texts are in the training split too. num_classes, train_names: number of classes
    and names of the sources of training pairs whose labels are not the task's.
    """

    task: Task
    train: Split | None
    validation: Split | None
    evaluations: dict[str, Split]
    subsets: dict[str, int] = {}  # noqa: RUF012 - never written to
    duplicates: dict[str, int] = {}  # noqa: RUF012 - never written to
    num_classes: int = 0
    train_names: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """Split -> digest of its texts and labels, for every split that can decide a result."""
        splits = {"train": self.train, "validation": self.validation, **self.evaluations}
        return {name: split.digest() for name, split in splits.items() if split is not None}


def why_absent(source: Source, task: Task) -> str | None:
    """Reason why a source's folder lacks a task, with flags in place of paths, or None if it has the task.

    Suites that can be fetched or generated are never absent.

    Raises:
        InputError: a required folder is not given or does not exist.
    """
    if source.suite == "senteval":
        why = senteval.why_absent(task, _senteval_dir(source))
        return why and why.replace(str(source.senteval_dir), "--senteval-dir")
    if source.suite == "sts" and sts.find_set(task, _sts_dir(source)) is None:
        return "its folder is not there"
    return None


def split_absent(source: Source, tasks: Sequence[Task]) -> tuple[list[Task], dict[str, str]]:
    """The tasks that a source has, and title -> reason for those that it lacks.

    Raises:
        InputError: it has none of them.
    """
    absent = {task.title: why for task in tasks if (why := why_absent(source, task))}
    if len(absent) == len(tasks):
        reasons = "; ".join(f"{title}: {why}" for title, why in absent.items())
        raise InputError(f"--{source.suite}-dir has none of the tasks: {reasons}")
    return [task for task in tasks if task.title not in absent], absent


def read_task(source: Source, task: Task) -> TaskSplits:
    """Read the splits of a task. Duplicates between training and evaluation rows are counted in a warning.

    Raises:
        InputError: a file is missing or damaged, or its labels are not published.
    """
    if source.suite == "sts":
        return _read_similarity(source, task)
    trained = SUITES[source.suite][task.trained_on or task.name]
    train = _read_split(source, trained, trained.train)
    if source.train_rows is not None:
        train = _spread(train, source.train_rows) if task.folds else train.head(source.train_rows)
    validation = _read_split(source, task, task.validation) if task.validation else None
    evaluations = {name: train if task.folds else _read_split(source, task, name) for name in task.evaluations}
    return with_duplicates(TaskSplits(task, train, validation, evaluations))


def with_duplicates(splits: TaskSplits) -> TaskSplits:
    """Count the evaluation rows whose texts are in the training split too, and warn if there are any."""
    task, train, evaluations = splits.task, splits.train, splits.evaluations
    assert train is not None, "rows that are only scored have no duplicates in a training split"
    duplicates = {name: count_duplicates(task, train, split) for name, split in evaluations.items()}
    found = [f"{count:,} of {len(evaluations[name].a):,} ({name})" for name, count in duplicates.items() if count]
    if found:
        where = "another row, which may be in another fold" if task.folds else "the training split"
        warnings.warn(f"{task.title}: rows with the same texts as {where}: {', '.join(found)}", stacklevel=3)
    return splits._replace(duplicates=duplicates)


def _read_similarity(source: Source, task: Task) -> TaskSplits:
    """Read a similarity set, its subsets concatenated."""
    home = sts.find_set(task, _sts_dir(source))
    if home is None:
        raise InputError(f"--sts-dir does not have {task.title}")
    parts = sts.read_sts(home)
    a, b = ([text for part in parts.values() for text in getattr(part, side)] for side in "ab")
    whole = Split(a, b, np.concatenate([part.labels for part in parts.values()]))
    return TaskSplits(task, None, None, {"test": whole}, {name: len(part.a) for name, part in parts.items()})


def _senteval_dir(source: Source) -> Path:
    if source.senteval_dir is None:
        raise InputError("--senteval-dir is needed: the folder with MR/, CR/, SST/ ..., SentEval's data/downstream")
    return source.senteval_dir


def _sts_dir(source: Source) -> Path:
    if source.sts_dir is None:
        raise InputError("--sts-dir is needed: the folder with STS12-en-test/ and the like")
    return source.sts_dir


def _spread(split: Split, rows: int) -> Split:
    """`rows` evenly spread rows, because files that are scored by folds are sorted by class."""
    places = np.unique(np.linspace(0, len(split.a) - 1, min(rows, len(split.a))).astype(int))
    second = None if split.b is None else [split.b[i] for i in places]
    return Split([split.a[i] for i in places], second, None if split.labels is None else split.labels[places])


def _read_split(source: Source, task: Task, name: str) -> Split:
    split = _find_split(source, task, name)
    if split.labels is None:
        raise InputError(f"{task.title}: the labels of its {name} split are not published here, so it cannot be scored")
    return split


def _find_split(source: Source, task: Task, name: str) -> Split:
    if source.suite == "senteval":
        return senteval.read_senteval(task, _senteval_dir(source), name)
    if source.suite == "glue" and source.glue_dir is not None:
        return glue.read_tsv(task, source.glue_dir, name)
    from bert_jax.tasks import tfds  # slow to import, and not needed for published folders
    from bert_jax.tasks.synthetic.builder import prepared

    if source.suite == "glue":
        return tfds.read(tfds.glue_builder(task), task, name)
    return tfds.read(prepared(task, source.data), task, name)
