"""Sentence pairs for training sentence vectors, and the similarity set that scores them."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.study.sources import TaskSplits, with_duplicates
from bert_jax.tasks import glue, sts, synthetic
from bert_jax.tasks.nli import CLASSES, read_nli
from bert_jax.tasks.task import Split, Task
from bert_jax.tasks.tsv import read_lines

SYNTHETIC = "synthetic"
OBJECTIVES = ("nli", "sts", "simcse")
_SYNTHETIC_TASKS = {"nli": "entailment", "sts": "similarity"}


class PairSource(NamedTuple):
    """An objective and the locations of its data.

    train: names of sources, see `experiments.settings`. sts_dir: holds STSBenchmark/; None for the synthetic suite.
    """

    objective: str
    train: tuple[str, ...]
    sts_dir: Path | None = None
    glue_dir: Path | None = None
    train_rows: int | None = None


def objective_task(objective: str, synthetic_suite: bool) -> Task:
    """A training objective as a task scored on the STS benchmark, or on the synthetic similarity task."""
    base = synthetic.TASKS["similarity"] if synthetic_suite else sts.SETS["stsb"]
    return dataclasses.replace(
        base, name=objective, title=f"{base.title} ({objective})", metrics=("spearman", "pearson"), suite=""
    )


def read_pairs(source: PairSource) -> TaskSplits:
    """The training pairs of an objective and the similarity sets that score it. Duplicates are counted in a warning.

    Raises:
        InputError: a source is missing, is not of the kind that the objective needs, or does not fit another source.
    """
    train, num_classes = read_training(source)
    task = objective_task(source.objective, source.sts_dir is None)
    names = tuple(Path(name).name for name in source.train)
    evaluations = read_evaluations(source.sts_dir)
    return with_duplicates(TaskSplits(task, train, None, evaluations, num_classes=num_classes, train_names=names))


def with_sentences(splits: TaskSplits, source: PairSource) -> TaskSplits:
    """Give a set that is only scored the distinct sentences of a source as training texts, to fit whitening on.

    Texts of the set among them are not counted: no label is learned from.
    """
    return splits._replace(train=read_training(source)[0])


def read_evaluations(folder: Path | None) -> dict[str, Split]:
    """The STS benchmark's development and test sets; without a folder, the synthetic similarity validation set."""
    if folder is None:
        return {"validation": synthetic.read(synthetic.TASKS["similarity"], "validation")}
    return {name: _read_stsb(folder, name) for name in ("validation", "test")}


def read_training(source: PairSource) -> tuple[Split, int]:
    """The training pairs and their number of classes (0 if they have none)."""
    found = [_read_source(source, name) for name in source.train]
    if source.objective == "simcse":
        texts = dict.fromkeys(text for split, _ in found for side in (split.a, split.b or ()) for text in side)
        sentences = list(texts)[: source.train_rows]
        return Split(sentences, None, np.zeros(len(sentences), np.int32)), 0
    classes = {number for _, number in found}
    if len(classes) > 1:
        raise InputError(f"--train {' '.join(source.train)}: their classes differ, so they cannot be joined")
    first = [text for split, _ in found for text in split.a]
    second = [text for split, _ in found for text in split.b or ()]
    joined = Split(first, second, np.concatenate([split.gold for split, _ in found]))
    return joined.head(source.train_rows or len(joined.a)), classes.pop()


def _read_source(source: PairSource, name: str) -> tuple[Split, int]:
    """One source and its number of classes."""
    objective = source.objective
    kind = "nli" if objective == "simcse" else objective
    if name == SYNTHETIC:
        task = synthetic.TASKS[_SYNTHETIC_TASKS[kind]]
        return synthetic.read(task, "train"), len(task.classes)
    if name == "stsb" and objective != "nli":
        return _read_stsb(source.sts_dir, "train"), 0
    if objective == "sts":
        raise InputError(f"--train {name}: the objective sts learns from scores, of stsb or synthetic")
    if name == "mnli":
        return _read_mnli(source.glue_dir), len(CLASSES)
    path = Path(name)
    if objective == "simcse" and path.suffix == ".txt":
        return Split([line for line in read_lines(path) if line.strip()], None, None), 0
    if not path.exists():
        raise InputError(f"--train {name}: no such file; it takes files of pairs, mnli, stsb or synthetic")
    return read_nli(path), len(CLASSES)


def _read_stsb(folder: Path | None, split: str) -> Split:
    if folder is None:
        raise InputError("--train stsb needs --sts-dir, the folder that holds STSBenchmark/")
    home = sts.find_set(sts.SETS["stsb"], folder)
    if home is None:
        raise InputError(f"{folder}: no STSBenchmark/ in it; give --sts-dir the folder that holds it")
    (pairs,) = sts.read_sts(home, split).values()
    return pairs


def _read_mnli(folder: Path | None) -> Split:
    task = glue.TASKS["mnli"]
    if folder is not None:
        return glue.read_tsv(task, folder, "train")
    from bert_jax.tasks import tfds  # slow to import, and not needed for published TSV folders

    return tfds.read(tfds.glue_builder(task), task, "train")
