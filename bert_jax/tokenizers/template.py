"""Special tokens around one or two texts."""

from typing import NamedTuple

import tokenizers

from bert_jax.errors import InputError


class SpecialIds(NamedTuple):
    """Ids of the special tokens. cls is the first token of an input, sep the one after a text, whatever their names."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


class Encoding(NamedTuple):
    """An input with its special tokens: ids, and segments."""

    ids: list[int]
    segments: list[int]


class Template(NamedTuple):
    """The ids around texts: `start a end`, or `start a between b end`. second: segment of b and of the end after it."""

    start: tuple[int, ...]
    between: tuple[int, ...]
    end: tuple[int, ...]
    second: int = 1

    @classmethod
    def of_bert(cls, special: SpecialIds) -> "Template":
        """`[CLS] a [SEP]` and `[CLS] a [SEP] b [SEP]`, in which b has segment 1."""
        return cls((special.cls,), (special.sep,), (special.sep,))


def assemble(template: Template, a: list[int], b: list[int] | None = None, max_length: int | None = None) -> Encoding:
    """Add special tokens to one or two texts; a pair is truncated longest first until it fits `max_length`."""
    start, between, end, second = template
    around = len(start) + len(end)
    if b is None:
        a = a if max_length is None else a[: max(max_length - around, 0)]
        ids = [*start, *a, *end]
        return Encoding(ids, [0] * len(ids))
    if max_length is not None:
        keep_a, keep_b = longest_first(len(a), len(b), max(max_length - around - len(between), 0))
        a, b = a[:keep_a], b[:keep_b]
    ids = [*start, *a, *between, *b, *end]
    in_second = len(b) + len(end)
    return Encoding(ids, [0] * (len(ids) - in_second) + [second] * in_second)


def longest_first(a: int, b: int, budget: int) -> tuple[int, int]:
    """Return the lengths after removing tokens from the longer of two texts, one at a time, until both fit.

    >>> longest_first(10, 3, 8), longest_first(10, 9, 7), longest_first(2, 1, 8)
    ((5, 3), (4, 3), (2, 1))
    """
    if a + b <= budget:
        return a, b
    if min(a, b) <= budget // 2:
        return (a, budget - a) if a < b else (budget - b, b)
    # The odd token of a budget goes to the longer text, or to the second of equals, as in the Rust tokenizers.
    half = budget // 2
    return (budget - half, half) if a > b else (half, budget - half)


def read_template(tokenizer: tokenizers.Tokenizer, file: object) -> Template:
    """Read the template off a tokenizer of the library, which has it in its post-processor.

    Raises:
        InputError: it does not put one text and two texts between the same special tokens, one at least at either end.
    """
    one, two = tokenizer.encode("a"), tokenizer.encode("a", "a")
    places = two.sequence_ids
    start, inner = places.index(0), places.index(1)
    last, stop = len(places) - places[::-1].index(0), len(places) - places[::-1].index(1)
    found = Template(tuple(two.ids[:start]), tuple(two.ids[last:inner]), tuple(two.ids[stop:]), two.type_ids[-1])
    a = tokenizer.encode("a", add_special_tokens=False).ids
    pair, single = assemble(found, a, a), assemble(found, a)
    same = (pair.ids, pair.segments, single.ids) == (two.ids, two.type_ids, one.ids)
    if not (same and found.start and found.end):
        raise InputError(f"{file}: its post_processor does not make [CLS] a [SEP] b [SEP] of two texts, as BERT does")
    return found
