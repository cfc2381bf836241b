"""Natural language inference from the files that the field exchanges: JSON lines, and SentEval's SNLI folder."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.errors import InputError
from bert_jax.tasks.task import Split
from bert_jax.tasks.tsv import read_lines

CLASSES = ("entailment", "neutral", "contradiction")
"""In the order of GLUE's MNLI and of TFDS."""

_FIELDS = (("premise", "hypothesis", "label"), ("sentence1", "sentence2", "gold_label"))
"""Names in JSON lines: those of the hub's data sets, and those of SNLI and MultiNLI as published."""
_NO_LABEL = ("-", -1)
"""What stands where the annotators did not agree; such pairs are left out, as everywhere in the field."""
_SENTEVAL = "labels."


def read_nli(path: Path) -> Split:
    """Premises (a), hypotheses (b) and labels, int32 in the order of `CLASSES`.

    Args:
        path: JSON lines with premise, hypothesis and label, or sentence1, sentence2 and gold_label; a label is a
            class or its number. Or SentEval's `labels.dev`, whose sentences are in `s1.dev` and `s2.dev` beside it.

    Raises:
        InputError: a file is missing, empty or not UTF-8; a row is no JSON object, or lacks a field; a label is none
            of the classes; SentEval's three files differ in length; no pair has a label.
    """
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob(f"{_SENTEVAL}*"))) or "no labels.* in it"
        raise InputError(f"{path} is a folder: name a file of JSON lines, or one of SentEval's labels files ({inside})")
    if path.name.startswith(_SENTEVAL):
        return _read_senteval(path)
    rows = [_parse(line, f"{path}, row {number}") for number, line in enumerate(read_lines(path), 1) if line.strip()]
    return _split(path, [row for row in rows if row is not None])


def _read_senteval(path: Path) -> Split:
    split = path.name.removeprefix(_SENTEVAL)
    labels, a, b = (read_lines(path.with_name(f"{name}.{split}")) for name in ("labels", "s1", "s2"))
    if not len(labels) == len(a) == len(b):
        raise InputError(f"{path}: {len(labels)} labels for {len(a)} and {len(b)} sentences; get the three files again")
    rows = [
        (x, y, _label(label, f"{path}, row {n}")) for n, (x, y, label) in enumerate(zip(a, b, labels, strict=True), 1)
    ]
    return _split(path, [row for row in rows if row[2] is not None])


def _split(path: Path, rows: list[Any]) -> Split:
    if not rows:
        raise InputError(f"{path}: no pair has a label; get the published file again")
    a, b, labels = zip(*rows, strict=True)
    return Split(list(a), list(b), np.array(labels, np.int32))


def _parse(line: str, where: str) -> tuple[str, str, int] | None:
    """A row's texts and label; None where it has no label."""
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}); correct or remove the row") from None
    names = next((names for names in _FIELDS if isinstance(row, dict) and all(name in row for name in names)), None)
    if names is None:
        wanted = " or ".join(", ".join(fields) for fields in _FIELDS)
        found = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{where}: it needs {wanted}, and has {found}; correct or remove the row")
    first, second, label = (row[name] for name in names)
    for name, text in zip(names, (first, second), strict=False):
        if not isinstance(text, str):
            raise InputError(f"{where}: {name} is {text!r} and no text; correct or remove the row")
    number = _label(label, where)
    return None if number is None else (first, second, number)


def _label(label: object, where: str) -> int | None:
    if label in _NO_LABEL:
        return None
    if label in CLASSES:
        return CLASSES.index(str(label))
    if type(label) is int and 0 <= label < len(CLASSES):
        return label
    raise InputError(f"{where}: label {label!r} is not one of {', '.join(CLASSES)}; correct or remove the row")
