"""The nine GLUE tasks and the AX diagnostic as rows of data, and the reader of their published TSV folders.

Class orders are those of `tensorflow_datasets.text.glue`; tasks and metrics those of Wang et al. 2019
(arXiv 1804.07461), Table 1. The TSV files have no quoting, and some sentences hold characters that Python
treats as line breaks, so rows are split at "\\n" only and fields at tabs only.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from bert_jax.errors import InputError, unknown
from bert_jax.tasks.nli import NO_LABEL
from bert_jax.tasks.task import Split, Task
from bert_jax.tasks.tsv import (
    Columns,
    parse_classes,
    parse_scores,
    read_columns,
    read_lines,
    warn_of_unlabelled,
)

_NLI = ("entailment", "neutral", "contradiction")
_SCORES = (0, 5)
"""Range of the scores of STS-B, the only regression task."""

_ROWS = (
    Task(
        name="cola",
        title="CoLA",
        texts=("sentence",),
        classes=("unacceptable", "acceptable"),
        metrics=("mcc", "accuracy"),
        needs="Word order and agreement: the words alone rarely show whether a sentence is grammatical.",
    ),
    Task(
        name="sst2",
        title="SST-2",
        texts=("sentence",),
        classes=("negative", "positive"),
        metrics=("accuracy",),
        needs="The polarity of a few decisive words, and what negates or weakens them.",
    ),
    Task(
        name="mrpc",
        title="MRPC",
        texts=("sentence1", "sentence2"),
        classes=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
        needs="The overlap of two news sentences, and whether a detail in one changes what is reported.",
    ),
    Task(
        name="qqp",
        title="QQP",
        texts=("question1", "question2"),
        classes=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        needs="The overlap of two questions, and whether one word changes the answer they ask for.",
    ),
    Task(
        name="stsb",
        title="STS-B",
        texts=("sentence1", "sentence2"),
        classes=(),
        metrics=("pearson", "spearman"),
        needs="How much of the meaning two sentences share, as a grade from 0 to 5.",
    ),
    Task(
        name="mnli",
        title="MNLI",
        texts=("premise", "hypothesis"),
        classes=_NLI,
        metrics=("accuracy",),
        evaluations=("validation_matched", "validation_mismatched"),
        directed=True,
        needs="Whether the premise makes the hypothesis true, false or neither, in several genres.",
    ),
    Task(
        name="qnli",
        title="QNLI",
        texts=("question", "sentence"),
        classes=("entailment", "not_entailment"),
        metrics=("accuracy",),
        directed=True,
        needs="Whether the sentence holds the kind of thing the question asks for.",
    ),
    Task(
        name="rte",
        title="RTE",
        texts=("sentence1", "sentence2"),
        classes=("entailment", "not_entailment"),
        metrics=("accuracy",),
        directed=True,
        needs="Whether a news passage makes a short statement true, often by world knowledge.",
    ),
    Task(
        name="wnli",
        title="WNLI",
        texts=("sentence1", "sentence2"),
        classes=("not_entailment", "entailment"),
        metrics=("accuracy",),
        directed=True,
        needs="What a pronoun refers to; the development set contradicts the training set by design.",
    ),
    # AX has no training rows: it scores a model trained on MNLI, which has the same texts and classes.
    Task(
        name="ax",
        title="AX",
        texts=("premise", "hypothesis"),
        classes=_NLI,
        metrics=("mcc",),
        evaluations=("test",),
        train="",
        trained_on="mnli",
        directed=True,
        needs="Inference that turns on one phenomenon at a time: negation, quantifiers, coreference, knowledge.",
    ),
)

TASKS: dict[str, Task] = {task.name: replace(task, suite="glue") for task in _ROWS}
"""GLUE tasks by TFDS name. AX has `train == ""`: it scores models trained on MNLI."""


class _File(NamedTuple):
    """A published file: columns by header name, or by index from 0 if the file has no header line."""

    name: str
    texts: Columns
    label: str | int | None
    """Column of the labels; None if the published file hides them."""
    groups: tuple[str, ...] = ()
    """Columns that have an entry where a row belongs to the group of that name; a file may lack them."""


_Layout = dict[str, tuple[_File, ...]]
"""TFDS split -> candidate files; the first that exists is read."""


def _layout(texts: Columns, label: str | int) -> _Layout:
    return {
        "train": (_File("train.tsv", texts, label),),
        "validation": (_File("dev.tsv", texts, label),),
        "test": (_File("test.tsv", texts, None),),
    }


def _mnli_layout() -> _Layout:
    texts = ("sentence1", "sentence2")
    layout: _Layout = {"train": (_File("train.tsv", texts, "gold_label"),)}
    for genre in ("matched", "mismatched"):
        layout[f"validation_{genre}"] = (_File(f"dev_{genre}.tsv", texts, "gold_label"),)
        layout[f"test_{genre}"] = (_File(f"test_{genre}.tsv", texts, None),)
    return layout


_PAIR = ("sentence1", "sentence2")
_MRPC = ("#1 String", "#2 String")

_CATEGORIES = ("Lexical Semantics", "Predicate-Argument Structure", "Logic", "Knowledge")

_LAYOUTS: dict[str, _Layout] = {
    "cola": _layout((3,), 1) | {"test": (_File("test.tsv", ("sentence",), None),)},
    "sst2": _layout(("sentence",), "label"),
    # The original test file has the same rows in the same order as GLUE's, plus the labels.
    "mrpc": _layout(_MRPC, "Quality")
    | {"test": (_File("msr_paraphrase_test.txt", _MRPC, "Quality"), _File("test.tsv", _MRPC, None))},
    "qqp": _layout(("question1", "question2"), "is_duplicate"),
    "stsb": _layout(_PAIR, "score"),
    "mnli": _mnli_layout(),
    "qnli": _layout(("question", "sentence"), "label"),
    "rte": _layout(_PAIR, "label"),
    "wnli": _layout(_PAIR, "label"),
    "ax": {
        "test": (
            _File("diagnostic-full.tsv", ("Premise", "Hypothesis"), "Label", _CATEGORIES),
            _File("diagnostic.tsv", _PAIR, None),
        )
    },
}

_FOLDERS = {"ax": ("ax", "diagnostic")}
"""Folder names in lower-case letters and digits, for tasks whose folder may differ from the task's name."""


def read_tsv(task: Task, folder: Path, split: str) -> Split:
    """Read one split of a GLUE task from the published TSV folders, in file order.

    Args:
        task: a row of `TASKS`.
        folder: contains a folder per task: `CoLA/`, `SST-2/` ...; case and hyphens of their names do not matter.
        split: TFDS name of the split: `train`, `validation`, `validation_matched`, `test` ...

    Returns:
        The rows; labels are None if the published file hides them. MRPC's test labels come from
        `msr_paraphrase_test.txt`, and AX's labels and groups from `diagnostic-full.tsv`, if these files exist. MNLI
        pairs without a consensus label (`-`) are left out and counted in a warning.

    Raises:
        InputError: unknown task or split; a folder, file or column is missing; a file is empty or not UTF-8;
            a row has too few or too many fields; a label is not one of the task's, or a score is not a plain decimal
            number in its range.
    """
    if task.name not in _LAYOUTS:
        raise unknown("task", task.name, _LAYOUTS)
    if split not in _LAYOUTS[task.name]:
        raise unknown(f"split of {task.title}", split, _LAYOUTS[task.name])
    home = _task_folder(task, folder)
    candidates = _LAYOUTS[task.name][split]
    file = next((file for file in candidates if (home / file.name).is_file()), candidates[-1])
    path = home / file.name
    if file.label is None:
        texts, labels = read_columns(path, file.texts), None
    else:
        *texts, cells = read_columns(path, (*file.texts, file.label))
        if task.classes == _NLI:
            kept = {number: cell for number, cell in cells.items() if cell != NO_LABEL}
            warn_of_unlabelled(path, len(cells) - len(kept), len(kept))
            texts, cells = [{number: column[number] for number in kept} for column in texts], kept
        labels = parse_scores(path, cells, *_SCORES) if task.is_regression else parse_classes(path, cells, task.classes)
    rows = [list(column.values()) for column in texts]
    groups = _read_groups(path, file.groups, list(texts[0]))
    return Split(rows[0], rows[1] if len(rows) == 2 else None, labels, groups)


def _read_groups(path: Path, columns: tuple[str, ...], numbers: list[int]) -> list[str] | None:
    """The groups of some lines, joined by "and" where there are several; None if the file does not say them."""
    if not columns or not set(columns) <= set(read_lines(path)[0].split("\t")):
        return None
    cells = dict(zip(columns, read_columns(path, columns), strict=True))
    return [" and ".join(name for name in columns if cells[name][number].strip()) for number in numbers]


def _task_folder(task: Task, folder: Path) -> Path:
    names = _FOLDERS.get(task.name, (task.name,))
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give --glue-dir the folder that holds {task.title}/")
    inside = sorted(
        (path for path in folder.iterdir() if path.is_dir()), key=lambda path: (path.name != task.title, path)
    )
    for path in inside:
        if "".join(filter(str.isalnum, path.name.lower())) in names:
            return path
    found = ", ".join(sorted(path.name for path in inside)) or "no folder"
    raise InputError(f"{folder}: no folder {task.title}/ in it ({found} found); give --glue-dir the folder that has it")
