"""A folder at an address: gs://bucket/run, s3://bucket/run, file:///mnt/run, or any other that fsspec knows."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from bert_jax.errors import InputError
from bert_jax.files import PARTIAL, write_whole
from bert_jax.json_object import require_shape

_PIECE = 1 << 25
"""Bytes of a file that are asked for at a time."""


class RemoteError(InputError):
    """An operation on a remote folder failed; the same may succeed later."""


class Damaged(InputError):
    """A file of a remote folder is missing, or is not what its list says."""


class Entry(NamedTuple):
    """A file of a remote folder, its size in bytes and its checksum."""

    file: str
    bytes: int
    sha256: str


def read_entries(rows: Any, where: str) -> list[Entry]:
    """The files that a list from a remote folder names, as parsed from JSON: objects with file, bytes and sha256.

    Args:
        rows: the list; other fields of its objects are not read.
        where: where it stands, for messages.

    Raises:
        Damaged: it is no such list, or a name leads out of the folder.
    """
    try:
        require_shape(rows, ({"file": str, "bytes": int, "sha256": str},), where)
    except InputError as error:
        raise Damaged(str(error)) from None
    found = [Entry(row["file"], row["bytes"], row["sha256"]) for row in rows]
    for row in found:
        path = PurePosixPath(row.file)
        if path.is_absolute() or ".." in path.parts or not path.parts:  # it would be written to another folder here
            raise Damaged(f"{where}: {row.file!r} is not the name of a file in this folder")
    return found


def is_address(place: object) -> bool:
    """True for an address with a scheme, False for a path."""
    return "://" in str(place)


class Remote:
    """A folder at an address. Names of files are relative to it, with slashes.

    Args:
        address: the address.
        flag: where the user gave it, for messages.

    Raises:
        InputError: the library for the address is missing, or its scheme is unknown.
    """

    def __init__(self, address: str, flag: str) -> None:
        self._name = f"{flag} {address}"
        try:
            import fsspec  # slow, and not needed by most commands

            # Without a cache, what others have written since is seen.
            self._fs, root = fsspec.core.url_to_fs(address, use_listings_cache=False)
        except ImportError as error:
            raise InputError(f"{self._name}: {error}; pip install 'bert_jax[mirror]'") from None
        except ValueError as error:
            raise InputError(f"{self._name}: {error}; use gs://BUCKET/FOLDER, s3://... or file://...") from None
        self._root = str(root).rstrip("/")
        self._is_local = bool(getattr(self._fs, "local_file", False))

    def names(self) -> list[str]:
        """Every file in the folder and below.

        Raises:
            RemoteError: they cannot be listed.
        """
        with self._failing("be listed"):
            try:
                found = self._fs.find(self._root)
            except FileNotFoundError:
                return []
            return sorted(str(name).removeprefix(self._root).lstrip("/") for name in found)

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None if it does not exist.

        Raises:
            RemoteError: it cannot be read.
        """
        with self._failing(f"give {name}"):
            try:
                content: bytes = self._fs.cat_file(self._at(name))
            except FileNotFoundError:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, which appears whole.

        Raises:
            RemoteError: it cannot be written.
        """
        with self._failing(f"take {name}"):
            place = self._place_for(name)
            if self._is_local:  # which, unlike a bucket, would show half of it
                write_whole(Path(place), lambda file: file.write(content))
            else:
                self._fs.pipe_file(place, content)

    def send(self, name: str, path: Path) -> Entry:
        """Copy a file of any size there.

        Raises:
            RemoteError: it cannot be written.
            OSError: the file cannot be read.
        """
        with open(path, "rb") as file:
            digest, size = hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
        with self._failing(f"take {name}"):
            self._fs.put_file(str(path), self._place_for(name))
        return Entry(name, size, digest)

    def bring(self, row: Entry, path: Path) -> None:
        """Copy a file of any size from there; it appears once it is whole and has its checksum.

        What an earlier call got before it was interrupted is not fetched again.

        Raises:
            Damaged: it is missing, or differs from its size or checksum.
            RemoteError: it cannot be read.
            OSError: the file cannot be written.
        """
        partial = path.with_name(path.name + PARTIAL)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "a+b") as file:
            file.truncate(min(file.tell(), row.bytes))
            file.seek(0)
            digest = hashlib.sha256()
            while piece := file.read(_PIECE):
                digest.update(piece)
            earlier = file.tell()
            for start in range(earlier, row.bytes, _PIECE):
                piece = self._piece(row.file, start, min(start + _PIECE, row.bytes))
                file.write(piece)
                digest.update(piece)
        if digest.hexdigest() != row.sha256:
            partial.unlink()
            if not earlier:
                raise Damaged(f"{self._name}: {row.file} differs from its checksum")
            self.bring(row, path)  # what was here may have been something else
        else:
            partial.replace(path)

    def _piece(self, name: str, start: int, end: int) -> bytes:
        with self._failing(f"give {name}"):
            try:
                piece: bytes = self._fs.cat_file(self._at(name), start=start, end=end)
            except FileNotFoundError:
                piece = b""
        if len(piece) != end - start:
            raise Damaged(f"{self._name}: {name} is missing or too short")
        return piece

    def remove(self, name: str) -> None:
        """Remove a file or a folder, if it exists.

        Raises:
            RemoteError: it cannot be removed.
        """
        with self._failing(f"remove {name}"), suppress(FileNotFoundError):
            self._fs.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _place_for(self, name: str) -> str:
        """Where to write a file; a bucket has no folders that must be there."""
        place = self._at(name)
        if self._is_local:
            Path(place).parent.mkdir(parents=True, exist_ok=True)
        return place

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Explain errors, of which every library behind fsspec has its own."""
        try:
            yield
        except Exception as error:
            reason: Any = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), "")
            raise RemoteError(f"{self._name} cannot {what}: {reason or type(error).__name__}") from error
