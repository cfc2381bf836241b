"""Sources of text, and the blocks that they are split into."""

from pathlib import Path
from typing import NamedTuple

from bert_jax.corpus.text_kinds import Kind


class Chunk(NamedTuple):
    """Whole documents as raw bytes of a file."""

    name: str
    """Name of the file; in an archive, archive:member."""
    offset: int
    """Offset of its first byte in the unpacked file."""
    line: int
    """Line number of its first byte, from 1."""
    kind: Kind
    data: bytes


class Rows(NamedTuple):
    """A range of rows of a TFDS data set, each a document; the worker that needs them reads them."""

    name: str
    folder: str
    """Folder of the prepared data set."""
    first: int
    last: int
    """End of the range, exclusive."""


class TextBlock(NamedTuple):
    """A unit of work: parts of one or more sources; all blocks hold about the same amount of text."""

    parts: tuple[Chunk | Rows, ...]
    position: int
    """Stored bytes of the sources read up to the end of the block."""


class TextSource(NamedTuple):
    """A file, or a TFDS data set whose `path` is its prepared folder."""

    name: str
    path: Path
    size: int
    """Stored size in bytes."""
    rows: int | None = None
    """Number of rows of a data set; None for a file."""
