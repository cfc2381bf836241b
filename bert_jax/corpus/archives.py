"""Stream the plain files inside compressed files and tar archives."""

import bz2
import contextlib
import gzip
import lzma
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from typing import IO, Any, Self

from bert_jax.errors import InputError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_FORMATS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": zstd.open,
    b"BZh": bz2.open,
}
"""First bytes of a compressed file -> function that opens it."""
_PIECE = 1 << 20
HEAD = 1 << 16
"""Bytes at the start of a file that can be inspected before it is read."""
_END: type[Exception] = vars(tarfile)["EOFHeaderError"]  # missing in the type stubs
_DAMAGE = (EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, gzip.BadGzipFile, zstd.ZstdError)


class Stream:
    """A binary stream whose `head` can be inspected before reading, and whose reads are short only at the end."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.head = b""
        self.head = self.read(HEAD)

    def read(self, size: int) -> bytes:
        """Read the next `size` bytes, or fewer at the end."""
        parts = [self.head[:size]]
        self.head = self.head[size:]
        size -= len(parts[0])
        while size and (part := self._raw.read(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def read_members(file: IO[bytes], name: str) -> Iterator[tuple[str, Stream]]:
    """Yield the name and stream of every plain file inside a file; read each stream before taking the next.

    Wrap this call and all reads in `reading`, which translates the errors of damaged files.
    """
    stream = Stream(file)
    for magic, unpack in _FORMATS.items():
        if stream.head.startswith(magic):
            yield from read_members(unpack(stream), name)
            return
    if stream.head[257:262] != b"ustar":
        yield name, stream
        return
    archive: Any = stream
    tar: Any  # its list of members is missing in the type stubs
    with tarfile.open(fileobj=archive, mode="r|", tarinfo=_Member) as tar:
        while (member := tar.next()) is not None:
            tar.members.clear()  # they would accumulate, a kilobyte each
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None and not is_hidden(PurePosixPath(member.name)):
                yield from read_members(content, f"{name}:{member.name.removeprefix('./')}")
    while stream.read(_PIECE):  # to the end, so that the checksum of a compressed file is verified
        pass


class _Member(tarfile.TarInfo):
    """A tar member that rejects invalid headers, which `tarfile` would treat as the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if isinstance(error, _END):
                raise
            raise tarfile.ReadError(f"{error} in the archive") from error


def is_hidden(path: PurePath) -> bool:
    """Return True if any component of a path, other than `..`, begins with a dot.

    >>> is_hidden(PurePosixPath(".git/config")), is_hidden(PurePosixPath("../texts/a.txt"))
    (True, False)
    """
    return any(part.startswith(".") and part != ".." for part in path.parts)


def require_file(path: Path) -> None:
    """Refuse an existing path that cannot be read repeatedly.

    Raises:
        InputError: the path is a pipe, a device or a folder.
    """
    if path.is_dir():
        raise InputError(f"--input {path} is a folder; name a file in it")
    if not path.is_file():
        raise InputError(f"--input {path} is a pipe or device, and is read more than once; write it to a file first")


@contextlib.contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn the errors of a damaged or unreadable file into an `InputError` that names it."""
    try:
        yield
    except _DAMAGE as error:
        raise InputError(f"{name} is damaged or cut off: {error}; fetch it again") from error
    except OSError as error:
        raise InputError(f"cannot read {name}: {error.strerror or error}") from error
