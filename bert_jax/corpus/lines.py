"""Stream the texts of a file with one text per line, plain or JSON, uncompressed or compressed."""

from collections.abc import Iterator
from pathlib import Path

from bert_jax.corpus.archives import Stream, read_members, reading, require_file
from bert_jax.errors import InputError
from bert_jax.json_lines import parse_row, text_of

_PIECE = 1 << 20
_LONGEST = 32 << 20
"""Length in bytes above which a line counts as an error."""


def read_lines(path: Path, field: str | None = None, skip: int = 0) -> Iterator[str]:
    """Yield the text of every line, including empty ones; the file is never in memory as a whole.

    Args:
        path: a file, also as .gz, .xz, .zst or .bz2.
        field: name of the text field if each line is a JSON object; None for plain text.
        skip: number of lines to skip at the beginning without checking them.

    Raises:
        InputError: the file is missing, damaged or a pipe; or a line is not UTF-8, too long, or has no such field.
    """
    if not path.exists():
        raise InputError(f"there is no file {path}")
    require_file(path)
    with reading(str(path)), open(path, "rb") as file:
        for name, stream in read_members(file, str(path)):
            if name != str(path):
                raise InputError(f"{path} is an archive; unpack it, and give a file with a text a line")
            for number, line in enumerate(_split(stream, name), start=1):
                if number > skip:
                    yield _text(line, field, f"{name}, line {number}")


def blocks(texts: Iterator[str], rows: int, characters: int) -> Iterator[list[str]]:
    """Group texts into lists of at most `rows` texts; a list is closed once it holds `characters` characters.

    >>> list(blocks(iter(["a", "b", "cdefgh", "i"]), 2, 5))
    [['a', 'b'], ['cdefgh'], ['i']]
    """
    block: list[str] = []
    held = 0
    for text in texts:
        block.append(text)
        held += len(text)
        if len(block) == rows or held >= characters:
            yield block
            block, held = [], 0
    if block:
        yield block


def _split(stream: Stream, name: str) -> Iterator[bytes]:
    rest, number = b"", 0
    while piece := stream.read(_PIECE):
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
        number += len(lines)
        if len(rest) > _LONGEST:
            raise InputError(f"{name}, line {number + 1} is longer than {_LONGEST >> 20} MB; is this a text a line?")
    if rest:
        yield rest


def _text(line: bytes, field: str | None, where: str) -> str:
    try:
        text = line.removesuffix(b"\r").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is not UTF-8 ({error.reason} at byte {error.start + 1}); convert the file") from None
    if field is None:
        return text
    return text_of(parse_row(text, where), field, where, "name the field with --field, or correct the line")
