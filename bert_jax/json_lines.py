"""JSON lines: parse a line as an object and read text fields from it, with errors that name the line."""

import json

from bert_jax.errors import InputError
from bert_jax.files import Json


class InvalidTextError(InputError):
    """A text that cannot be encoded as UTF-8, because a JSON escape names half of a surrogate pair."""


def parse_row(line: str, where: object) -> Json:
    """Parse a line of JSON as an object.

    Args:
        line: one line, or one item of an array.
        where: file and line, for error messages.

    Raises:
        InputError: the line is not JSON, is nested too deeply, or is not an object.

    >>> parse_row('{"text": "a"}', "x.jsonl, line 1")
    {'text': 'a'}
    """
    try:
        row = json.loads(line)
    except RecursionError:
        raise InputError(f"{where}: this JSON is nested too deeply; correct or remove it") from None
    except ValueError as error:
        raise InputError(f"{where}: not JSON ({error}): {line[:40]!r}; each line must be a JSON object") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: {_kind_of(row)} where a JSON object is needed: {line[:40]!r}")
    return row


def text_of(row: Json, field: str, where: object, remedy: str) -> str:
    """Return the text in a field of a row.

    Args:
        row: an object, as `parse_row` returns it.
        field: name of the field.
        where: file and line, for error messages.
        remedy: advice that the error message ends with.

    Raises:
        InvalidTextError: the text holds half of a surrogate pair.
        InputError: the field is missing, or its value is not a string.

    >>> text_of({"id": 1, "text": None}, "text", "x.jsonl, line 1", "correct it")
    Traceback (most recent call last):
    bert_jax.errors.InputError: x.jsonl, line 1: 'text' is null where a string is needed; correct it
    """
    if field not in row:
        found = f"it has {', '.join(row)}" if row else "it is empty"
        raise InputError(f"{where}: no field {field!r}, {found}; {remedy}")
    text = row[field]
    if not isinstance(text, str):
        raise InputError(f"{where}: {field!r} is {_kind_of(text)} where a string is needed; {remedy}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise InvalidTextError(
            f"{where}: {field!r} holds {half}, half of a surrogate pair, which is invalid; correct or remove the line"
        ) from None
    return text


def _kind_of(value: object) -> str:
    """Describe a JSON value in a few words, for an error message."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return "a string"
    return json.dumps(value)[:40]
