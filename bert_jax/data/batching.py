"""Rectangular batches from ragged token rows: length buckets, epoch order, padding.

Every batch has one of a few lengths, so that each program is compiled a few times only, and an
example is padded to its bucket and not to the longest one. An epoch is a pure function of
(seed, epoch): the same batches on any number of devices. The lengths of its batches are a function of
the epoch alone.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.template import Encoding, SpecialIds, assemble
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.tokenizers.unknown import describe_unknown
from bert_jax.types import TaskBatch, Tokens

_STEP = 8
"""Divisor of all bucket lengths, so that tasks share compiled programs and vector units are filled."""
_CLOSE = 1.02
"""Number of padded tokens that is still acceptable, as a multiple of the fewest possible."""


class Examples(NamedTuple):
    """The tokenised rows of a split, and the special ids for padding."""

    encodings: list[Encoding]
    labels: np.ndarray
    special: SpecialIds

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each row [rows], special ones included."""
        return np.array([len(e.ids) for e in self.encodings])


class Plan(NamedTuple):
    """The rows of a batch, and the length that they are padded to."""

    rows: np.ndarray
    length: int


class Pack(NamedTuple):
    """A plan whose batch has a size of its own."""

    rows: np.ndarray
    length: int
    size: int


def encode_texts(
    tokenizer: Tokenizer, a: Sequence[str], b: Sequence[str] | None, max_length: int, data: str = "the texts"
) -> list[Encoding]:
    """Tokenise texts or pairs of texts, truncated to `max_length` tokens; warn where many words are unknown.

    Args:
        tokenizer: makes the tokens.
        a: the first texts.
        b: the second ones, or None.
        max_length: limit of tokens for a text or a pair, special ones included.
        data: name of the texts in the warning and in errors.

    Raises:
        InputError: an item is not a string, or holds half of a surrogate pair.
    """
    for side in (a, b or ()):
        _check_texts(side, data)
    first = tokenizer.pieces(a)
    second = [None] * len(first) if b is None else tokenizer.pieces(b)
    _warn_of_unknown(tokenizer.special.unk, [*first, *(ids for ids in second if ids is not None)], data)
    return [assemble(tokenizer.template, x, y, max_length) for x, y in zip(first, second, strict=True)]


def _check_texts(texts: Sequence[object], data: str) -> None:
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            found = f"a {type(text).__name__} of {len(text)}" if isinstance(text, tuple | list) else repr(text)[:40]
            raise InputError(f"{data}: item {place} (counted from 0) is {found}; each must be one text, a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise InputError(
                f"{data}: item {place} (counted from 0) holds {half}, half of a surrogate pair; correct or remove it"
            ) from None


def _warn_of_unknown(unk: int, pieces: Sequence[list[int]], data: str) -> None:
    tokens, unknown = sum(map(len, pieces)), sum(ids.count(unk) for ids in pieces)
    if text := describe_unknown(unknown, tokens, data):
        warnings.warn(text, stacklevel=3)


def encode_split(tokenizer: Tokenizer, split: Split, max_length: int, data: str = "the texts") -> Examples:
    """Tokenise a labelled split, which a warning calls `data`."""
    return Examples(encode_texts(tokenizer, split.a, split.b, max_length, data), split.gold, tokenizer.special)


def choose_buckets(lengths: np.ndarray, num_buckets: int, max_length: int) -> tuple[int, ...]:
    """Choose at most `num_buckets` lengths, multiples of 8, with the least padding; the last one fits every row.

    The solution is exact, by dynamic programming over the histogram of lengths. Because each length costs a
    compilation, the smallest number of buckets is taken whose padded tokens are within 2% of the fewest.

    >>> choose_buckets(np.array([5, 6, 7, 30, 31, 32]), 2, 128)
    (8, 32)
    """
    rounded = np.minimum(-(-lengths // _STEP) * _STEP, max_length)
    sizes, counts = np.unique(rounded, return_counts=True)
    # best[k][j]: fewest padded tokens when the first j sizes go into k buckets.
    totals = np.concatenate([[0], np.cumsum(counts)])
    best = np.full((num_buckets + 1, len(sizes) + 1), np.inf)
    best[0, 0] = 0
    cut = np.zeros(best.shape, int)
    for k in range(1, num_buckets + 1):
        for j in range(1, len(sizes) + 1):
            costs = best[k - 1, :j] + (totals[j] - totals[:j]) * sizes[j - 1]
            cut[k, j] = costs.argmin()
            best[k, j] = costs[cut[k, j]]
    k, j, chosen = int((best[:, -1] <= _CLOSE * best[:, -1].min()).argmax()), len(sizes), []
    while j:
        chosen.append(int(sizes[j - 1]))
        k, j = k - 1, int(cut[k, j])
    return tuple(reversed(chosen))


def length_steps(max_length: int) -> tuple[int, ...]:
    """Lengths to pad to for texts of any length, each at most 4 tokens or a quarter above the one before it.

    >>> length_steps(40)
    (4, 8, 12, 16, 20, 24, 28, 32, 40)
    """
    steps, length = [], 0
    while length < max_length:
        length += max(4, 1 << max(length.bit_length() - 3, 0))
        steps.append(min(length, max_length))
    return tuple(steps)


def pack_rows(
    lengths: np.ndarray, steps: Sequence[int], tokens: int, share: int, batch_size: int | None = None
) -> Iterator[Pack]:
    """Batches of about so many tokens that hold every row once: long rows first, many short ones together.

    Sizes are powers of two times `share`, so that batches have the same shapes for any rows, also the last, smaller
    ones, whose size is the smallest that fits the rows left.

    Args:
        lengths: tokens of each row [rows].
        steps: lengths to pad to, see `length_steps`; the last one is at least the length of the longest row.
        tokens: at most so many in a batch, padding included; if a row is longer, the batch holds `share` rows.
        share: divisor of every batch size.
        batch_size: rows in every batch; overrides `tokens`.
    """
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        length = int(steps[np.searchsorted(steps, lengths[order[first]])])
        size, left = batch_size, len(order) - first
        if size is None:
            size = share
            while 2 * size * length <= tokens and size < left:
                size *= 2
        yield Pack(order[first : first + size], length, size)
        first += size


class Shuffle(NamedTuple):
    """Shuffling of an epoch: the rows by seed and epoch, the order of the batches by the epoch alone.

    So the batches of all seeds have the same lengths and numbers of rows at each step, and one program can train them
    side by side.
    """

    seed: int
    epoch: int

    @property
    def rows(self) -> np.random.Generator:
        """Deals rows to batches."""
        return np.random.default_rng([self.seed, self.epoch])

    @property
    def order(self) -> np.random.Generator:
        """Orders the batches. The third word keeps its draws apart from those of any seed's `rows`."""
        return np.random.default_rng([0, self.epoch, 1])


def epoch_plan(
    lengths: np.ndarray, buckets: Sequence[int], batch_size: int, shuffle: Shuffle | None = None
) -> list[Plan]:
    """Batches that hold every row exactly once, in ceil(rows / batch_size) steps.

    Rows are shuffled and dealt to the buckets that they fit. The rows left in each bucket after its full
    batches are joined, shortest first, so that only one batch of the epoch is short. The batches are
    shuffled. Without `shuffle`, as for an evaluation, rows are ordered by length.
    """
    order = np.argsort(lengths, kind="stable") if shuffle is None else shuffle.rows.permutation(len(lengths))
    bucket_of = np.searchsorted(buckets, np.minimum(lengths, buckets[-1]))
    full: list[np.ndarray] = []
    rest: list[np.ndarray] = []
    for bucket in range(len(buckets)):
        rows = order[bucket_of[order] == bucket]
        whole = len(rows) // batch_size * batch_size
        full += np.split(rows[:whole], whole // batch_size) if whole else []
        rest.append(rows[whole:])
    left = np.concatenate(rest)
    full += [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
    plans = [Plan(rows, int(buckets[bucket_of[rows].max()])) for rows in full]
    return plans if shuffle is None else [plans[i] for i in shuffle.order.permutation(len(plans))]


def pad_tokens(encodings: Sequence[Encoding], special: SpecialIds, batch_size: int, length: int) -> Tokens:
    """Pad rows to rectangular `Tokens` [batch_size length]; rows that only fill the batch hold one [CLS].

    A filling row has one real token, because an average over no tokens is not a number.
    """
    ids = np.full((batch_size, length), special.pad, np.int32)
    segments = np.zeros((batch_size, length), np.int32)
    mask = np.zeros((batch_size, length), bool)
    ids[len(encodings) :, 0] = special.cls
    mask[len(encodings) :, 0] = True
    for row, encoding in enumerate(encodings):
        n = len(encoding.ids)
        ids[row, :n] = encoding.ids
        segments[row, :n] = encoding.segments
        mask[row, :n] = True
    return Tokens(ids, segments, mask, mask & ((ids == special.cls) | (ids == special.sep)))


def task_batch(examples: Examples, plan: Plan, batch_size: int) -> TaskBatch:
    """The rows of a plan, filled to `batch_size` with rows of weight zero."""
    tokens = pad_tokens([examples.encodings[i] for i in plan.rows], examples.special, batch_size, plan.length)
    labels = np.zeros(batch_size, examples.labels.dtype)
    labels[: len(plan.rows)] = examples.labels[plan.rows]
    return TaskBatch(tokens, labels, (np.arange(batch_size) < len(plan.rows)).astype(np.float32))


def task_batches(
    examples: Examples, buckets: Sequence[int], batch_size: int, seed: int, epochs: int
) -> Iterator[TaskBatch]:
    """The training batches of several epochs; see `Shuffle`."""
    lengths = examples.lengths
    for epoch in range(epochs):
        for plan in epoch_plan(lengths, buckets, batch_size, Shuffle(seed, epoch)):
            yield task_batch(examples, plan, batch_size)
