"""Tab-separated files as published with GLUE and STS: no quoting, rows end with a line feed only."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.errors import InputError

Columns = Sequence[str | int]


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """The lines of a text file, ended by "\\n" or "\\r\\n" only, without a byte-order mark.

    Raises:
        InputError: the file is missing, unreadable, empty or not UTF-8.
    """
    try:
        text = path.read_bytes().decode(encoding)
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
