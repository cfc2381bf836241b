"""Pretraining batches: an example is a pure function of (seed, epoch, index)."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bert_jax.data.corpus import Corpus
from bert_jax.data.masking import mask_tokens, num_slots
from bert_jax.data.pairs import NUM_DRAWS, Pairs, make_pairs, num_examples
from bert_jax.data.random import uniform
from bert_jax.data.tokenizer import SpecialIds
from bert_jax.types import PretrainBatch, Tokens

_PAIRS, _MASKS = 0, 1  # streams of random numbers


class PretrainData(NamedTuple):
    """A corpus with all that decides its examples."""

    corpus: Corpus
    special: SpecialIds
    vocab_size: int
    max_length: int
    mask_rate: float
    seed: int

    @property
    def num_examples(self) -> int:
        """Examples of an epoch."""
        return num_examples(self.corpus, self.max_length)

    def batch(self, epoch: int, indices: np.ndarray) -> PretrainBatch:
        """The examples of some indices [B] of an epoch."""
        draws = uniform(self.seed, epoch, indices, _PAIRS, NUM_DRAWS)
        pairs = make_pairs(self.corpus, indices, draws, self.max_length)
        tokens = assemble_pairs(self.corpus, pairs, self.special, self.max_length)
        slots = num_slots(self.max_length, self.mask_rate)
        masked = mask_tokens(
            tokens.ids,
            tokens.mask & ~tokens.special,
            tokens.mask.sum(1),
            uniform(self.seed, epoch, indices, _MASKS, self.max_length + 2 * slots),
            rate=self.mask_rate,
            mask_id=self.special.mask,
            vocabulary=(max(self.special) + 1, self.vocab_size),
        )
        weights = np.ones(len(indices), np.float32)
        return PretrainBatch(tokens._replace(ids=masked.ids), *masked[1:], pairs.is_next, weights)

    def batches(self, batch_size: int, first: int, last: int) -> Iterator[PretrainBatch]:
        """The batches of steps `first` to `last` (exclusive), each epoch in an order of its own.

        A batch may hold the end of one epoch and the beginning of the next.
        """
        for step in range(first, last):
            cursor = np.arange(step * batch_size, (step + 1) * batch_size)
            epochs, places = np.divmod(cursor, self.num_examples)
            parts = [self.batch(int(e), self._order(int(e))[places[epochs == e]]) for e in np.unique(epochs)]
            yield _joined(parts)

    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.num_examples)


def assemble_pairs(corpus: Corpus, pairs: Pairs, special: SpecialIds, max_length: int) -> Tokens:
    """`[CLS] A [SEP] B [SEP]` and padding, for all pairs at once."""
    column = np.arange(max_length)[None]
    a, b = pairs.a_length[:, None], pairs.b_length[:, None]
    in_a = (column >= 1) & (column <= a)
    in_b = (column >= a + 2) & (column <= a + b + 1)
    source = np.where(in_a, pairs.a_start[:, None] + column - 1, pairs.b_start[:, None] + column - a - 2)
    words = corpus.tokens[np.where(in_a | in_b, source, 0)]
    mask = column <= a + b + 2
    is_sep = (column == a + 1) | (column == a + b + 2)
    ids = np.where(in_a | in_b, words, np.where(is_sep, special.sep, np.where(column == 0, special.cls, special.pad)))
    segments = ((column >= a + 2) & mask).astype(np.int32)
    return Tokens(ids.astype(np.int32), segments, mask, mask & ~in_a & ~in_b)


def _joined(parts: list[PretrainBatch]) -> PretrainBatch:
    if len(parts) == 1:
        return parts[0]
    tokens = Tokens(*map(np.concatenate, zip(*(part.tokens for part in parts), strict=True)))
    return PretrainBatch(tokens, *map(np.concatenate, zip(*(part[1:] for part in parts), strict=True)))
