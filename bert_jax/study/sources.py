"""Readers of a task's splits from folders or data sets."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.evaluate.metrics import check_metrics
from bert_jax.files import digest
from bert_jax.tasks import glue, own, senteval, sts
from bert_jax.tasks.submission import files_of
from bert_jax.tasks.suites import SUITES
from bert_jax.tasks.task import Split, Task, count_duplicates


class Source(NamedTuple):
    """The folders that tasks are read from. data: folder that the synthetic suite is written to. tests: also read the
    test sets of a GLUE submission."""

    data: Path
    glue_dir: Path | None = None
    senteval_dir: Path | None = None
    sts_dir: Path | None = None
    train_rows: int | None = None
    tests: bool = False


class TaskSplits(NamedTuple):
    """The splits of a task.

    train: None for a set that is only scored. subsets: sizes of the subsets of its one evaluation. duplicates:
    evaluation -> number of rows whose texts are in the training split too. num_classes, train_names: number of classes
    and names of the sources of training pairs whose labels are not the task's. tests: file of a GLUE submission -> its
    rows, which are predicted and not scored; their labels are placeholders.
    """

    task: Task
    train: Split | None
    validation: Split | None
    evaluations: dict[str, Split]
    subsets: dict[str, int] = {}  # noqa: RUF012 - never written to
    duplicates: dict[str, int] = {}  # noqa: RUF012 - never written to
    num_classes: int = 0
    train_names: tuple[str, ...] = ()
    tests: dict[str, Split] = {}  # noqa: RUF012 - never written to

    def digests(self) -> dict[str, str]:
        """Split -> digest of its texts and labels, for every split that can decide a result."""
        splits = {"train": self.train, "validation": self.validation, **self.evaluations}
        found = {name: split.digest() for name, split in splits.items() if split is not None}
        return found | ({"definition": _definition(self.task)} if self.task.files else {})


def why_absent(source: Source, task: Task) -> str | None:
    """Reason why a source's folder lacks a task, with flags in place of paths, or None if it has the task.

    Tasks that can be fetched or generated, and those of one's own, are never absent.

    Raises:
        InputError: a required folder is not given or does not exist.
    """
    return READERS[task.suite].why_absent(source, task)


def split_absent(source: Source, tasks: Sequence[Task]) -> tuple[list[Task], dict[str, str]]:
    """The tasks that a source has, and title -> reason for those that it lacks.

    Raises:
        InputError: it has none of them.
    """
    absent = {task.title: why for task in tasks if (why := why_absent(source, task))}
    if len(absent) == len(tasks):
        reasons = "; ".join(f"{title}: {why}" for title, why in absent.items())
        raise InputError(f"--{tasks[0].suite}-dir has none of the tasks: {reasons}")
    return [task for task in tasks if task.title not in absent], absent


def read_task(source: Source, task: Task) -> TaskSplits:
    """Read the splits of a task. Duplicates between training and evaluation rows are counted in a warning.

    Raises:
        InputError: a file is missing or damaged, or its labels are not published.
    """
    check_metrics(task)
    trained = SUITES[task.suite][task.trained_on] if task.trained_on else task
    train = _whole(_read_split(source, trained, trained.train)) if trained.train else None
    if train is not None and source.train_rows is not None:
        train = _spread(train, source.train_rows) if task.folds else train.head(source.train_rows)
    validation = _whole(_read_split(source, task, task.validation)) if task.validation else None
    if task.folds:
        assert train is not None, "folds divide training rows"
        return with_duplicates(TaskSplits(task, train, validation, dict.fromkeys(task.evaluations, train)))
    parts = {name: _read_split(source, task, name) for name in task.evaluations}
    subsets = {name: len(part.a) for found in parts.values() for name, part in found.items() if name}
    found = TaskSplits(task, train, validation, {k: _whole(v) for k, v in parts.items()}, subsets)
    return with_duplicates(found._replace(tests=_read_tests(source, task) if source.tests else {}))


def _read_tests(source: Source, task: Task) -> dict[str, Split]:
    """The rows of the submission's files that a model of the task predicts, checked for their number."""
    found = {}
    for file in files_of(task.name):
        of = SUITES["glue"][file.task]
        rows = _whole(READERS[of.suite].read(source, of, file.split))
        if len(rows.a) != file.rows:
            raise InputError(f"{file.name}: {len(rows.a):,} rows of its test set were found, GLUE's has {file.rows:,}")
        found[file.name] = rows._replace(labels=np.zeros(len(rows.a), np.int32), groups=None)
    return found


def with_duplicates(splits: TaskSplits) -> TaskSplits:
    """Count the evaluation rows whose texts are in the training split too, and warn if there are any."""
    task, train, evaluations = splits.task, splits.train, splits.evaluations
    if train is None:
        return splits
    duplicates = {name: count_duplicates(task, train, split) for name, split in evaluations.items()}
    found = [f"{count:,} of {len(evaluations[name].a):,} ({name})" for name, count in duplicates.items() if count]
    if found:
        where = "another row, which may be in another fold" if task.folds else "the training split"
        every = all(duplicates[name] == len(split.a) for name, split in evaluations.items())
        memory = "; such a score shows what was memorised" if every else ""
        warnings.warn(f"{task.title}: rows with the same texts as {where}: {', '.join(found)}{memory}", stacklevel=3)
    return splits._replace(duplicates=duplicates)


def _definition(task: Task) -> str:
    """Digest of whatever decides the results of a task of one's own, apart from its rows."""
    return digest([task.classes, task.metrics, task.directed, task.folds, task.validation])


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
    return split.take(np.unique(np.linspace(0, len(split.a) - 1, min(rows, len(split.a))).astype(int)))


_Parts = Mapping[str, Split]
"""Subset -> its rows; the name of the only part of a split without subsets is empty."""


def _whole(parts: _Parts) -> Split:
    """The rows of all parts."""
    if len(parts) == 1:
        return next(iter(parts.values()))
    a, b = ([text for part in parts.values() for text in getattr(part, side)] for side in "ab")
    return Split(a, b, np.concatenate([part.gold for part in parts.values()]))


def _read_split(source: Source, task: Task, name: str) -> _Parts:
    parts = READERS[task.suite].read(source, task, name)
    if any(part.labels is None for part in parts.values()):
        raise InputError(f"{task.title}: the labels of its {name} split are not published here, so it cannot be scored")
    return parts


def _read_glue(source: Source, task: Task, name: str) -> _Parts:
    if source.glue_dir is not None:
        return {"": glue.read_tsv(task, source.glue_dir, name)}
    from bert_jax.tasks import tfds  # slow to import, and not needed for published folders

    return {"": tfds.read(tfds.glue_builder(task), task, name)}


def _read_synthetic(source: Source, task: Task, name: str) -> _Parts:
    from bert_jax.tasks import tfds  # slow to import
    from bert_jax.tasks.synthetic.builder import prepared

    return {"": tfds.read(prepared(task, source.data), task, name)}


def _read_senteval(source: Source, task: Task, name: str) -> _Parts:
    return {"": senteval.read_senteval(task, _senteval_dir(source), name)}


def _senteval_lacks(source: Source, task: Task) -> str | None:
    why = senteval.why_absent(task, _senteval_dir(source))
    return why and why.replace(str(source.senteval_dir), "--senteval-dir")


def _read_sts(source: Source, task: Task, name: str) -> _Parts:
    home = sts.find_set(task, _sts_dir(source))
    if home is None:
        raise InputError(f"--sts-dir does not have {task.title}")
    return sts.read_sts(home, name)


def _sts_lacks(source: Source, task: Task) -> str | None:
    return None if sts.find_set(task, _sts_dir(source)) else "its folder is not there"


class Reader(NamedTuple):
    """The reader of a suite. why_absent: reason why its folder lacks a task, or None."""

    read: Callable[[Source, Task, str], _Parts]
    why_absent: Callable[[Source, Task], str | None] = lambda source, task: None


READERS: dict[str, Reader] = {
    "glue": Reader(_read_glue),
    "senteval": Reader(_read_senteval, _senteval_lacks),
    "sts": Reader(_read_sts, _sts_lacks),
    "synthetic": Reader(_read_synthetic),
    own.SUITE: Reader(lambda source, task, name: {"": own.read_own(task, name)}),
}
"""Suite -> its reader."""
