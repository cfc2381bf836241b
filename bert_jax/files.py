"""A run folder belongs to the settings that it was begun with, and its files are there whole or not at all."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from bert_jax.errors import InputError

PARTIAL = ".partial"
"""How the names of files end that are not complete: what a killed process leaves of them may be removed."""


def plain(value: Any) -> Any:
    """Dataclasses, paths, tuples and NumPy numbers as plain JSON values. A number that is not finite becomes None.

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


def digest(value: Any) -> str:
    """The first 12 hex digits of the SHA-256 of a value as canonical JSON; the order of keys does not matter."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def claim(path: Path, settings: dict[str, Any]) -> None:
    """Write settings, plain JSON values, to a file of a run folder; if it is there already, it must hold the same.

    Raises:
        InputError: the file holds other settings (each difference is listed) or cannot be read.
        OSError: it cannot be written.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_settings(path, settings)
    else:
        require_same(path.parent, "run", _read(path), settings)


def write_settings(path: Path, settings: dict[str, Any]) -> None:
    """Write settings, plain JSON values, so that the file is there whole or not at all."""
    text = json.dumps(settings, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def require_same(folder: Path, what: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Refuse settings that are not those that a folder was begun with.

    Args:
        folder: to name.
        what: it holds: "run".
        old: its settings.
        new: the settings now.

    Raises:
        InputError: listing each difference.
    """
    before, after = _flat(old), _flat(new)
    missing = "absent"
    changes = [
        f"{field} was {before.get(field, missing)} and is {after.get(field, missing)}"
        for field in dict.fromkeys([*before, *after])
        if before.get(field, missing) != after.get(field, missing)
    ]
    if changes:
        raise InputError(
            f"{folder} holds another {what}: {'; '.join(changes)}. Go on with its settings, or use another --out"
        )


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the operating system refuses within becomes an `InputError` that names the folder."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}; use another --out") from None


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Write a file so that it is there whole or not at all, whatever happens meanwhile."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    with open(temporary, "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} ({error}); restore it, or use another --out") from None
    if not isinstance(settings, dict):
        raise InputError(f"{path} holds no settings; restore it, or use another --out")
    return settings


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted name, values as JSON."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value)
    return flat
