"""The kinds of text that a corpus is read from, told apart by their first bytes, and where documents end in each.

WikiExtractor's `<doc ...>` elements, JSON lines, an array of JSON objects, and plain text with blank lines between
documents. Data that is none of these but would pass for plain text, such as a table, is refused.
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
"""How documents are found: by the kind of text that the first bytes show, at blank lines, or one in each file."""
Kind = Literal["wikiextractor", "jsonl", "array", "text", "file"]

_WIDE = rb"\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2(?:\x80[\x80-\x8a\xa8\xa9\xaf]|\x81\x9f)|\xe3\x80\x80"
_NARROW, _NARROW_OR_END = rb"[\t\x0b-\r\x1c-\x20]*", rb"[\t-\r\x1c-\x20]*"
# White space that is not ASCII is tried last, which is for speed.
_BLANK_LINE = rb"\n" + _NARROW + rb"(?:\n|(?:(?:" + _WIDE + rb")" + _NARROW + rb")+\n)"
_GAP = _NARROW_OR_END + rb"(?:(?:" + _WIDE + rb")" + _NARROW_OR_END + rb")*"
"""All that `str.strip` takes off in UTF-8."""
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
"""Share of NUL bytes from which on a file is no text; UTF-16 has a half."""
_ROWS, _FEWEST, _FEWEST_SPACED = 20, 3, 10
"""Lines that are looked at, and that make a table: more where a space follows the delimiter, as it does in prose."""
_DELIMITERS = {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar"}


def kind_of(name: str, head: bytes, documents: Documents) -> Kind:
    """The kind of a file with these first bytes, without a byte-order mark.

    Raises:
        InputError: it is no text in UTF-8, or is JSON or a table that cannot be read as documents.
    """
    start = head.lstrip()
    if _is_binary(head) or _MARKUP.match(start):
        raise InputError(
            f"{name} is of no kind that is known: text must be UTF-8, and WikiExtractor's output, JSON lines, or plain "
            "with blank lines between documents; as it is or as .gz, .xz, .zst or .bz2, also inside .tar"
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
    """The place behind the last whole document at the beginning of some data; 0 if there is none."""
    if kind == "array":
        return max((end for _, end in _items(data)), default=0)
    return max((match.end() for match in _SEPARATORS[kind].finditer(data)), default=0) if kind != "file" else 0


def spans(kind: Kind, data: bytes) -> list[tuple[int, int]]:
    """Begin and end of each document in data that holds whole ones, without white space before it."""
    if kind == "array":
        return list(_items(data))
    found, start = [], 0
    separators = _SEPARATORS[kind].finditer(data) if kind != "file" else ()
    for end, after in [*(match.span() for match in separators), (len(data),) * 2]:
        # Data may begin with white space that was cut from the separator before it.
        start = _skip_space(data, start, end)
        if start < end:
            found.append((start, end))
        start = after
    return found


def endless(name: str, offset: int, kind: Kind) -> InputError:
    """The error for a document that does not end."""
    return InputError(f"{name}: the document at byte {offset} has no end: {_ENDS[kind]}")


def check_rest(name: str, offset: int, kind: Kind, rest: bytes) -> bool:
    """Whether what follows the last separator of a file is a document.

    Raises:
        InputError: it is one that is not finished.
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
    """Begin and end of the objects that are whole, one after the other, in a part of a JSON array."""
    text = data.decode("latin-1")  # a character a byte, and JSON's own marks are ASCII
    end = 0
    while match := _BEFORE_ITEM.match(text, end):
        try:
            _, end = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            return
        yield match.end(), end


def _is_binary(head: bytes) -> bool:
    """Whether a file is no text. A text with a stray NUL is one: control characters are left out when it is read."""
    if b"\0" not in head:
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return head.count(b"\0") > _NULS * len(head)


def _refuse_data(name: str, text: str, is_whole: bool) -> None:
    """Refuse what would pass for plain text and is data.

    Args:
        text: the beginning of a file.
        is_whole: whether that is all of it.
    """
    plain = "; if it is plain text, with blank lines between documents: --documents blank-lines"
    if _is_list(text.strip(), is_whole):
        raise InputError(
            f"{name} is a JSON array of something else than objects; make it JSON lines, each such as "
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
    """The delimiter, rows and columns where the first lines look like those of a table."""
    for delimiter, called in _DELIMITERS.items():
        rows = _rows(text.rstrip(), delimiter)
        if not is_whole and len(rows) < _ROWS:
            rows = rows[:-1]
        widths = {len(row) for row in rows}
        # What stands in the first column of a text whose paragraphs begin with a tab is nothing.
        if len(widths) != 1 or max(widths) < 2 or not any(row[0].strip() for row in rows):
            continue
        spaced = delimiter != "\t" and any(field[:1].isspace() for row in rows for field in row[1:])
        if len(rows) >= (_FEWEST_SPACED if spaced else _FEWEST):
            return called, len(rows), widths.pop()
    return None


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows of a table; with tabs between its columns, a quotation mark is a character like any other."""
    if delimiter == "\t":
        return [line.split("\t") for line in text.split("\n", _ROWS)[:_ROWS]]
    try:
        return list(itertools.islice(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), _ROWS))
    except csv.Error:
        return []
