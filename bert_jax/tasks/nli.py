"""Readers for natural language inference data: JSON lines, and SentEval's SNLI folder."""

from pathlib import Path

import numpy as np

from bert_jax.errors import InputError
from bert_jax.json_lines import parse_row, text_of
from bert_jax.tasks.task import Split
from bert_jax.tasks.tsv import read_lines, split_rows, warn_of_unlabelled

CLASSES = ("entailment", "neutral", "contradiction")
"""Class names in the order of GLUE's MNLI and of TFDS."""

_FIELDS = (("premise", "hypothesis", "label"), ("sentence1", "sentence2", "gold_label"))
"""Field names in JSON lines: of data sets on the Hugging Face hub, and of SNLI and MultiNLI as published."""
NO_LABEL = "-"
"""Label of pairs without annotator consensus. They are left out, as is usual."""
_SENTEVAL = "labels."


def read_nli(path: Path) -> Split:
    """Read premises (a), hypotheses (b) and labels, int32 in the order of `CLASSES`.

    Args:
        path: JSON lines with premise, hypothesis and label, or sentence1, sentence2 and gold_label; a label is a
            class name or number. Or SentEval's `labels.dev`, with its sentences in `s1.dev` and `s2.dev` beside it.

    Pairs without a consensus label are left out and counted in a warning.

    Raises:
        InputError: a file is missing, empty or not UTF-8; a row is not a JSON object, or lacks a field; a label is
            not one of the classes; SentEval's three files differ in length, or one of their lines holds a tab; no pair
            has a label.
    """
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob(f"{_SENTEVAL}*"))) or "no labels.* in it"
        raise InputError(f"{path} is a folder: name a file of JSON lines, or one of SentEval's labels files ({inside})")
    rows = _read_senteval(path) if path.name.startswith(_SENTEVAL) else _read_json(path)
    kept = [(a, b, label) for a, b, label in rows if label is not None]
    warn_of_unlabelled(path, len(rows) - len(kept), len(kept))
    first, second, labels = zip(*kept, strict=True)
    return Split(list(first), list(second), np.array(labels, np.int32))


_Row = tuple[str, str, int | None]
"""Two texts and a label; None without annotator consensus."""


def _read_senteval(path: Path) -> list[_Row]:
    split = path.name.removeprefix(_SENTEVAL)
    labels, a, b = (_column(path.with_name(f"{name}.{split}")) for name in ("labels", "s1", "s2"))
    if not len(labels) == len(a) == len(b):
        raise InputError(f"{path}: {len(labels)} labels for {len(a)} and {len(b)} sentences; get the three files again")
    remedy = f"correct it, or remove the row from {path.name}, s1.{split} and s2.{split} alike"
    rows = enumerate(zip(a, b, labels, strict=True), 1)
    return [(x, y, _label(label, f"{path}, row {number}", remedy)) for number, (x, y, label) in rows]


def _column(path: Path) -> list[str]:
    lines = dict(enumerate(read_lines(path), 1))
    return [line for (line,) in split_rows(path, lines, (1,), parallel=True).values()]


def _read_json(path: Path) -> list[_Row]:
    return [_parse(line, f"{path}, row {number}") for number, line in enumerate(read_lines(path), 1) if line.strip()]


_REMEDY = "correct or remove the row"


def _parse(line: str, where: str) -> _Row:
    row = parse_row(line, where)
    names = next((names for names in _FIELDS if all(name in row for name in names)), None)
    if names is None:
        wanted = " or ".join(", ".join(fields) for fields in _FIELDS)
        raise InputError(f"{where}: it needs {wanted}, and has {', '.join(row) or 'nothing'}; {_REMEDY}")
    first, second = (text_of(row, name, where, _REMEDY) for name in names[:2])
    return first, second, _label(row[names[2]], where, _REMEDY)


def _label(label: object, where: str, remedy: str) -> int | None:
    """Parse a label, a class name or number, to a class number; None for a pair without annotator consensus."""
    if label in (NO_LABEL, -1) and label is not True:
        return None
    codes = [*range(len(CLASSES)), *map(str, range(len(CLASSES))), *CLASSES]
    if isinstance(label, str | int) and not isinstance(label, bool) and label in codes:
        return codes.index(label) % len(CLASSES)
    raise InputError(f"{where}: label {label!r} is not one of {', '.join(CLASSES)}; {remedy}")
