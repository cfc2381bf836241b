"""JSON files from other programs, read field by field; errors name the file and the field."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bert_jax.errors import InputError
from bert_jax.files import Json, read_json

T = TypeVar("T")
D = TypeVar("D")

_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
_HUGE = 1e30
"""Default limit of a number. JSON can hold integers beyond every float, and Python also reads NaN and Infinity."""


@dataclass(frozen=True)
class JsonObject:
    """The object in a JSON file. path: the file, for error messages. content: the fields by name."""

    path: Path
    content: Json

    @classmethod
    def read(cls, path: Path, optional: bool = False) -> "JsonObject":
        """Read a file; a missing file counts as an empty object if it is `optional`.

        Raises:
            InputError: the file cannot be read, or does not hold an object.
        """
        return cls(path, {} if optional and not path.is_file() else read_json(path))

    def field(self, name: str, kind: type[T], default: D, least: float = -_HUGE, most: float = _HUGE) -> T | D:
        """Return the value of a field, or the default if it is absent. Null is allowed only if the default is None.

        Raises:
            InputError: the value is of another kind, or a number outside [least, most].
        """
        value = self.content.get(name, default)
        if name not in self.content or (value is None and default is None):
            return default
        accepted: tuple[type, ...] = (int, float) if kind is float else (kind,)
        if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
            raise InputError(f"{self.path}: {name} is {_shown(value)}; it must be {_KINDS[kind]}")
        if isinstance(value, (int, float)) and not isinstance(value, bool) and not least <= value <= most:
            limit = f"at least {least:g}" if value < least else f"at most {most:g}" if value > most else "finite"
            raise InputError(f"{self.path}: {name} is {_shown(value)}; it must be {limit}")
        return value  # type: ignore[return-value]

    def strings(self, name: str) -> list[str]:
        """Return the list of strings in a field; empty if the field is absent or null.

        Raises:
            InputError: the value is not a list of strings.
        """
        values = self.field(name, list, None) or []
        if not all(isinstance(value, str) for value in values):
            raise InputError(f"{self.path}: {name} is {_shown(values)}; it must be a list of strings")
        return values

    def section(self, name: str) -> "JsonObject":
        """Return the object in a field; empty if the field is absent or null."""
        value: Json | None = self.field(name, dict, None)
        return JsonObject(self.path, value or {})


Shape = type | tuple["Shape"] | Mapping[str, "Shape"]
"""A kind of value, a list of one shape, or an object whose named fields have shapes and must be there."""


def require_shape(value: object, shape: Shape, where: str) -> None:
    """Raise if a value that was read from JSON lacks a field, or holds another kind of value, than a shape says.

    Fields that the shape does not name are not looked at.

    Args:
        value: the value.
        shape: what it must be.
        where: the file or the field of the value, for messages.

    Raises:
        InputError: it is something else.
    """
    kind = shape if isinstance(shape, type) else list if isinstance(shape, tuple) else dict
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InputError(f"{where} is {_shown(value)}; it must be {_KINDS[kind]}")
    if isinstance(shape, tuple) and isinstance(value, list):
        for place, item in enumerate(value):
            require_shape(item, shape[0], f"{where}, item {place}")
    elif isinstance(shape, Mapping) and isinstance(value, dict):
        for name, inner in shape.items():
            if name not in value:
                raise InputError(f"{where} has no {name}")
            require_shape(value[name], inner, f"{where}, {name}")


def _shown(value: object) -> str:
    """Format a value as JSON, shortened for an error message."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):  # nested too deeply, or a number with thousands of digits
        text = f"a {type(value).__name__}"
    return shorten(text)


def shorten(text: str) -> str:
    """Cut a text to at most 60 characters, so that a message fits on one line."""
    return text if len(text) <= 60 else f"{text[:57]}..."
