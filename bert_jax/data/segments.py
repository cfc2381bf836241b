"""Segments A and B of pretraining examples (arXiv 1810.04805, appendix A.2; create_pretraining_data.py).

A chunk of consecutive sentences fills the example; it is cut between two sentences into A and B. For nsp, B is
replaced by text from another document in half of the examples; for sop, A and B are exchanged in half of them; for
none, there is only A. Unlike in the original, which passes through the corpus once, an example is a function of its
index alone: its chunk contains token (index + u) * stride at a random position, so that an epoch covers the corpus
about once, each time cut differently. (If a chunk began at its token, the first sentences of documents would rarely
be seen.)
"""

from typing import NamedTuple

import numpy as np

from bert_jax.corpus.corpus import Corpus
from bert_jax.corpus.search import count_between, count_up_to

NUM_DRAWS = 9
"""Number of random numbers for a pair."""


class Pairs(NamedTuple):
    """Segments as slices of `Corpus.tokens`: starts and lengths [B], and is_next [B] 0 or 1.

    A has at least one token, and so has B, except in examples without a pair, where B is empty.
    is_next is 1 if B follows A in the corpus.
    """

    a_start: np.ndarray
    a_length: np.ndarray
    b_start: np.ndarray
    b_length: np.ndarray
    is_next: np.ndarray


def next_or_random(corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
    """Segments for nsp: B is the rest of the chunk, or text from a random sentence of another document on.

    A chunk has at least two sentences if its document has, so that either kind of B is possible.
    """
    at = corpus.sentences
    sentence, document, first, last = _document(corpus, token)
    start = _back(corpus, sentence, token, (u[8] * target).astype(int))
    start = np.maximum(np.minimum(start, last - 2), first)
    end = np.minimum(np.maximum(_forth(corpus, start, at[start] + target, target), start + 2), last)
    cut = _cut(start, end, u[3])
    is_next = (u[4] < 0.5) & (cut < end)
    other = (u[5] * (corpus.num_documents - 1)).astype(int)
    other += other >= document
    first, last = corpus.documents[other], corpus.documents[other + 1]
    random_start = first + (u[6] * (last - first)).astype(int)
    a_length = at[cut] - at[start]
    wanted = np.maximum(target - a_length, 1)
    random_end = _forth(corpus, random_start, at[random_start] + wanted, wanted)
    random_end = np.minimum(np.maximum(random_end, random_start + 1), last)
    b_first, b_last = np.where(is_next, cut, random_start), np.where(is_next, end, random_end)
    return Pairs(at[start], a_length, at[b_first], at[b_last] - at[b_first], is_next.astype(np.int32))


def in_order_or_not(corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
    """Segments for sop: the chunk's two parts in order, or exchanged; a document of one sentence makes no pair.

    The chunk is the sentences that a window touches; if that is a single one, with the sentence before or after it.
    A chunk is as likely as its mirror image, and parts are exchanged before they are cut: otherwise their lengths
    would reveal the order.
    """
    sentence, _, first, last = _document(corpus, token)
    begin = _window(token, target, u[8], corpus.sentences[first], corpus.sentences[last])
    start = _back(corpus, sentence, token, token - begin)
    end = _forth(corpus, start, begin + target, target)
    start -= (end - start < 2) & (u[5] < 0.5)
    start = np.maximum(np.minimum(start, last - 2), first)
    end = np.minimum(np.maximum(end, start + 2), last)
    cut = _cut(start, end, u[3])
    in_order = (u[4] < 0.5) | (cut == end)
    start, cut, end = (corpus.sentences[x] for x in (start, cut, end))
    a_start, a_end = np.where(in_order, start, cut), np.where(in_order, cut, end)
    b_start, b_end = np.where(in_order, cut, start), np.where(in_order, end, cut)
    return Pairs(a_start, a_end - a_start, b_start, b_end - b_start, in_order.astype(np.int32))


def single(corpus: Corpus, token: np.ndarray, target: np.ndarray, u: np.ndarray) -> Pairs:
    """Segments for none: A is the window, up to the end of its document."""
    first, end = (corpus.sentences[x] for x in _document(corpus, token)[2:])
    begin = _window(token, target, u[8], first, end)
    nothing = np.zeros(len(token), np.int32)
    return Pairs(begin, np.minimum(target, end - begin), end, nothing, nothing)


def _document(corpus: Corpus, token: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The sentences and the documents of some tokens, and the documents' first sentences and those after the last."""
    of_sentences, of_documents = corpus.coarse
    sentence = count_up_to(corpus.sentences, token, of_sentences) - 1
    document = count_up_to(corpus.documents, sentence, of_documents) - 1
    return sentence, document, corpus.documents[document], corpus.documents[document + 1]


# A sentence has a token or more, and so cannot be further away in sentences than in tokens.
def _back(corpus: Corpus, sentence: np.ndarray, token: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The sentence that is `distance` tokens before a token of `sentence`; -1 before the first."""
    count = sentence + 1
    return count_between(corpus.sentences, token - distance, np.maximum(count - distance, 0), count) - 1


def _forth(corpus: Corpus, sentence: np.ndarray, end: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """The first sentence from `end` on, a token at most `distance` after one of `sentence`."""
    low = sentence + 1
    return count_between(corpus.sentences, end - 1, low, np.minimum(low + distance, len(corpus.sentences)))


def _window(token: np.ndarray, target: np.ndarray, place: np.ndarray, first: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Start of a window of `target` tokens that has `token` at `place` in [0, 1), kept within its document if it fits.

    The document is the tokens from `first` to `end`.
    """
    begin: np.ndarray = np.maximum(np.minimum(token - (place * target).astype(int), end - target), first)
    return begin


def _cut(start: np.ndarray, end: np.ndarray, u: np.ndarray) -> np.ndarray:
    """The sentence of a chunk before which to cut it; the chunk's end if it has only one sentence."""
    cut: np.ndarray = np.minimum(start + 1 + (u * np.maximum(end - start - 1, 1)).astype(int), end)
    return cut


def truncated(pairs: Pairs, target: np.ndarray, u: np.ndarray) -> Pairs:
    """Cut the longer segment until both fit; the cut tokens are divided at random between its front and its end."""
    a, b = pairs.a_length, pairs.b_length
    half = target // 2
    keep_a = np.where(a + b <= target, a, np.where(b <= half, target - b, np.minimum(a, half)))
    keep_b = np.minimum(b, target - keep_a)
    a_front = (u * (a - keep_a + 1)).astype(int)
    b_front = ((1 - u) * (b - keep_b + 1)).astype(int)
    # 1 - u may be 1; a segment must not begin past its remaining tokens.
    return Pairs(
        pairs.a_start + a_front, keep_a, pairs.b_start + np.minimum(b_front, b - keep_b), keep_b, pairs.is_next
    )
