"""Rows of a run folder by the data that they are of, where an older version let several data into one folder."""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.files import write_folder
from bert_jax.study.store import EXPERIMENT, PREDICTIONS, RESULTS, Row, read_predictions, read_rows, write_rows


class Group(NamedTuple):
    """Rows of which those of one task were made from the same data. data: task -> its data in words."""

    rows: list[Row]
    data: dict[str, str]


def group_rows(folder: Path) -> list[Group]:
    """The rows of a run folder, grouped so that a task has one data set in each group; the largest group first.

    Two rows of a task are of the same data if they have the same number of training rows, the same evaluation labels
    and, where rows know it, the same digest of their data. A failed row, which has no labels, goes by the rest.

    Raises:
        InputError: the folder has no rows, or they cannot be read.
    """
    by_task: dict[str, dict[str, list[Row]]] = {}
    for row in sorted(read_rows(folder), key=lambda row: not row.ok):
        found = by_task.setdefault(row.task, {})
        found.setdefault(_describe(folder, row) if row.ok else _alike(found, row), []).append(row)
    if not by_task:
        raise InputError(f"{folder} has no rows")
    groups: list[Group] = []
    for task, found in by_task.items():
        for place, data in enumerate(sorted(found, key=lambda data: -len(found[data]))):
            if place == len(groups):
                groups.append(Group([], {}))
            groups[place].rows.extend(found[data])
            groups[place].data[task] = data
    return groups


def write_groups(folder: Path, groups: Sequence[Group], out: Path) -> list[Path]:
    """Copy each group into a run folder of its own below `out`, and give the folders.

    Raises:
        InputError: one of them is there already, or cannot be written.
    """
    made = []
    for number, group in enumerate(groups):
        target = out / f"data{number}"
        if target.exists():
            raise InputError(f"{target} is there already; name another --out")
        write_folder(target, lambda partial, rows=group.rows: _copy(folder, rows, partial))  # type: ignore[misc]
        made.append(target)
    return made


def _copy(folder: Path, rows: Sequence[Row], target: Path) -> None:
    (target / PREDICTIONS).mkdir()
    shutil.copy(folder / EXPERIMENT, target / EXPERIMENT)
    write_rows(target / RESULTS, rows)
    examples = {f"{row.task}-{digest}.jsonl" for row in rows for digest in (row.config.get("data") or {}).values()}
    for name in [*(f"{row.id}.npz" for row in rows), *sorted(examples)]:
        if (folder / PREDICTIONS / name).exists():
            shutil.copy(folder / PREDICTIONS / name, target / PREDICTIONS / name)


def _describe(folder: Path, row: Row) -> str:
    labels = {name: _digest(pair[1]) for name, pair in read_predictions(folder, row).items()}
    sizes = row.evaluation_examples.items()
    scored = ", ".join(f"{name} ({size:,} rows, labels {labels[name]})" for name, size in sizes)
    known = row.config.get("data") or {}
    texts = f", digest {'-'.join(known.values())}" if known else ""
    return f"{row.train_examples:,} training rows{texts}; {scored}"


def _alike(found: Mapping[str, Sequence[Row]], row: Row) -> str:
    """The data of the first rows that have the sizes and digests of a failed one."""

    def known(one: Row) -> tuple[object, ...]:
        return one.train_examples, one.evaluation_examples, one.config.get("data")

    alike = (data for data, rows in found.items() if known(rows[0]) == known(row))
    return next(alike, f"{row.train_examples:,} training rows; no run finished")


def _digest(labels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(labels).tobytes()).hexdigest()[:6]
