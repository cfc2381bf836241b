"""Raw text as a stream: files, compressed or in archives, to blocks of whole documents, to documents.

A reader cuts its input into blocks at the ends of documents and looks no closer, so that one process can feed many
that do. Three kinds of text are told apart by their first bytes: WikiExtractor's `<doc ...>` elements, JSON lines, and
plain text with blank lines between documents.
"""

import bz2
import contextlib
import gzip
import hashlib
import html
import json
import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

from bert_jax.errors import InputError

Kind = Literal["wikiextractor", "jsonl", "text"]

_PIECE = 1 << 20
"""Bytes read at a time, and about the size of a chunk."""
_LONGEST = 32 << 20
"""Bytes without the end of a document that are taken for a mistake."""
_SEPARATORS = {
    "wikiextractor": re.compile(rb"\n</doc>\s*"),
    "jsonl": re.compile(rb"\n\s*"),
    "text": re.compile(rb"\n[ \t\r]*\n\s*"),
}
_COMPRESSIONS = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}
_BOM = b"\xef\xbb\xbf"
_MARKUP = re.compile(rb"\s*<(\?xml|!doctype|html|mediawiki)", re.IGNORECASE)
_TITLE = re.compile(r'title="(.*)"')


class Chunk(NamedTuple):
    """Whole documents as they stand in a file."""

    name: str
    """The file; in an archive, archive:member."""
    offset: int
    """Where in the unpacked file its first byte stands."""
    kind: Kind
    data: bytes


class Block(NamedTuple):
    """What is worked on at a time: chunks of one or more files, of about the same size together."""

    chunks: tuple[Chunk, ...]
    position: int
    """Bytes of the input files, as they are stored, that were read up to its end."""


def find_files(inputs: Sequence[str]) -> list[Path]:
    """The files that the inputs name, those of a folder in sorted order and without hidden ones.

    Raises:
        InputError: there is no such path.
    """
    files: list[Path] = []
    for path in map(Path, inputs):
        if not path.exists():
            raise InputError(f"there is no {path}; --input takes files, folders and tfds:NAME")
        if path.is_dir():
            inside = (file for file in path.rglob("*") if file.is_file())
            files += sorted(file for file in inside if not file.relative_to(path).as_posix().startswith("."))
        else:
            files.append(path)
    return files


def read_blocks(files: Sequence[Path], size: int) -> Iterator[Block]:
    """The files in order, cut into blocks of at least `size` bytes of unpacked text; never a whole file in memory.

    Raises:
        InputError: a file cannot be read, is damaged or cut off, is of no kind that is known, or holds a document
            without end.
    """
    chunks: list[Chunk] = []
    filled = before = 0
    for path in files:
        with _reading(str(path)), open(path, "rb") as file:
            for name, stream in _members(_Stream(file), str(path)):
                for chunk in _chunks(name, stream):
                    chunks.append(chunk)
                    filled += len(chunk.data)
                    if filled >= size:
                        yield Block(tuple(chunks), before + file.tell())
                        chunks, filled = [], 0
            before += file.tell()
    if chunks:
        yield Block(tuple(chunks), before)


class _Stream:
    """A binary stream whose first bytes can be looked at, and that reads short only at its end."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.head = b""
        self.head = self.read(512)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            head, self.head = self.head, b""
            return head + self._raw.read()
        parts, size = [self.head[:size]], size - len(self.head[:size])
        self.head = self.head[len(parts[0]) :]
        while size and (part := self._raw.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _members(stream: _Stream, name: str) -> Iterator[tuple[str, _Stream]]:
    """The plain files in a stream: what is compressed is unpacked, an archive gives all its members."""
    for magic, unpack in _COMPRESSIONS.items():
        if stream.head.startswith(magic):
            unpacked: Any = unpack(stream)  # type: ignore[operator]
            yield from _members(_Stream(unpacked), name)
            return
    if stream.head[257:262] != b"ustar":
        yield name, stream
        return
    archive: Any = stream
    with tarfile.open(fileobj=archive, mode="r|") as tar:
        for member in tar:
            if member.isfile():
                file: Any = tar.extractfile(member)
                yield from _members(_Stream(file), f"{name}:{member.name.removeprefix('./')}")


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """What a damaged file raises becomes an `InputError` that names it."""
    try:
        yield
    except (EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{name} is damaged or cut off: {error}; fetch it again") from error
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error


def _kind(name: str, head: bytes) -> Kind:
    head = head.removeprefix(_BOM).lstrip()
    if head.startswith(b"<doc "):
        return "wikiextractor"
    if b"\0" in head or _MARKUP.match(head):
        raise InputError(
            f"{name} is of no kind that is known: it must be UTF-8, and WikiExtractor's output, JSON lines, or plain "
            "text with blank lines between documents; plain or .gz, .xz, .zst, .bz2, also inside .tar"
        )
    return "jsonl" if head.startswith(b"{") else "text"


def _chunks(name: str, stream: _Stream) -> Iterator[Chunk]:
    kind = _kind(name, stream.head)
    offset, rest = 0, b""
    if stream.head.startswith(_BOM):
        offset = len(stream.read(len(_BOM)))
    while piece := stream.read(_PIECE):
        data = rest + piece
        end = max((match.end() for match in _SEPARATORS[kind].finditer(data)), default=0)
        if end:
            yield Chunk(name, offset, kind, data[:end])
        offset, rest = offset + end, data[end:]
        if len(rest) > _LONGEST:
            wanted = {"wikiextractor": "a line </doc>", "jsonl": "a new line", "text": "a blank line"}[kind]
            raise InputError(f"{name}: the document at byte {offset} has no end: {wanted} must come after each")
    if rest.strip():
        if kind == "wikiextractor":
            raise InputError(f"{name}: the document at byte {offset} has no </doc>; the file seems to be cut off")
        yield Chunk(name, offset, kind, rest)


def digest(block: Block) -> str:
    """SHA-256 of a block's text."""
    found = hashlib.sha256()
    for chunk in block.chunks:
        found.update(chunk.data)
    return found.hexdigest()


def documents(block: Block, text_field: str, bad_text: Literal["stop", "skip"]) -> Iterator[str | None]:
    """The documents of a block as they came, without the title and markup of their file; None for one that is left
    out because it is not valid UTF-8.

    Raises:
        InputError: invalid UTF-8 (unless it is to be skipped), a line that is not a JSON object with a text, or
            something between WikiExtractor's documents.
    """
    for chunk in block.chunks:
        for start, data in _split(chunk):
            where = f"{chunk.name}, byte {chunk.offset + start}"
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                if bad_text == "skip":
                    yield None
                    continue
                raise InputError(
                    f"{chunk.name}: invalid UTF-8 at byte {chunk.offset + start + error.start}; "
                    "correct it, or leave such documents out with --on-bad-text skip"
                ) from None
            yield _PARSERS[chunk.kind](text, where, text_field)


def _split(chunk: Chunk) -> Iterator[tuple[int, bytes]]:
    """Where each document begins, and its bytes."""
    start = 0
    for match in _SEPARATORS[chunk.kind].finditer(chunk.data):
        yield start, chunk.data[start : match.start()]
        start = match.end()
    if chunk.data[start:].strip():
        yield start, chunk.data[start:]


def _parse_wikiextractor(text: str, where: str, text_field: str) -> str:
    if not text.startswith("<doc "):
        raise InputError(f"{where}: expected <doc ...>, found {text[:40]!r}; is this WikiExtractor's output?")
    tag, _, body = text.partition("\n")
    title = _TITLE.search(tag)
    first, _, rest = body.partition("\n")
    return rest if title and html.unescape(first) == html.unescape(title[1]) else body


def _parse_json(text: str, where: str, text_field: str) -> str:
    try:
        row = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: this line is not JSON: {error}") from None
    if not isinstance(row, dict) or not isinstance(row.get(text_field), str):
        fields = ", ".join(row) if isinstance(row, dict) else type(row).__name__
        raise InputError(f"{where}: no text in field {text_field!r} (found: {fields}); name it with --text-field")
    return str(row[text_field])


def _parse_text(text: str, where: str, text_field: str) -> str:
    return text


_PARSERS = {"wikiextractor": _parse_wikiextractor, "jsonl": _parse_json, "text": _parse_text}
