"""The exception for mistakes in user input, and a helper for unknown names."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """A mistake in a file, row, field or flag. The message names it, the reason and the remedy.

    Command-line programs print the message without a traceback and exit with status 2.
    """


def unknown(kind: str, name: object, available: Iterable[str]) -> InputError:
    """Return the error for a name that is not in a registry.

    >>> print(unknown("pooling", "maen", ["cls", "mean"]))
    unknown pooling 'maen'. Did you mean 'mean'? Available: cls, mean
    """
    names = sorted(available)
    close = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return InputError(f"unknown {kind} {str(name)!r}.{hint} Available: {', '.join(names)}")
