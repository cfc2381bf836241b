"""Detect the kind of a text file from its first bytes, and find the ends of its documents.

The kinds are WikiExtractor's `<doc ...>` elements, JSON lines, an array of JSON objects, and plain text with blank
lines between documents. Other data that looks like plain text, such as a table, is refused.
"""

import codecs
import csv
import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Literal

from bert_jax.corpus.archives import HEAD
from bert_jax.errors import InputError

Documents = Literal["auto", "blank-lines", "file"]
"""Rule to find documents: by the kind of text that the first bytes show, at blank lines, or one per file."""
Kind = Literal["wikiextractor", "jsonl", "array", "text", "file"]

_WIDE = rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2(?:\x80[\x80-\x8a\xa8\xa9\xaf]|\x81\x9f)|\xe3\x80\x80"
_NARROW, _NARROW_OR_END = rb"[\t\x0b-\r\x1c-\x20]*", rb"[\t-\r\x1c-\x20]*"
# Non-ASCII white space is tried last, for speed.
_BLANK_LINE = rb"\n" + _NARROW + rb"(?:\n|(?:(?:" + _WIDE + rb")" + _NARROW + rb")+\n)"
_GAP = _NARROW_OR_END + rb"(?:(?:" + _WIDE + rb")" + _NARROW_OR_END + rb")*"
"""The white space that `str.strip` removes, in UTF-8."""
_SEPARATORS = {
    "wikiextractor": re.compile(rb"\n</doc>" + _GAP),
    "jsonl": re.compile(rb"\n" + _GAP),
    "text": re.compile(_BLANK_LINE + _GAP),
}
_LEADING = re.compile(_GAP)
_ENDS = {
    "wikiextractor": "a line </doc> must come after each",
    "jsonl": "a new line must come after each",
    "array": "each must be a JSON object",
    "text": "a blank line must come after each",
    "file": "it is too long for --documents file",
}
_MARKUP = re.compile(rb"<(\?xml|!doctype|html|mediawiki)", re.IGNORECASE)
_ARRAY = re.compile(rb'\[\s*\{\s*["}]')
_BEFORE_ITEM = re.compile(r"[\s,\[\]]*(?=\{)")
_DECODER = json.JSONDecoder()
_NULS = 0.1
"""Share of NUL bytes above which a file counts as binary; in UTF-16 it is about one half."""
_ROWS, _FEWEST, _FEWEST_SPACED = 20, 3, 10
"""Lines inspected, and lines that make a table: more if a space follows the delimiter, as in prose."""
_DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}


def kind_of(name: str, head: bytes, documents: Documents) -> Kind:
    """Detect the kind of a file from its first bytes, without a byte-order mark.

    Raises:
        InputError: the file is not UTF-8 text, or is JSON or a table that cannot be read as documents.
    """
    start = head.lstrip()
    if _is_binary(head) or _MARKUP.match(start):
        raise InputError(
            f"{name} is not a known kind of text: it must be UTF-8, and WikiExtractor's output, JSON lines, or plain "
            "text with blank lines between documents; uncompressed or as .gz, .xz, .zst or .bz2, also inside .tar"
        )
    if b"\r" in start and b"\n" not in start:
        raise InputError(f"{name}: its lines end with a carriage return alone; convert it: tr '\\r' '\\n' < FILE > NEW")
    if documents != "auto":
        return "file" if documents == "file" else "text"
    if start.startswith(b"<doc "):
        return "wikiextractor"
    if start.startswith(b"{"):
        return "jsonl"
    if _ARRAY.match(start):
        return "array"
    _refuse_data(name, head.decode("utf-8", "replace"), is_whole=len(head) < HEAD)
    return "text"


def last_end(kind: Kind, data: bytes) -> int:
    """Return the end offset of the last whole document in data that starts with a document; 0 if there is none."""
    if kind == "array":
        return max((end for _, end in _items(data)), default=0)
    return max((match.end() for match in _SEPARATORS[kind].finditer(data)), default=0) if kind != "file" else 0


def spans(kind: Kind, data: bytes) -> list[tuple[int, int]]:
    """Return start and end of each document in data that holds whole documents, without leading white space."""
    if kind == "array":
        return list(_items(data))
    found, start = [], 0
    separators = _SEPARATORS[kind].finditer(data) if kind != "file" else ()
    for end, after in [*(match.span() for match in separators), (len(data),) * 2]:
        # Data may begin with white space that belongs to the separator before it.
        start = _skip_space(data, start, end)
        if start < end:
            found.append((start, end))
        start = after
    return found


def endless(name: str, offset: int, kind: Kind) -> InputError:
    """Return the error for a document without end."""
    return InputError(f"{name}: the document at byte {offset} has no end: {_ENDS[kind]}")


def check_rest(name: str, offset: int, kind: Kind, rest: bytes) -> bool:
    """Return True if the rest of a file after the last separator is a document.

    Raises:
        InputError: the rest is an unfinished document.
    """
    if kind == "wikiextractor" and rest.strip():
        raise InputError(f"{name}: the document at byte {offset} has no </doc>; the file seems to be cut off")
    if kind == "array":
        if not re.fullmatch(rb"[\],\s]*\]\s*", rest):
            start = len(rest) - len(rest.lstrip(b", ]\t\r\n"))
            found = rest[start : start + 40].decode("utf-8", "replace")
            raise InputError(
                f"{name}, byte {offset + start}: expected a JSON object or the end of the array: {found!r}"
            )
        return False
    return bool(rest.strip())


def _skip_space(data: bytes, start: int, end: int) -> int:
    match = _LEADING.match(data, start, end)
    return match.end() if match else start


def _items(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield start and end of the whole objects at the beginning of a part of a JSON array."""
    text = data.decode("latin-1")  # one character per byte; the syntax of JSON is ASCII
    end = 0
    while match := _BEFORE_ITEM.match(text, end):
        try:
            _, end = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            return
        yield match.end(), end


def _is_binary(head: bytes) -> bool:
    """Return True if a file is binary. Text with a few stray NULs is not: control characters are removed on reading."""
    if b"\0" not in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return head.count(b"\0") > _NULS * len(head)


def _refuse_data(name: str, text: str, is_whole: bool) -> None:
    """Refuse data that looks like plain text.

    Args:
        text: the beginning of a file.
        is_whole: True if that is the whole file.
    """
    plain = "; if it is plain text, with blank lines between documents: --documents blank-lines"
    if _is_list(text.strip(), is_whole):
        raise InputError(
            f"{name} is a JSON array, but not of objects; make it JSON lines, each such as "
            f'{{"text": "..."}},\nof which --text-field names the field{plain}'
        )
    table = _find_table(text, is_whole)
    if table is not None:
        raise InputError(
            f"{name} looks like a table: its first {table[1]} lines have {table[2]} {table[0]}-separated fields each.\n"
            f"Make it JSON lines, and name the column with the text with --text-field{plain}"
        )


def _is_list(text: str, is_whole: bool) -> bool:
    if not text.startswith("["):
        return False
    try:
        if is_whole:
            return isinstance(json.loads(text), list)
        first = text[1:].lstrip()
        value, end = _DECODER.raw_decode(first)
    except (ValueError, RecursionError):
        return False
    return not isinstance(value, int | float) and first[end:].lstrip()[:1] in (",", "]")


def _find_table(text: str, is_whole: bool) -> tuple[str, int, int] | None:
    """Return delimiter, rows and columns if the first lines look like a table."""
    for delimiter, called in _DELIMITERS.items():
        rows = _rows(text.rstrip(), delimiter)
        if not is_whole and len(rows) < _ROWS:
            rows = rows[:-1]
        widths = {len(row) for row in rows}
        # In prose whose paragraphs begin with a tab, the first column is empty.
        if len(widths) != 1 or max(widths) < 2 or not any(row[0].strip() for row in rows):
            continue
        spaced = delimiter != "\t" and any(field[:1].isspace() for row in rows for field in row[1:])
        if len(rows) >= (_FEWEST_SPACED if spaced else _FEWEST):
            return called, len(rows), widths.pop()
    return None


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """Parse the first rows of a table; quotation marks have no special meaning in a tab-separated one."""
    if delimiter == "\t":
        return [line.split("\t") for line in text.split("\n", _ROWS)[:_ROWS]]
    try:
        return list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _ROWS))
    except csv.Error:
        return []
