"""Pairs of sentences, each encoded by itself, in batches of similar length."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.batching import Plan, Shuffle, encode_texts, epoch_plan, pad_tokens
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.template import Encoding, SpecialIds
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.types import PairBatch


class PairExamples(NamedTuple):
    """Tokenised pairs: each sentence has its own [CLS] and [SEP]. labels [rows]: classes or similarities."""

    first: list[Encoding]
    second: list[Encoding]
    labels: np.ndarray
    special: SpecialIds

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in the longer sentence of each pair [rows]."""
        return np.array([max(len(a.ids), len(b.ids)) for a, b in zip(self.first, self.second, strict=True)])


def encode_pairs(tokenizer: Tokenizer, split: Split, max_length: int, data: str = "the texts") -> PairExamples:
    """Tokenise a labelled split of pairs, named `data` in warnings; without second texts, each text is paired with
    itself."""
    first = encode_texts(tokenizer, split.a, None, max_length, data)
    second = first if split.b is None else encode_texts(tokenizer, split.b, None, max_length, data)
    return PairExamples(first, second, split.gold, tokenizer.special)


def pair_batch(examples: PairExamples, plan: Plan, batch_size: int) -> PairBatch:
    """The pairs of a plan, filled to `batch_size` with rows of weight zero."""
    first, second = (
        pad_tokens([side[i] for i in plan.rows], examples.special, batch_size, plan.length)
        for side in (examples.first, examples.second)
    )
    labels = np.zeros(batch_size, examples.labels.dtype)
    labels[: len(plan.rows)] = examples.labels[plan.rows]
    return PairBatch(first, second, labels, (np.arange(batch_size) < len(plan.rows)).astype(np.float32))


def pair_batches(
    examples: PairExamples, buckets: Sequence[int], batch_size: int, seed: int, epochs: int
) -> Iterator[PairBatch]:
    """The training batches of several epochs; see `Shuffle`."""
    lengths = examples.lengths
    for epoch in range(epochs):
        for plan in epoch_plan(lengths, buckets, batch_size, Shuffle(seed, epoch)):
            yield pair_batch(examples, plan, batch_size)
