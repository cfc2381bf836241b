"""Pretraining batches; each example is a pure function of (seed, epoch, index)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bert_jax.corpus.corpus import Corpus
from bert_jax.data.counter_rng import Epoch, bits, shuffled, uniform
from bert_jax.data.objectives import (
    PairObjective,
    TokenObjective,
    Vocabulary,
    make_objectives,
    make_pairs,
    num_examples,
)
from bert_jax.data.segments import NUM_DRAWS, Pairs
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.types import PretrainBatch, Tokens

_PAIRS, _MASKS, _ORDER = 0, 1, 2  # streams of random numbers


@dataclass(frozen=True, eq=False)
class PretrainData:
    """A corpus, and everything else that determines its examples.

    Attributes:
        starts_word: [V] True for token ids that begin a word (`Tokenizer.starts_word`); not used if tokens are masked
            one by one.

    Raises:
        InputError: the corpus or the tokenizer does not have what the objective needs.
    """

    corpus: Corpus
    special: SpecialIds
    vocab_size: int
    starts_word: np.ndarray | None
    max_length: int
    objective: ObjectiveConfig
    seed: int

    def __post_init__(self) -> None:
        of_tokens, of_pairs = self.objectives
        of_pairs.check(self.corpus)
        of_tokens.check(self.vocabulary)

    @property
    def objectives(self) -> tuple[TokenObjective, PairObjective]:
        """The objective over tokens, and the one over pairs of segments."""
        return make_objectives(self.objective)

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of the corpus's token ids."""
        return Vocabulary(self.special, self.vocab_size, self.starts_word)

    @property
    def num_examples(self) -> int:
        """Examples of an epoch."""
        return num_examples(self.corpus, self.max_length, self.objective)

    @property
    def num_slots(self) -> int:
        """Slots M of an example: the largest number of tokens that it can predict."""
        return self.objectives[0].num_slots(self.max_length)

    def batch(self, epoch: Epoch, indices: np.ndarray) -> PretrainBatch:
        """The examples of some indices [B], all of one epoch, or each with its own."""
        draws = uniform(self.seed, epoch, indices, _PAIRS, NUM_DRAWS)
        pairs = make_pairs(self.corpus, indices, draws, self.max_length, self.objective)
        tokens = assemble_pairs(self.corpus, pairs, self.special, self.max_length)
        masked = self.objectives[0].choose(
            tokens, self.vocabulary, lambda number: bits(self.seed, epoch, indices, _MASKS, number)
        )
        weights = (pairs.b_length > 0).astype(np.float32)
        return PretrainBatch(tokens._replace(ids=masked.ids), *masked[1:], pairs.is_next, weights)

    def batches(
        self, batch_size: int, first: int, last: int, *, host: int = 0, num_hosts: int = 1
    ) -> Iterator[PretrainBatch]:
        """The batches of steps `first` to `last` (exclusive), each epoch in an order of its own.

        A batch is a function of (seed, step) alone, and may hold the end of one epoch and the beginning of the
        next. With several hosts, each computes only its own rows of the batch; the rows of all hosts, concatenated in
        the order of the hosts, are the batch of a single host.
        """
        start, stop = batch_size * host // num_hosts, batch_size * (host + 1) // num_hosts
        for step in range(first, last):
            epochs, places = np.divmod(step * batch_size + np.arange(start, stop), self.num_examples)
            yield self.batch(epochs, shuffled(self.seed, epochs, places, _ORDER, self.num_examples))


def assemble_pairs(corpus: Corpus, pairs: Pairs, special: SpecialIds, max_length: int) -> Tokens:
    """`[CLS] A [SEP] B [SEP]`, or `[CLS] A [SEP]` where B is empty, and padding, for all pairs at once."""
    column, row = np.arange(max_length)[None], np.arange(len(pairs.a_length))
    a, b = pairs.a_length[:, None], pairs.b_length[:, None]
    in_a = column <= a + 1
    source = column + np.where(in_a, pairs.a_start[:, None] - 1, pairs.b_start[:, None] - a - 2)
    # At positions without text this reads a neighbouring token, which is overwritten below.
    ids = np.take(corpus.tokens, source, mode="clip").astype(np.int32)
    mask = column <= a + b + 1 + (b > 0)
    ids[~mask] = special.pad
    is_special = np.zeros(mask.shape, bool)
    for place, token in [(0, special.cls), (a[:, 0] + 1, special.sep), (mask.sum(1) - 1, special.sep)]:
        ids[row, place] = token
        is_special[row, place] = True
    return Tokens(ids, (mask & ~in_a).astype(np.int32), mask, is_special)
