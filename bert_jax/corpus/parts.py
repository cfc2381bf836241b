"""Sources of text, and the parts that they are cut into."""

from pathlib import Path
from typing import NamedTuple

from bert_jax.corpus.text_kinds import Kind


class Chunk(NamedTuple):
    """Whole documents as they stand in a file."""

    name: str
    """The file; in an archive, archive:member."""
    offset: int
    """Where in the unpacked file its first byte stands."""
    line: int
    """The number of the line that its first byte is on."""
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
