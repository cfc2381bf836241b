"""Where an experiment's tasks and encoder come from."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_jax.checkpoints.directory import fingerprint, resolve
from bert_jax.errors import InputError
from bert_jax.tasks import glue, senteval, sts
from bert_jax.tasks.task import Split, Task, count_duplicates
from experiments.settings import MODEL, SUITES


class Source(NamedTuple):
    """A suite of tasks and the folders that it is read from. data: where the synthetic suite may be written."""

    suite: str
    data: Path
    glue_dir: Path | None = None
    senteval_dir: Path | None = None
    train_rows: int | None = None


class TaskSplits(NamedTuple):
    """A task's rows. train is None for a set that is only scored. subsets: sizes of the parts of its one evaluation.
    duplicates: by evaluation, the rows whose texts are in the training split too."""

    task: Task
    train: Split | None
    validation: Split | None
    evaluations: dict[str, Split]
    subsets: dict[str, int] = {}  # noqa: RUF012 - never written to
    duplicates: dict[str, int] = {}  # noqa: RUF012 - never written to


def read_task(source: Source, task: Task) -> TaskSplits:
    """The splits of a task that a run needs. Duplicates between training and evaluation are counted in a warning.

    Raises:
        InputError: a file is missing or damaged, or its labels are not published.
    """
    trained = SUITES[source.suite][task.trained_on or task.name]
    train = _read_split(source, trained, trained.train)
    if source.train_rows is not None:
        train = _spread(train, source.train_rows) if task.folds else train.head(source.train_rows)
    validation = _read_split(source, task, task.validation) if task.validation else None
    evaluations = {name: train if task.folds else _read_split(source, task, name) for name in task.evaluations}
    duplicates = {name: count_duplicates(task, train, split) for name, split in evaluations.items()}
    _warn_of_duplicates(task, evaluations, duplicates)
    return TaskSplits(task, train, validation, evaluations, duplicates=duplicates)


def _warn_of_duplicates(task: Task, evaluations: dict[str, Split], duplicates: dict[str, int]) -> None:
    found = [f"{count:,} of {len(evaluations[name].a):,} ({name})" for name, count in duplicates.items() if count]
    if found:
        where = "another row, which may be in another fold" if task.folds else "the training split"
        warnings.warn(f"{task.title}: rows with the same texts as {where}: {', '.join(found)}", stacklevel=2)


def read_similarity(task: Task, folder: Path) -> TaskSplits | None:
    """One of the similarity sets, its subsets one after the other; None where the folder does not have it.

    Raises:
        InputError: a file is damaged.
    """
    home = sts.find_set(task, folder)
    if home is None:
        return None
    parts = sts.read_sts(home)
    a, b = ([text for part in parts.values() for text in getattr(part, side)] for side in "ab")
    whole = Split(a, b, np.concatenate([part.labels for part in parts.values()]))
    return TaskSplits(task, None, None, {"test": whole}, {name: len(part.a) for name, part in parts.items()})


def describe_encoder(encoder: str) -> dict[str, Any]:
    """What a run folder says of a model directory or hub id: its name and what its weights are known by."""
    folder = resolve(encoder)
    place = folder.resolve()
    own = place.parent.name if place.name == MODEL else place.name  # a run's model goes by the name of the run
    return {"encoder": own if Path(encoder).exists() else encoder, "encoder_weights": fingerprint(folder)}


def _spread(split: Split, rows: int) -> Split:
    """So many rows, evenly spread: a file that is scored by folds holds one class after the other."""
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
        if source.senteval_dir is None:
            raise InputError("--senteval-dir is needed: the folder with MR/, CR/, SST/ ..., SentEval's data/downstream")
        return senteval.read_senteval(task, source.senteval_dir, name)
    if source.suite == "glue" and source.glue_dir is not None:
        return glue.read_tsv(task, source.glue_dir, name)
    from bert_jax.tasks import tfds  # slow to import, and not needed for published folders
    from bert_jax.tasks.synthetic.builder import prepared

    if source.suite == "glue":
        return tfds.read(tfds.glue_builder(task), task, name)
    return tfds.read(prepared(task, source.data), task, name)
