"""Segments A and B for next-sentence prediction (arXiv 1810.04805, appendix A.2; create_pretraining_data.py).

A chunk of consecutive sentences fills the example; it is cut between two sentences into A and B, and in
half of the examples B is text from another document instead. Unlike the original, which walks through
the corpus once, an example is found from its index alone: its chunk lies about token (index + u) * stride,
which is anywhere within it, so a corpus is covered about once an epoch, each time cut differently. (If a
chunk began at its token, the first sentences of documents would hardly ever be seen.)
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from bert_jax.data.corpus import Corpus

SHORT_SHARE = 0.1
"""Share of examples with a random shorter target length."""
NUM_DRAWS = 9
"""Random numbers that a pair uses."""


class Pairs(NamedTuple):
    """Segments as slices of `Corpus.tokens`: starts and lengths [B], lengths at least 1; is_next [B] 0 or 1."""

    a_start: np.ndarray
    a_length: np.ndarray
    b_start: np.ndarray
    b_length: np.ndarray
    is_next: np.ndarray


def num_examples(corpus: Corpus, max_length: int) -> int:
    """Examples of an epoch: as many as the corpus fills, at `max_length` tokens each."""
    return max(1, len(corpus.tokens) // (max_length - 3))


def make_pairs(
    corpus: Corpus, indices: Int[np.ndarray, " B"], draws: Float[np.ndarray, "B 9"], max_length: int
) -> Pairs:
    """The pairs of some indices; a pure function of each index and its row of random numbers in [0, 1)."""
    budget = max_length - 3
    u = draws.T
    target = np.where(u[0] < SHORT_SHARE, 2 + (u[1] * (budget - 1)).astype(int), budget)
    stride = len(corpus.tokens) / num_examples(corpus, max_length)
    token = np.minimum(((indices + u[2]) * stride).astype(int), len(corpus.tokens) - 1)
    start, cut, end, document = _chunks(corpus, token, target, u[8], u[3])
    is_next = (u[4] < 0.5) & (cut < end)
    # Another document: one of the D-1 others, and a sentence of it to begin with.
    other = (u[5] * (corpus.num_documents - 1)).astype(int)
    other += other >= document
    first, last = corpus.documents[other], corpus.documents[other + 1]
    random_start = first + (u[6] * (last - first)).astype(int)
    at = corpus.sentences
    a_length = at[cut] - at[start]
    wanted = at[random_start] + np.maximum(target - a_length, 1)
    random_end = np.minimum(np.maximum(np.searchsorted(at, wanted), random_start + 1), last)
    b_first, b_last = np.where(is_next, cut, random_start), np.where(is_next, end, random_end)
    pairs = Pairs(at[start], a_length, at[b_first], at[b_last] - at[b_first], is_next.astype(np.int32))
    return _truncated(pairs, target, u[7])


def _chunks(
    corpus: Corpus, token: np.ndarray, target: np.ndarray, place: np.ndarray, u: np.ndarray
) -> tuple[np.ndarray, ...]:
    """First sentence, first sentence of B, end and document of the chunks about some tokens, at `place` in [0, 1).

    A chunk has two sentences or more wherever its document has them, so that either kind of B is possible.
    """
    at = corpus.sentences
    sentence, start = (np.searchsorted(at, t, side="right") - 1 for t in (token, token - (place * target).astype(int)))
    document = np.searchsorted(corpus.documents, sentence, side="right") - 1
    first, last = corpus.documents[document], corpus.documents[document + 1]
    start = np.maximum(np.minimum(start, last - 2), first)
    end = np.minimum(np.maximum(np.searchsorted(at, at[start] + target), start + 2), last)
    cut = start + 1 + (u * np.maximum(end - start - 1, 1)).astype(int)
    return start, np.minimum(cut, end), end, document


def _truncated(pairs: Pairs, target: np.ndarray, u: np.ndarray) -> Pairs:
    """Cut the longer segment until both fit; what goes is divided at random between its front and its end."""
    a, b = pairs.a_length, pairs.b_length
    half = target // 2
    keep_a = np.where(a + b <= target, a, np.where(b <= half, target - b, np.minimum(a, half)))
    keep_b = np.minimum(b, target - keep_a)
    a_front = (u * (a - keep_a + 1)).astype(int)
    b_front = ((1 - u) * (b - keep_b + 1)).astype(int)
    # 1 - u may be 1; a segment must not begin past what is left of it.
    return Pairs(
        pairs.a_start + a_front, keep_a, pairs.b_start + np.minimum(b_front, b - keep_b), keep_b, pairs.is_next
    )
