"""Stream raw text: from files, compressed or in archives, to blocks of whole documents, to documents.

`read_blocks` only splits its input at the ends of documents, so that one process can feed many that parse the blocks.
The kind of text determines the ends of documents (`text_kinds`). TFDS data sets are read through `tfds_text`, as
blocks too.
"""

import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from bert_jax.corpus.archives import (
    Stream,
    is_hidden,
    read_members,
    reading,
    require_file,
)
from bert_jax.corpus.parts import Chunk, Rows, TextBlock, TextSource
from bert_jax.corpus.text_kinds import (
    Documents,
    check_rest,
    endless,
    kind_of,
    last_end,
    spans,
)
from bert_jax.errors import InputError
from bert_jax.json_lines import InvalidTextError, parse_row, text_of

_PIECE = 1 << 20
"""Bytes read at a time, and the approximate maximum size of a chunk."""
_LONGEST = 32 << 20
"""Length in bytes above which a document counts as an error."""
_BOM = b"\xef\xbb\xbf"
_TITLE = re.compile(r'title="(.*)"')


def find_sources(inputs: Sequence[str]) -> list[TextSource]:
    """Resolve inputs to sources: files, all files of a folder in sorted order except hidden ones, and `tfds:NAME`.

    Raises:
        InputError: a path or data set does not exist, or a folder has no files.
    """
    sources: list[TextSource] = []
    for name in inputs:
        if name.startswith("tfds:"):
            # Importing TFDS takes seconds.
            from bert_jax.corpus.tfds_text import find_rows

            sources.append(find_rows(name))
            continue
        files = _files(Path(name))
        if not files:
            raise InputError(f"{name} has no files; --input takes files, folders with files and tfds:NAME")
        with reading(name):
            sources += [TextSource(str(file), file, file.stat().st_size) for file in files]
    return sources


def require_outside(out: str, inputs: Sequence[str]) -> None:
    """Refuse an output folder inside an input folder, where a resumed preparation would read it as text.

    Raises:
        InputError: `out` is one of the input folders, or inside one.
    """
    for name in inputs:
        if "://" not in out and Path(name).is_dir() and Path(out).resolve().is_relative_to(Path(name).resolve()):
            raise InputError(f"--out {out} is inside --input {name}, and would be read as text; write it elsewhere")


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(f"there is no {path}; --input takes files, folders and tfds:NAME")
    if not path.is_dir():
        require_file(path)
        return [path]
    inside = (file for file in path.rglob("*") if file.is_file())
    return sorted(file for file in inside if not is_hidden(file.relative_to(path)))


def read_blocks(sources: Iterable[TextSource], size: int, documents: Documents = "auto") -> Iterator[TextBlock]:
    """Split the sources, in order, into blocks of at least `size` bytes of unpacked text; no file is read as a whole.

    Args:
        sources: sources from `find_sources`.
        size: minimum size of a block in bytes.
        documents: rule to find the documents of a file.

    Raises:
        InputError: a file cannot be read, is damaged or cut off, is of an unknown kind, or holds a document without
            end.
    """
    parts: list[Chunk | Rows] = []
    filled = before = position = 0
    for source in sources:
        found = _read_rows(source, size) if source.rows is not None else _read_file(source, size, documents)
        for part, part_size, read in found:
            parts.append(part)
            filled, position = filled + part_size, before + read
            if filled >= size:
                yield TextBlock(tuple(parts), position)
                parts, filled = [], 0
        before += source.size
    if parts:
        yield TextBlock(tuple(parts), before)


def _read_rows(source: TextSource, size: int) -> Iterator[tuple[Rows, int, int]]:
    assert source.rows is not None
    each = max(source.size / max(source.rows, 1), 1)
    step = max(int(size / each), 1)
    for first in range(0, source.rows, step):
        last = min(first + step, source.rows)
        yield Rows(source.name, str(source.path), first, last), int((last - first) * each), int(last * each)


def _read_file(source: TextSource, size: int, documents: Documents) -> Iterator[tuple[Chunk, int, int]]:
    with reading(source.name), open(source.path, "rb") as file:
        for name, stream in read_members(file, source.name):
            for chunk in read_chunks(stream, name, size, documents):
                yield chunk, len(chunk.data), file.tell()


def read_chunks(stream: Stream, name: str, size: int, documents: Documents = "auto") -> Iterator[Chunk]:
    """Split an unpacked file into chunks of whole documents, each of about `size` bytes or a megabyte if that is less.

    Raises:
        InputError: the file is of an unknown kind, or holds a document without end.
    """
    offset = len(stream.read(len(_BOM))) if stream.head.startswith(_BOM) else 0
    kind = kind_of(name, stream.head, documents)
    rest, line = b"", 1
    while piece := stream.read(min(size, _PIECE)):
        data = rest + piece
        end = last_end(kind, data)
        if end:
            yield Chunk(name, offset, line, kind, data[:end])
        offset, line, rest = offset + end, line + data.count(b"\n", 0, end), data[end:]
        if len(rest) > _LONGEST:
            raise endless(name, offset, kind)
    if check_rest(name, offset, kind, rest):
        yield Chunk(name, offset, line, kind, rest)


def digest(block: TextBlock) -> str:
    """Return the SHA-256 of a block's text, or of the row ranges of a TFDS data set."""
    found = hashlib.sha256()
    for part in block.parts:
        found.update(part.data if isinstance(part, Chunk) else repr(part).encode())
    return found.hexdigest()


def read_documents(block: TextBlock, text_field: str, bad_text: Literal["stop", "skip"]) -> Iterator[str | None]:
    """Yield the raw documents of a block, without the title and markup of their file format; None for a document that
    is skipped because it is not valid UTF-8.

    Args:
        block: a block from `read_blocks`.
        text_field: the field of a JSON line or of a TFDS row that holds the text.
        bad_text: action for a document that is not valid UTF-8.

    Raises:
        InputError: a document is not valid UTF-8, a line is not a JSON object with a text, rows lack that field, or
            there is text between WikiExtractor's documents.
    """
    for part in block.parts:
        for place, data in _raw(part, text_field):
            try:
                text = data.decode()
                yield text if isinstance(part, Rows) else _PARSERS[part.kind](text, place, text_field)
            except (UnicodeDecodeError, InvalidTextError) as error:
                if bad_text == "stop":
                    raise InputError(
                        f"{_reason(place, error)}; "
                        "correct it, or prepare another --out, without such documents, with --on-bad-text skip"
                    ) from None
                yield None


class _Place(NamedTuple):
    """Position of a document, formatted for error messages."""

    part: Chunk | Rows
    start: int
    """Byte offset in the unpacked file, or row of the data set."""

    def __str__(self) -> str:
        if isinstance(self.part, Rows):
            return f"{self.part.name}, row {self.start}"
        line = self.part.line + self.part.data.count(b"\n", 0, self.start - self.part.offset)
        return f"{self.part.name}, line {line}, byte {self.start}"


def _reason(place: _Place, error: UnicodeDecodeError | InvalidTextError) -> str:
    if isinstance(error, InvalidTextError):
        return str(error).rpartition(";")[0]
    if isinstance(place.part, Rows):
        return f"{place}: invalid UTF-8"
    return f"{place.part.name}: invalid UTF-8 at byte {place.start + error.start}"


def _raw(part: Chunk | Rows, text_field: str) -> Iterator[tuple[_Place, bytes]]:
    """Yield the position and the bytes of each document."""
    if isinstance(part, Rows):
        from bert_jax.corpus.tfds_text import read_rows

        for number, content in enumerate(read_rows(part, text_field), part.first):
            yield _Place(part, number), content
        return
    for start, end in spans(part.kind, part.data):
        yield _Place(part, part.offset + start), part.data[start:end]


def _parse_wikiextractor(text: str, where: object, text_field: str) -> str:
    if not text.startswith("<doc "):
        raise InputError(f"{where}: expected <doc ...>, found {text[:40]!r}; is this WikiExtractor's output?")
    tag, _, body = text.partition("\n")
    title = _TITLE.search(tag)
    first, _, rest = body.partition("\n")
    return rest if title and html.unescape(first.strip()) == html.unescape(title[1].strip()) else body


def _parse_json(text: str, where: object, text_field: str) -> str:
    return text_of(parse_row(text, where), text_field, where, "name the field with --text-field, or correct it")


def _parse_text(text: str, where: object, text_field: str) -> str:
    return text


_PARSERS = {
    "wikiextractor": _parse_wikiextractor,
    "jsonl": _parse_json,
    "array": _parse_json,
    "text": _parse_text,
    "file": _parse_text,
}
