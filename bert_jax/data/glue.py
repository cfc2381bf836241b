"""The nine GLUE tasks and the AX diagnostic as rows of data, and the reader of their published TSV folders.

Class orders are those of `tensorflow_datasets.text.glue`; tasks and metrics those of Wang et al. 2019
(arXiv 1804.07461), Table 1. The TSV files have no quoting, and some sentences hold characters that Python
takes for line breaks, so that a row ends at "\\n" and a field at a tab and nowhere else.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.data.tasks import Split, Task
from bert_jax.errors import InputError, unknown

_NLI = ("entailment", "neutral", "contradiction")

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
        needs="Whether the premise makes the hypothesis true, false or neither, in several genres.",
    ),
    Task(
        name="qnli",
        title="QNLI",
        texts=("question", "sentence"),
        classes=("entailment", "not_entailment"),
        metrics=("accuracy",),
        needs="Whether the sentence holds the kind of thing the question asks for.",
    ),
    Task(
        name="rte",
        title="RTE",
        texts=("sentence1", "sentence2"),
        classes=("entailment", "not_entailment"),
        metrics=("accuracy",),
        needs="Whether a news passage makes a short statement true, often by world knowledge.",
    ),
    Task(
        name="wnli",
        title="WNLI",
        texts=("sentence1", "sentence2"),
        classes=("not_entailment", "entailment"),
        metrics=("accuracy",),
        needs="What a pronoun refers to; the development set contradicts the training set by design.",
    ),
    # AX has no training rows: a model trained on MNLI, which has the same texts and classes, is scored on it.
    Task(
        name="ax",
        title="AX",
        texts=("premise", "hypothesis"),
        classes=_NLI,
        metrics=("mcc",),
        evaluations=("test",),
        train="",
        trained_on="mnli",
        needs="Inference that turns on one phenomenon at a time: negation, quantifiers, coreference, knowledge.",
    ),
)

TASKS: dict[str, Task] = {task.name: task for task in _ROWS}
"""GLUE by the names that TFDS uses. AX has `train == ""`: it is scored from a training on MNLI."""

Columns = Sequence[str | int]


class _File(NamedTuple):
    """One published file: its columns by header name, or by index from 0 where it has no header line."""

    name: str
    texts: Columns
    label: str | int | None
    """None where the published file hides its labels."""


_Layout = dict[str, tuple[_File, ...]]
"""TFDS split -> the files that can provide it; the first that exists is read."""


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

_LAYOUTS: dict[str, _Layout] = {
    "cola": _layout((3,), 1) | {"test": (_File("test.tsv", ("sentence",), None),)},
    "sst2": _layout(("sentence",), "label"),
    # The original test file has the same rows in the same order as GLUE's, and the labels.
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
            _File("diagnostic-full.tsv", ("Premise", "Hypothesis"), "Label"),
            _File("diagnostic.tsv", _PAIR, None),
        )
    },
}

_FOLDERS = {"ax": ("ax", "diagnostic")}
"""Names, in small letters and digits, of a task's folder where they are not just the task's name."""


def read_tsv(task: Task, folder: Path, split: str) -> Split:
    """One split of a GLUE task from the published TSV folders, in file order.

    Args:
        task: a row of `TASKS`.
        folder: holds a folder per task: `CoLA/`, `SST-2/` ..., found whatever its case and hyphens.
        split: as TFDS names it: `train`, `validation`, `validation_matched`, `test` ...

    Returns:
        The rows; labels are None where the published file hides them. MRPC's test labels come from
        `msr_paraphrase_test.txt` and AX's from `diagnostic-full.tsv` where these are there.

    Raises:
        InputError: unknown task or split; a folder, file or column is missing; a file is empty or not UTF-8;
            a row has too few fields; a label is not one of the task's, or a score not a finite number.
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
        labels = parse_scores(path, cells) if task.is_regression else _parse_classes(path, cells, task)
    rows = [list(column.values()) for column in texts]
    return Split(rows[0], rows[1] if len(rows) == 2 else None, labels)


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


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 text file, ended by "\\n" or "\\r\\n" only, without a byte-order mark.

    Raises:
        InputError: the file is missing, unreadable, empty or not UTF-8.
    """
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        row = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, row {row}: byte {error.start} is not UTF-8; convert the file to UTF-8") from error
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; put the published file there") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    text = text.removeprefix("\ufeff").removesuffix("\n")
    if not text.strip():
        raise InputError(f"{path}: the file is empty; get the published file again")
    return [line.removesuffix("\r") for line in text.split("\n")]


def read_columns(path: Path, columns: Columns) -> list[dict[int, str]]:
    """Some columns of a tab-separated file, each as {1-based line number: field}.

    Args:
        path: a file as `read_lines` reads it.
        columns: names in the file's header line; or, for a file without one, indices from 0.

    Raises:
        InputError: as `read_lines`; or the header lacks a column, a row has too few fields, or there are no rows.
    """
    lines = read_lines(path)
    indices = [column for column in columns if isinstance(column, int)]
    first = 1
    if not indices:
        indices, first = _find_columns(path, lines[0], columns), 2
    rows = {number: line.split("\t") for number, line in enumerate(lines[first - 1 :], first)}
    if not rows:
        raise InputError(f"{path}: no row after the header; get the published file again")
    short = [number for number, row in rows.items() if len(row) <= max(indices)]
    if short:
        raise _short_rows(path, short, len(rows[short[0]]), max(indices) + 1)
    return [{number: row[index] for number, row in rows.items()} for index in indices]


def _find_columns(path: Path, header: str, columns: Columns) -> list[int]:
    names = header.split("\t")
    for column in columns:
        if column not in names:
            found = ", ".join(map(repr, names))
            raise InputError(f"{path}: no column {column!r}; its header has {found}; get the published file again")
    return [names.index(str(column)) for column in columns]


def _short_rows(path: Path, short: list[int], found: int, needed: int) -> InputError:
    more = f" (and so for {len(short) - 1} more)" if len(short) > 1 else ""
    return InputError(
        f"{path}, row {short[0]}: {found} tab-separated fields where {needed} are needed{more}.\n"
        f"Get the file again, or keep its whole rows with: awk -F'\\t' 'NF >= {needed}' {path.name}"
    )


def parse_scores(path: Path, cells: dict[int, str]) -> np.ndarray:
    """The cells as numbers, [rows] float32.

    Raises:
        InputError: a cell is not a finite number.
    """
    scores = {number: _parse_score(cell) for number, cell in cells.items()}
    for number, score in scores.items():
        if not math.isfinite(score):
            cell = cells[number]
            raise InputError(f"{path}, row {number}: score {cell!r} is not a finite number; correct or remove the row")
    return np.array(list(scores.values()), np.float32)


_LARGEST = float(np.finfo(np.float32).max)


def _parse_score(cell: str) -> float:
    try:
        score = float(cell)
    except ValueError:
        return math.nan
    return score if abs(score) <= _LARGEST else math.nan


def _parse_classes(path: Path, cells: dict[int, str], task: Task) -> np.ndarray:
    """The cells as classes, [rows] int32. A file gives a class by its name or, as TFDS reads it, by its number."""
    codes = {str(code): code for code in range(len(task.classes))}
    codes |= {name: code for code, name in enumerate(task.classes)}
    for number, cell in cells.items():
        if cell not in codes:
            raise InputError(
                f"{path}, row {number}: label {cell!r} is not one of {', '.join(codes)}; correct or remove the row"
            )
    return np.array([codes[cell] for cell in cells.values()], np.int32)
