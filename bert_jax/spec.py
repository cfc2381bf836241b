"""Spec strings: `mean`, `attention(num_heads=4)`, `mylab.poolers.Gated(temperature=2.0)`.

A spec names a component and its settings on a command line or in a result row. It is parsed with
`ast` and never evaluated, so a spec from an untrusted file executes nothing.
"""

import ast
from typing import Any, NamedTuple

from bert_jax.errors import InputError


class Spec(NamedTuple):
    """A name with its arguments: `avg(0, -1)` is `Spec("avg", (0, -1), {})`."""

    name: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never written to


def parse_spec(text: str) -> Spec:
    """Parse one spec; a bare integer is `Spec("index", (n,))`.

    Raises:
        InputError: the text is not a name, a call or an integer, or an argument is not a literal.

    >>> parse_spec("attention(num_heads=4)")
    Spec(name='attention', args=(), kwargs={'num_heads': 4})
    """
    specs = parse_sum(text)
    if len(specs) != 1:
        raise InputError(f"{text!r} is a sum of specs where a single one is needed")
    return specs[0]


def parse_sum(text: str) -> list[Spec]:
    """Parse specs joined by `+`.

    >>> [spec.name for spec in parse_sum("cls + mean")]
    ['cls', 'mean']
    """
    try:
        return _terms(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(
            f"cannot read the spec {text!r}: write a name, a name with literal settings such as "
            "'attention(num_heads=4)', or several joined by '+'"
        ) from error


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split a text at a one-character separator, ignoring separators inside brackets or quotes.

    >>> split_outside_brackets("last/mylab.Pool(path='a/b')/none", "/")
    ['last', "mylab.Pool(path='a/b')", 'none']
    """
    parts, depth, quote, start = [], 0, "", 0
    for place, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[place - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter == separator and depth == 0:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _terms(node: ast.expr) -> list[Spec]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _terms(node.left) + _terms(node.right)
    if isinstance(node, ast.Call):
        kwargs = {k.arg: ast.literal_eval(k.value) for k in node.keywords if k.arg is not None}
        if len(kwargs) != len(node.keywords):
            raise ValueError("** is not allowed")
        return [Spec(_name(node.func), tuple(map(ast.literal_eval, node.args)), kwargs)]
    if isinstance(node, (ast.Name, ast.Attribute)):
        return [Spec(_name(node))]
    value = ast.literal_eval(node)
    if type(value) is not int:
        raise ValueError("not a name, a call or an integer")
    return [Spec("index", (value,))]


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    raise ValueError("not a dotted name")
