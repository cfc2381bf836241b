"""The evaluation sets of a run folder: one file for each, named by its task and its digest.

`predictions/TASK-DIGEST.jsonl` has a line for each row of a split: its number, a hash of its texts, the texts, the
label and the group. The n-th prediction of a run whose `config["data"]` has that digest belongs to line n.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bert_jax.errors import InputError
from bert_jax.files import write_whole, writing
from bert_jax.json_lines import parse_row
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import PREDICTIONS, Row
from bert_jax.tasks.task import Split


class Example(NamedTuple):
    """A row of an evaluation set. label: the name of its class, or its score."""

    row: int
    hash: str
    a: str
    b: str | None
    label: str | float
    group: str | None


def note_examples(folder: Path, splits: Mapping[str, TaskSplits]) -> None:
    """Write the rows of all evaluation sets that are not there yet.

    Raises:
        InputError: the folder cannot be written.
    """
    for found in splits.values():
        for split in found.evaluations.values():
            path = folder / PREDICTIONS / f"{found.task.name}-{split.digest()}.jsonl"
            if not path.exists():
                lines = "".join(f"{json.dumps(one._asdict())}\n" for one in _examples(split, found.task.classes))
                with writing(folder):
                    write_whole(path, lambda file, lines=lines: file.write(lines.encode()))  # type: ignore[misc]


def read_examples(folder: Path, row: Row, evaluation: str) -> list[Example]:
    """Read the evaluation set of a run, in the order of its predictions.

    Raises:
        InputError: the folder is of an older version, or the file is damaged.
    """
    path = _path(folder, row, evaluation)
    if not path.exists():
        raise InputError(f"{path}: no such file; give the command that made this folder again, and it is written")
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    try:
        return [Example(**parse_row(line, f"{path}, line {number}")) for number, line in enumerate(lines, 1)]
    except TypeError as error:
        raise InputError(f"{path}: not the rows of an evaluation set ({error}); delete it") from None


def has_examples(folder: Path, row: Row, evaluation: str) -> bool:
    """True if the folder holds the rows that a run's predictions are of; one of an older version does not."""
    return _path(folder, row, evaluation).exists()


def _path(folder: Path, row: Row, evaluation: str) -> Path:
    digest = (row.config.get("data") or {}).get(evaluation)
    return folder / PREDICTIONS / f"{row.task}-{digest}.jsonl"


def _examples(split: Split, classes: tuple[str, ...]) -> list[Example]:
    labels = [classes[label] if classes else float(label) for label in split.gold]
    nothing: list[str | None] = [None] * len(split.a)
    columns = zip(split.a, split.b or nothing, labels, split.groups or nothing, strict=True)
    return [Example(row, hash_texts(a, b), a, b, label, group) for row, (a, b, label, group) in enumerate(columns)]


def hash_texts(a: str, b: str | None) -> str:
    """The first 16 hex digits of the SHA-256 of a text, or of a pair joined by a tab."""
    return hashlib.sha256((a if b is None else f"{a}\t{b}").encode()).hexdigest()[:16]
