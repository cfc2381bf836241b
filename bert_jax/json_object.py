"""JSON files that come from elsewhere, read field by field, so that a wrong one is named with its file."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from bert_jax.errors import InputError
from bert_jax.files import Json

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
"""No setting of a model is as large; JSON has numbers beyond every float, and Python reads NaN and Infinity too."""


def read_json(path: Path, kind: type = dict) -> Any:
    """The object, or the list, in a JSON file.

    Raises:
        InputError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise InputError(f"{path} is not readable JSON: it is nested too deeply") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(content, kind):
        raise InputError(f"{path} holds no JSON {'object' if kind is dict else kind.__name__}")
    return content


@dataclass(frozen=True)
class JsonObject:
    """The object in a JSON file. path: of the file, for errors. content: its fields."""

    path: Path
    content: Json

    @classmethod
    def read(cls, path: Path, optional: bool = False) -> "JsonObject":
        """Read a file; an optional one that is not there is empty.

        Raises:
            InputError: the file cannot be read, or holds no object.
        """
        return cls(path, {} if optional and not path.is_file() else read_json(path))

    def field(self, name: str, kind: type[T], default: D, least: float = -_HUGE, most: float = _HUGE) -> T | D:
        """The value of a field, or the default where it is absent; null only where the default is None.

        Raises:
            InputError: the value is of another kind, or a number outside of [least, most].
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
        """A list of strings; empty where it is absent or null.

        Raises:
            InputError: the value is something else.
        """
        values = self.field(name, list, None) or []
        if not all(isinstance(value, str) for value in values):
            raise InputError(f"{self.path}: {name} is {_shown(values)}; it must be a list of strings")
        return values

    def section(self, name: str) -> "JsonObject":
        """An object within this one; empty where it is absent or null."""
        value: Json | None = self.field(name, dict, None)
        return JsonObject(self.path, value or {})


def _shown(value: object) -> str:
    """A value as JSON writes it, shortened to a few words."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        text = f"a {type(value).__name__}"
    return shorten(text)


def shorten(text: str) -> str:
    """The beginning of a text, short enough for a message of one line."""
    return text if len(text) <= 60 else f"{text[:57]}..."
