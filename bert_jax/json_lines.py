"""A line of JSON as a row with texts, and what is wrong with it in words."""

import json

from bert_jax.errors import InputError
from bert_jax.files import Json


class InvalidTextError(InputError):
    """A text that no UTF-8 can spell: JSON can name half of a surrogate pair."""


def parse_row(line: str, where: object) -> Json:
    """The object that a line of JSON is.

    Args:
        line: one line, or one item of an array.
        where: the file and line, for messages.

    Raises:
        InputError: it is not JSON, nested too deeply, or no object.

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
    """The text in a field of a row.

    Args:
        row: of `parse_row`.
        field: its name.
        where: the file and line, for messages.
        remedy: what to do where there is no such text.

    Raises:
        InvalidTextError: the text holds half of a surrogate pair.
        InputError: the row has no such field, or something else is in it.

    >>> text_of({"id": 1, "text": None}, "text", "x.jsonl, line 1", "correct it")
    Traceback (most recent call last):
    bert_jax.errors.InputError: x.jsonl, line 1: 'text' is null and no text; correct it
    """
    if field not in row:
        found = f"it has {', '.join(row)}" if row else "it is empty"
        raise InputError(f"{where}: no field {field!r}, {found}; {remedy}")
    text = row[field]
    if not isinstance(text, str):
        raise InputError(f"{where}: {field!r} is {_kind_of(text)} and no text; {remedy}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(text[error.start]):04x}"
        raise InvalidTextError(
            f"{where}: {field!r} holds {half}, half of a surrogate pair, which is no text; correct or remove the line"
        ) from None
    return text


def _kind_of(value: object) -> str:
    """A JSON value that is no text in a few words."""
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, str):
        return "a string"
    return json.dumps(value)[:40]
