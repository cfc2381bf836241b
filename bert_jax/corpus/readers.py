"""Raw text as a stream: files, compressed or in archives, to blocks of whole documents, to documents.

A reader cuts its input into blocks at the ends of documents and looks no closer, so that one process can feed many
that do. Three kinds of text are told apart by their first bytes: WikiExtractor's `<doc ...>` elements, JSON lines, and
plain text with blank lines between documents. Data sets of TFDS are read by `rows`, as blocks too.
"""

import contextlib
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bert_jax.corpus.archives import Stream, is_hidden, read_members, reading
from bert_jax.errors import InputError

Kind = Literal["wikiextractor", "jsonl", "text"]

_PIECE = 1 << 20
"""Bytes read at a time, and about the size of a chunk, at most."""
_LONGEST = 32 << 20
"""Bytes without the end of a document that are taken for a mistake."""
_SEPARATORS = {
    "wikiextractor": re.compile(rb"\n</doc>\s*"),
    "jsonl": re.compile(rb"\n\s*"),
    "text": re.compile(rb"\n[ \t\r]*\n\s*"),
}
_ENDS = {"wikiextractor": "a line </doc>", "jsonl": "a new line", "text": "a blank line"}
_BOM = b"\xef\xbb\xbf"
_MARKUP = re.compile(rb"<(\?xml|!doctype|html|mediawiki)", re.IGNORECASE)
_TITLE = re.compile(r'title="(.*)"')


class Chunk(NamedTuple):
    """Whole documents as they stand in a file."""

    name: str
    """The file; in an archive, archive:member."""
    offset: int
    """Where in the unpacked file its first byte stands."""
    kind: Kind
    data: bytes


class Rows(NamedTuple):
    """Some rows of a data set of TFDS, each a document; they are read where they are needed."""

    name: str
    folder: str
    """Where it is prepared."""
    first: int
    last: int
    """Exclusive."""


class Block(NamedTuple):
    """What is worked on at a time: parts of one or more sources, about as much text as any other block."""

    parts: tuple[Chunk | Rows, ...]
    position: int
    """Bytes of the sources, as they are stored, that were read up to its end."""


class Source(NamedTuple):
    """A file, or a data set of TFDS (of which `path` is the folder where it is prepared)."""

    name: str
    path: Path
    size: int
    """In bytes, as it is stored."""
    rows: int | None = None
    """Of a data set."""


def find_sources(inputs: Sequence[str]) -> list[Source]:
    """What the inputs name: files, all files of a folder in sorted order but for hidden ones, and `tfds:NAME`.

    Raises:
        InputError: there is no such path or data set, or no file in a folder.
    """
    sources: list[Source] = []
    for name in inputs:
        if name.startswith("tfds:"):
            # It brings TFDS, which takes seconds to import.
            from bert_jax.corpus.tfds_text import find_rows

            sources.append(find_rows(name))
            continue
        files = _files(Path(name))
        if not files:
            raise InputError(f"{name} has no files; --input takes files, folders with files and tfds:NAME")
        with reading(name):
            sources += [Source(str(file), file, file.stat().st_size) for file in files]
    return sources


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"there is no {path}; --input takes files, folders and tfds:NAME")
    if not path.is_dir():
        return [path]
    inside = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in inside if not is_hidden(file.relative_to(path)))


def read_blocks(sources: Iterable[Source], size: int) -> Iterator[Block]:
    """The sources in order, cut into blocks of at least `size` bytes of unpacked text; never a whole file in memory.

    Raises:
        InputError: a file cannot be read, is damaged or cut off, is of no kind that is known, or holds a document
            without end.
    """
    parts: list[Chunk | Rows] = []
    filled = before = position = 0
    for source in sources:
        for part, part_size, read in _read_rows(source, size) if source.rows is not None else _read_file(source, size):
            parts.append(part)
            filled, position = filled + part_size, before + read
            if filled >= size:
                yield Block(tuple(parts), position)
                parts, filled = [], 0
        before += source.size
    if parts:
        yield Block(tuple(parts), before)


def _read_rows(source: Source, size: int) -> Iterator[tuple[Rows, int, int]]:
    assert source.rows is not None
    each = max(source.size / max(source.rows, 1), 1)
    step = max(int(size / each), 1)
    for first in range(0, source.rows, step):
        last = min(first + step, source.rows)
        yield Rows(source.name, str(source.path), first, last), int((last - first) * each), int(last * each)


def _read_file(source: Source, size: int) -> Iterator[tuple[Chunk, int, int]]:
    with reading(source.name), open(source.path, "rb") as file:
        for name, stream in read_members(file, source.name):
            for chunk in read_chunks(stream, name, size):
                yield chunk, len(chunk.data), file.tell()


def read_chunks(stream: Stream, name: str, size: int) -> Iterator[Chunk]:
    """The documents of an unpacked file in chunks of about `size` bytes, or a megabyte if that is less.

    Raises:
        InputError: it is of no kind that is known, or holds a document without end.
    """
    kind = _kind(name, stream.head)
    offset = len(stream.read(len(_BOM))) if stream.head.startswith(_BOM) else 0
    rest = b""
    while piece := stream.read(min(size, _PIECE)):
        data = rest + piece
        end = max((match.end() for match in _SEPARATORS[kind].finditer(data)), default=0)
        if end:
            yield Chunk(name, offset, kind, data[:end])
        offset, rest = offset + end, data[end:]
        if len(rest) > _LONGEST:
            raise InputError(f"{name}: the document at byte {offset} has no end: {_ENDS[kind]} must come after each")
    if rest.strip():
        if kind == "wikiextractor":
            raise InputError(f"{name}: the document at byte {offset} has no </doc>; the file seems to be cut off")
        yield Chunk(name, offset, kind, rest)


def _kind(name: str, head: bytes) -> Kind:
    head = head.removeprefix(_BOM).lstrip()
    if head.startswith(b"<doc "):
        return "wikiextractor"
    if b"\0" in head or _MARKUP.match(head):
        raise InputError(
            f"{name} is of no kind that is known: text must be UTF-8, and WikiExtractor's output, JSON lines, or plain "
            "with blank lines between documents; as it is or as .gz, .xz, .zst or .bz2, also inside .tar"
        )
    return "jsonl" if head.startswith(b"{") else "text"


def digest(block: Block) -> str:
    """SHA-256 of a block's text, or of where it is read from."""
    found = hashlib.sha256()
    for part in block.parts:
        found.update(part.data if isinstance(part, Chunk) else repr(part).encode())
    return found.hexdigest()


def read_documents(block: Block, text_field: str, bad_text: Literal["stop", "skip"]) -> Iterator[str | None]:
    """The documents of a block as they came, without the title and markup of their file; None for one that is left
    out because it is not valid UTF-8.

    Args:
        block: of `read_blocks`.
        text_field: the field of a JSON line or of a TFDS row that holds the text.
        bad_text: what to do where it is not valid UTF-8.

    Raises:
        InputError: invalid UTF-8, a line that is not a JSON object with a text, rows without that field, or
            something between WikiExtractor's documents.
    """
    for part in block.parts:
        for name, start, data in _raw(part, text_field):
            document = None
            try:
                text = data.decode()
                document = (
                    text if isinstance(part, Rows) else _PARSERS[part.kind](text, f"{name}, byte {start}", text_field)
                )
                if "\\u" in text:
                    document.encode()  # JSON can spell half of a surrogate pair, which no UTF-8 does
            except UnicodeError as error:
                if bad_text == "stop":
                    at = start + error.start if isinstance(error, UnicodeDecodeError) else start
                    raise InputError(
                        f"{name}: invalid UTF-8 at byte {at}; "
                        "correct it, or prepare another --out, without such documents, with --on-bad-text skip"
                    ) from None
                document = None
            yield document


def _raw(part: Chunk | Rows, text_field: str) -> Iterator[tuple[str, int, bytes]]:
    """Of each document where it stands (a name, and the byte there at which it begins) and its bytes."""
    if isinstance(part, Rows):
        from bert_jax.corpus.tfds_text import read_rows

        for number, content in enumerate(read_rows(part, text_field), part.first):
            yield f"{part.name}, row {number}", 0, content
        return
    start = 0
    for end, after in [*(match.span() for match in _SEPARATORS[part.kind].finditer(part.data)), (len(part.data),) * 2]:
        # A chunk may begin with white space that was cut from the separator before it.
        if data := part.data[start:end].lstrip():
            yield part.name, part.offset + end - len(data), data
        start = after


def _parse_wikiextractor(text: str, where: str, text_field: str) -> str:
    if not text.startswith("<doc "):
        raise InputError(f"{where}: expected <doc ...>, found {text[:40]!r}; is this WikiExtractor's output?")
    tag, _, body = text.partition("\n")
    title = _TITLE.search(tag)
    first, _, rest = body.partition("\n")
    return rest if title and html.unescape(first.strip()) == html.unescape(title[1].strip()) else body


def _parse_json(text: str, where: str, text_field: str) -> str:
    row: Any = None
    with contextlib.suppress(ValueError):
        row = json.loads(text)
    if not isinstance(row, dict):
        raise InputError(f"{where}: this line is not a JSON object: {text[:40]!r}; each line must be one, with a text")
    if not isinstance(row.get(text_field), str):
        raise InputError(f"{where}: no text in {text_field!r} of {', '.join(row)}; name the field with --text-field")
    return str(row[text_field])


def _parse_text(text: str, where: str, text_field: str) -> str:
    return text


_PARSERS = {"wikiextractor": _parse_wikiextractor, "jsonl": _parse_json, "text": _parse_text}
