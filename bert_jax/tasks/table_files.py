"""Tables in files: tab- or comma-separated, JSON lines, or Parquet. Errors name the file, the row and the column."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bert_jax.errors import InputError, unknown
from bert_jax.json_lines import parse_row
from bert_jax.tasks.tsv import split_rows

Value = object
"""A field of a row: a string, number or truth value, or None if the row lacks it."""


class Form(NamedTuple):
    """Format of text files.

    encoding: a name that Python knows. delimiter: between fields, by default a tab in .tsv and a comma in .csv. quotes:
    fields with a delimiter or a line end stand in double quotes; by default in .csv only. header: the first row names
    the columns; without it they are called 0, 1, ...
    """

    encoding: str = "utf-8"
    delimiter: str = ""
    quotes: bool | None = None
    header: bool = True


class Table(NamedTuple):
    """A table in a file.

    unit: what `numbers` count, line or row. numbers: [rows] where each row begins, from 1. columns: name -> its fields
    [rows].
    """

    path: Path
    unit: str
    numbers: list[int]
    columns: dict[str, list[Value]]

    def where(self, row: int, column: str) -> str:
        """The place of a field, for messages."""
        return f"{self.path}, {self.unit} {self.numbers[row]}, column {column!r}"


def read_table(path: Path, form: Form) -> Table:
    """Read a table; the ending of the file's name tells its format. A folder holds the parts of a Parquet file.

    Raises:
        InputError: the file is missing, empty, of an unknown format, in another encoding, or a row of it is damaged.
    """
    ending = ".parquet" if is_parts(path) else path.suffix.lower()
    if ending not in FORMATS:
        raise unknown(f"format of {path}", path.suffix, FORMATS)
    if not path.exists():
        raise InputError(f"{path}: no such file; correct its name, or put it there")
    table = FORMATS[ending](path, form)
    if not table.numbers:
        raise InputError(f"{path}: it has no row; give a file with rows")
    return table


def is_parts(path: Path) -> bool:
    """True for a folder of Parquet files, which are read in the order of their names."""
    return path.is_dir() and any(path.glob("*.parquet"))


def _read_text(path: Path, encoding: str) -> str:
    try:
        content = path.read_bytes()
        if content[:2] in (b"\xff\xfe", b"\xfe\xff") and "16" not in encoding:
            raise InputError(f'{path}: it is UTF-16; write encoding = "utf-16"')
        text = content.decode(encoding)
    except LookupError:
        raise InputError(f"{path}: Python knows no encoding {encoding!r}; write utf-8, latin-1, cp1252 ...") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: byte {error.start} is not {encoding}; convert the file to UTF-8, or name its "
            'encoding, such as encoding = "latin-1"'
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    return text.removeprefix("\ufeff")


def _read_delimited(path: Path, form: Form, delimiter: str, quotes: bool) -> Table:
    form = form._replace(delimiter=form.delimiter or delimiter, quotes=quotes if form.quotes is None else form.quotes)
    text = _read_text(path, form.encoding)
    rows = _quoted(path, text, form) if form.quotes else _unquoted(path, text, form)
    if not rows:
        raise InputError(f"{path}: the file is empty; give a file with rows")
    numbers, fields = list(rows), list(rows.values())
    names = fields[0] if form.header else [str(place) for place in range(len(fields[0]))]
    first = 1 if form.header else 0
    _check_header(path, names, form)
    for number, row in zip(numbers, fields, strict=True):
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {number}: {len(row)} fields where {len(names)} are needed ({', '.join(names)}); a field "
                "with a comma or a line end must stand in quotes"
            )
    columns = zip(*fields[first:], strict=True) if fields[first:] else ([] for _ in names)
    return Table(path, "line", numbers[first:], dict(zip(names, map(list, columns), strict=True)))


def _quoted(path: Path, text: str, form: Form) -> dict[int, list[str]]:
    """The number of each row's first line -> its fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=form.delimiter, strict=True)
    rows, line = {}, 1
    try:
        for row in reader:
            if row:
                rows[line] = row
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line}: {error}; a quote that begins a field must end it, and one within it is doubled"
        ) from None
    return rows


def _unquoted(path: Path, text: str, form: Form) -> dict[int, list[str]]:
    lines = {number: line.removesuffix("\r") for number, line in enumerate(text.split("\n"), 1)}
    lines = {number: line for number, line in lines.items() if line}
    if not lines:
        return {}
    if form.delimiter != "\t":
        return {number: line.split(form.delimiter) for number, line in lines.items()}
    width = next(iter(lines.values())).count("\t") + 1
    try:
        return split_rows(path, lines, (width,))
    except InputError as error:
        hint = ".\nIf its fields stand in quotes, write quotes = true" if '"' in text else ""
        raise InputError(f"{error}{hint}") from None


def _check_header(path: Path, names: list[str], form: Form) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path}: two columns are called {twice[0]!r}; rename one")
    other = next((mark for mark in ";\t|," if mark != form.delimiter and mark in names[0]), None)
    if len(names) == 1 and other is not None:
        raise InputError(
            f"{path}: one column, {names[0][:60]!r}; its fields seem to be separated by {other!r}: "
            f"write delimiter = {_toml(other)}"
        )


def _toml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'


def _read_json_lines(path: Path, form: Form) -> Table:
    numbers, rows = [], []
    for number, line in enumerate(_read_text(path, form.encoding).split("\n"), 1):
        if line.strip():
            numbers.append(number)
            rows.append(parse_row(line, f"{path}, line {number}"))
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(path, "line", numbers, {name: [row.get(name) for row in rows] for name in names})


def _read_parquet(path: Path, form: Form) -> Table:
    import pyarrow
    from pyarrow import parquet  # slow to import

    try:
        parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
        columns = pyarrow.concat_tables(map(parquet.read_table, parts)).to_pydict()
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: cannot be read as Parquet ({reason:.120}); write it again") from None
    rows = len(next(iter(columns.values()), []))
    return Table(path, "row", list(range(1, rows + 1)), columns)


FORMATS: dict[str, Callable[[Path, Form], Table]] = {
    ".tsv": lambda path, form: _read_delimited(path, form, "\t", False),
    ".csv": lambda path, form: _read_delimited(path, form, ",", True),
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
"""Ending of a file's name -> its reader."""
