"""The exception for mistakes in user input, and a helper for unknown names."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator


class InputError(ValueError):
    """A mistake in a file, row, field or flag. The message names it, the reason and the remedy.

    Command-line programs print the message without a traceback and exit with status 2. Lines of more than a thousand
    characters are cut in the middle, because a message may quote what a damaged file holds.
    """

    def __init__(self, message: str) -> None:
        super().__init__("\n".join(map(_cut, message.split("\n"))))


def _cut(line: str, longest: int = 1000) -> str:
    return line if len(line) <= longest else f"{line[: longest // 2]} ... {line[-longest // 2 :]}"


def unknown(kind: str, name: object, available: Iterable[str]) -> InputError:
    """Return the error for a name that is not in a registry.

    >>> print(unknown("pooling", "maen", ["cls", "mean"]))
    unknown pooling 'maen'. Did you mean 'mean'? Available: cls, mean
    """
    names = sorted(available)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {kind} {str(name)!r}.{hint} Available: {', '.join(names)}")


@contextlib.contextmanager
def within(place: object) -> Iterator[None]:
    """Put the name of a file or folder in front of the message of an `InputError`.

    >>> with within("config.json"):
    ...     raise InputError("dropout must be in [0, 1), not 2")
    Traceback (most recent call last):
    bert_jax.errors.InputError: config.json: dropout must be in [0, 1), not 2
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{place}: {error}") from error
