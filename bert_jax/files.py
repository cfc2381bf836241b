"""Atomic writes of files and folders, JSON reading, settings of run folders, and locks.

A run folder belongs to the settings it was started with, and to one process at a time.
"""

import dataclasses
import errno
import hashlib
import json
import math
import os
import shutil
import socket
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bert_jax.errors import InputError

Json = dict[str, Any]
"""An object of JSON, read or to be written: plain values, lists and objects by name."""
Settings = Mapping[str, Any]
"""Values by name that are only read, such as settings."""

PARTIAL = ".partial"
"""Suffix of incomplete files and folders. Those left behind by a killed process may be removed."""
ELSEWHERE = "use another --out"
"""Remedy for a folder that cannot be written."""
RESTORE = "restore it, or use another --out"
"""Remedy for a run folder whose settings cannot be read."""

_JSON_NAMES: dict[type, str] = {dict: "object", list: "array"}
LOCK = ".lock"
"""Name of the lock file in a locked folder, see `Lock`."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def plain(value: object) -> Any:
    """Convert dataclasses, paths, tuples and NumPy numbers to plain JSON values; a non-finite number becomes None.

    A field with `omit_default` in its metadata is left out at its default, so that settings written before the field
    existed stay the same.
    """
    match value:
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {field.name: plain(getattr(value, field.name)) for field in _named_fields(value)}
        case dict():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case np.generic():
            return plain(value.item())
        case float() if not math.isfinite(value):
            return None
        case Path():
            return str(value)
    return value


def _named_fields(value: Any) -> list[dataclasses.Field[Any]]:
    fields = dataclasses.fields(value)
    return [f for f in fields if not (f.metadata.get("omit_default") and getattr(value, f.name) == f.default)]


def digest(value: object) -> str:
    """Return the first 12 hex digits of the SHA-256 of a value as canonical JSON; the order of keys does not matter."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def claim(path: Path, settings: Json) -> None:
    """Write the settings, plain JSON values, of a run folder to a file; an existing file must hold the same settings.

    Raises:
        InputError: the file holds other settings (each difference is listed) or cannot be read.
        OSError: the file cannot be written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_settings(path, settings)
    else:
        require_same(path.parent, "run", read_json(path, remedy=RESTORE), settings)


def write_settings(path: Path, settings: Json) -> None:
    """Write settings, plain JSON values, to a file atomically."""
    text = json.dumps(settings, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def require_same(folder: Path | str, what: str, old: Json, new: Json, flag: str = "--out") -> None:
    """Raise an error if settings differ from those a folder was started with.

    Args:
        folder: the folder or its address, for the error message.
        what: noun for what the folder holds, such as "run".
        old: settings in the folder.
        new: current settings.
        flag: the flag that another folder can be given with.

    Raises:
        InputError: the settings differ; each difference is listed.
    """
    before, after = _flat(old), _flat(new)
    missing = "absent"
    changes = [
        f"{field} was {before.get(field, missing)} and is {after.get(field, missing)}"
        for field in dict.fromkeys([*before, *after])
        if before.get(field, missing) != after.get(field, missing)
    ]
    if changes:
        raise InputError(f"{folder} holds another {what}: {'; '.join(changes)}. Use its settings, or another {flag}")


@contextmanager
def writing(folder: Path, otherwise: str = ELSEWHERE) -> Iterator[None]:
    """Turn operating-system errors into an `InputError` that names the folder and the `remedy`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and not _is_full(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
        raise InputError(f"cannot write to {folder}: {reason}; {remedy(error, otherwise)}") from None


def remedy(error: BaseException, otherwise: str = ELSEWHERE) -> str:
    """Return the advice for a write error: to make room on a full disk, or else `otherwise`."""
    return "make room, then give the same command again" if _is_full(error) else otherwise


def _is_full(error: BaseException) -> bool:
    # Rust and C++ libraries raise their own error types, which quote the system's message.
    known = isinstance(error, OSError) and error.errno in _DISK_FULL
    return known or any(os.strerror(number) in str(error) for number in _DISK_FULL)


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file atomically: after a crash it is either complete or as it was before."""
    with created(path) as file:
        write(file)


@contextmanager
def created(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write atomically, see `write_whole`; it appears at the end of a `with` block without an error."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise


def write_folder(
    folder: Path, write: Callable[[Path], None], replace: bool = False, otherwise: str = ELSEWHERE
) -> None:
    """Write a folder atomically: after a crash it is complete or absent. Parent folders are created.

    Args:
        folder: the folder to create; it may exist if it is empty.
        write: function that fills the temporary folder it is given, which is then renamed to `folder`.
        replace: remove an existing `folder` once the new one is complete.
        otherwise: advice in the error message for any error other than a full disk.

    Raises:
        InputError: the folder cannot be written.
    """
    partial = folder.with_name(f"{folder.name}{PARTIAL}")
    with writing(folder, otherwise):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            if replace:
                shutil.rmtree(folder, ignore_errors=True)
            partial.replace(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # a full disk needs the room
            raise


class Lock:
    """An exclusive lock on a folder, held while this object is referenced or until `release`.

    The operating system locks the file `.lock` in the folder, and frees the lock when the process ends for any reason.
    A killed process leaves the file behind, but no lock.

    Args:
        folder: the folder to lock; created if missing.
        wait: wait for another process to release the lock.

    Raises:
        InputError: another process holds the lock and `wait` is false; the message names its id and host.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, wait: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder.resolve() / LOCK
        handle = _lock(path, folder, wait)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        except OSError:
            _unlock(path, handle, os.getpid())
            raise
        # A forked process must not remove its parent's lock file.
        self.release = weakref.finalize(self, _unlock, path, handle, os.getpid())
        """Release the lock."""


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold a `Lock` on a folder for the duration of a `with` block."""
    lock = Lock(folder, wait)
    try:
        yield
    finally:
        lock.release()


_HELD: weakref.WeakValueDictionary[Path, Lock] = weakref.WeakValueDictionary()


def hold(folder: Path) -> Lock:
    """Return this process's lock on a folder, acquired if it holds none; all callers share it.

    Raises:
        InputError: another process holds the lock; the message names its id and host.
        OSError: the folder cannot be written.
    """
    key = folder.resolve()
    lock = _HELD.get(key)
    if lock is None:
        lock = _HELD[key] = Lock(folder)
    return lock


def _lock(path: Path, folder: Path, wait: bool) -> int:
    """Open and lock the lock file; returns its file descriptor. The file is still at `path` once it is locked."""
    import fcntl  # missing on Windows, where everything but locking works

    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if _is_at(handle, path):
                return handle
        except BlockingIOError:
            owner = os.pread(handle, 1000, 0)
            os.close(handle)
            raise InputError(_in_use(folder, owner)) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(handle)
                raise
            warnings.warn(
                f"the file system of {folder} has no locks: make sure that one process at a time writes to it",
                stacklevel=4,
            )
            return handle
        os.close(handle)  # the previous holder removed the file in the meantime


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _in_use(folder: Path, owner: bytes) -> str:
    try:
        found = parse_json(owner, LOCK)
        name = f"process {found['pid']} on {found['host']}"
    except (InputError, KeyError):
        name = "another process"  # that has not written its id yet
    return f"{folder} is in use by {name}; wait for it, end it, or use another --out"


def _unlock(path: Path, handle: int, owner: int) -> None:
    if os.getpid() == owner:
        with suppress(OSError):
            path.unlink()
    os.close(handle)


def read_json(path: Path, kind: type = dict, remedy: str = "") -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        kind: dict for an object, list for an array.
        remedy: advice that the error message ends with, such as "restore it".

    Raises:
        InputError: the file cannot be read, is not JSON, or holds a value of another kind.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}{remedy and f'; {remedy}'}") from None
    return parse_json(content, str(path), kind, remedy)


def parse_json(text: str | bytes, where: str, kind: type = dict, remedy: str = "") -> Any:
    """Parse JSON, such as a line of a file.

    Args:
        text: the JSON text; bytes are decoded as UTF-8.
        where: source of the text for the error message, such as "FILE, line N".
        kind: dict for an object, list for an array.
        remedy: advice that the error message ends with, such as "correct or delete that line".

    Raises:
        InputError: the text is not JSON, spells half of a surrogate pair, or holds a value of another kind.
    """
    end = remedy and f"; {remedy}"
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise InputError(f"{where} holds {half}, half of a surrogate pair{end}") from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise InputError(f"{where} is not JSON ({reason}){end}") from None
    if not isinstance(content, kind):
        raise InputError(f"{where} holds no JSON {_JSON_NAMES[kind]}, but {_shown(content)}{end}")
    return content


def _shown(value: object, width: int = 40) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= width else f"{text[: width - 3]}..."


def _flat(settings: Json, prefix: str = "") -> dict[str, str]:
    """Flatten nested settings to dotted names, with values as JSON."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value)
    return flat
