"""Tab-separated files as published with GLUE and STS: no quoting, and rows end with a line feed only.

All rows of a file must have the same number of fields, because a stray tab in a text would shift another text, or
another annotator's label, into the column that is read.
"""

import re
import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.errors import InputError

Columns = Sequence[str | int]


def read_lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Read the lines of a text file, split at "\\n" or "\\r\\n" only, without a byte-order mark.

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
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    if text.count("\r") - text.count("\r\n") >= len(lines):
        raise InputError(
            f"{path}: its lines end with a carriage return alone, as on old Macs; convert it:\n"
            f"tr '\\r' '\\n' < {shlex.quote(path.name)} > NEW"
        )
    return lines


def read_columns(path: Path, columns: Columns, sources: bool = False, parallel: bool = False) -> list[dict[int, str]]:
    """Read columns of a tab-separated file, each as {1-based line number: field}.

    Args:
        path: a file that `read_lines` can read.
        columns: names in the file's header line; or, for a file without one, indices from 0, the highest of which is
            the file's last column.
        sources: allow rows with two more fields, the sources of the two texts.
        parallel: another file has a line for each line of this one, so the error must not advise removing rows.

    Raises:
        InputError: as `read_lines`; or the header lacks a column, a row has too few or too many fields, or there are
            no rows.
    """
    lines = read_lines(path)
    indices = [column for column in columns if isinstance(column, int)]
    first, width = 1, max(indices, default=0) + 1
    if not indices:
        indices, first, width = _find_columns(path, lines[0], columns), 2, lines[0].count("\t") + 1
    numbered = dict(enumerate(lines[first - 1 :], first))
    if not numbered:
        raise InputError(f"{path}: no row after the header; get the published file again")
    rows = split_rows(path, numbered, (width, width + 2) if sources else (width,), parallel)
    return [{number: row[index] for number, row in rows.items()} for index in indices]


def split_rows(
    path: Path, lines: dict[int, str], widths: tuple[int, ...], parallel: bool = False
) -> dict[int, list[str]]:
    """Split numbered lines into fields, the number of which must be one of `widths`.

    Raises:
        InputError: a line has another number of fields.
    """
    rows = {number: line.split("\t") for number, line in lines.items()}
    wrong = [number for number, row in rows.items() if len(row) not in widths]
    if wrong:
        raise _wrong_width(path, wrong, len(rows[wrong[0]]), widths, parallel)
    return rows


def _find_columns(path: Path, header: str, columns: Columns) -> list[int]:
    names = header.split("\t")
    for column in columns:
        if column not in names:
            found = ", ".join(map(repr, names))
            raise InputError(f"{path}: no column {column!r}; its header has {found}; get the published file again")
    return [names.index(str(column)) for column in columns]


def _wrong_width(path: Path, wrong: list[int], found: int, widths: tuple[int, ...], parallel: bool) -> InputError:
    more = f" (and so for {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    needed = " or ".join(map(str, widths))
    fields = f"{found} tab-separated field{'' if found == 1 else 's'}"
    whole = " || ".join(f"NF == {width}" for width in widths)
    remedy = "" if parallel else f", or keep its whole rows with: awk -F'\\t' '{whole}' {shlex.quote(path.name)}"
    return InputError(
        f"{path}, row {wrong[0]}: {fields} where {needed} {'is' if needed == '1' else 'are'} needed{more}.\n"
        f"Get the file again, or replace a tab within a text by a space{remedy}"
    )


def parse_scores(path: Path, cells: dict[int, str], low: float, high: float) -> np.ndarray:
    """Parse cells as numbers, [rows] float32.

    Raises:
        InputError: a cell is not a plain decimal number from `low` to `high`.
    """
    for number, cell in cells.items():
        if not _DECIMAL.fullmatch(cell.strip()) or not low <= float(cell) <= high:
            allowed = f"a plain decimal number from {low:g} to {high:g}"
            raise InputError(f"{path}, row {number}: score {cell!r} is not {allowed}; correct it")
    return np.array([float(cell) for cell in cells.values()], np.float32)


_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


def parse_classes(path: Path, cells: dict[int, str], classes: Sequence[str]) -> np.ndarray:
    """Parse cells as classes, [rows] int32: class names, or class numbers in the order of TFDS.

    Raises:
        InputError: a cell is neither a class name nor a class number.
    """
    codes = {str(code): code for code in range(len(classes))}
    codes |= {name: code for code, name in enumerate(classes)}
    for number, cell in cells.items():
        if cell.strip() not in codes:
            raise InputError(
                f"{path}, row {number}: label {cell!r} is not one of {', '.join(codes)}; correct or remove the row"
            )
    return np.array([codes[cell.strip()] for cell in cells.values()], np.int32)


def warn_of_unlabelled(path: Path, left_out: int, kept: int) -> None:
    """Warn about pairs left out for lack of annotator consensus, if there are any.

    Raises:
        InputError: no pair was kept.
    """
    if not kept:
        raise InputError(f"{path}: no pair has a label; get the published file again")
    if left_out:
        warnings.warn(
            f"{path}: left out {left_out:,} pairs without a label, on which annotators disagreed", stacklevel=3
        )
