"""Documents as token ids in three flat arrays: as cheap for a billion tokens on disk as for a thousand in memory."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError
from bert_jax.tokenizers.tokenizer import Tokenizer

_BATCH = 1 << 18
"""Characters tokenised in one call: enough to keep a tokenizer busy, few enough that their ids fit a cache."""


class Corpus(NamedTuple):
    """Tokenised documents of sentences.

    tokens [T] uint16, or int32 where the vocabulary needs it: every sentence's ids, one after the other, without
    special tokens; cast before you calculate with them. sentences [S+1] int64: where each sentence begins in
    `tokens`. documents [D+1] int64: where each document begins in `sentences`. No sentence and no document is empty.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.documents) - 1

    @property
    def paired_share(self) -> float:
        """The share of its tokens in documents of two sentences or more: of the examples, those that can be a pair."""
        several = np.diff(self.documents) > 1
        tokens = np.diff(self.sentences[self.documents])
        return float(tokens[several].sum() / tokens.sum())


class Document(NamedTuple):
    """One tokenised document: tokens [T], its sentences' ids one after the other; lengths [S] uint32 of them."""

    tokens: np.ndarray
    lengths: np.ndarray


def token_dtype(vocab_size: int) -> type[np.generic]:
    """The smallest type of `Corpus.tokens` for a vocabulary."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


def tokenize(tokenizer: Tokenizer, documents: Iterable[Sequence[str]]) -> Iterator[Document]:
    """Tokenise documents, each a list of sentences; sentences that come out empty are left out, documents are not."""
    pending: list[Sequence[str]] = []
    size = 0
    for document in documents:
        pending.append(document)
        size += sum(map(len, document))
        if size >= _BATCH:
            yield from _tokenize_batch(tokenizer, pending)
            pending, size = [], 0
    yield from _tokenize_batch(tokenizer, pending)


def _tokenize_batch(tokenizer: Tokenizer, documents: list[Sequence[str]]) -> Iterator[Document]:
    pieces = tokenizer.pieces(list(itertools.chain.from_iterable(documents)))
    lengths = np.fromiter(map(len, pieces), np.uint32, len(pieces))
    tokens = np.fromiter(itertools.chain.from_iterable(pieces), token_dtype(tokenizer.vocab_size), int(lengths.sum()))
    sentence = token = 0
    for document in documents:
        inside = lengths[sentence : sentence + len(document)]
        count = int(inside.sum())
        yield Document(tokens[token : token + count], inside[inside > 0])
        sentence, token = sentence + len(document), token + count


def join_documents(documents: Iterable[Document]) -> Corpus:
    """Documents as a corpus; those without tokens are left out.

    Raises:
        InputError: fewer than two documents are left; a random next sentence needs another document.
    """
    kept = [document for document in documents if len(document.tokens)]
    if len(kept) < 2:
        raise InputError(f"found {len(kept)} documents with text; sentence pairs need at least two")
    return Corpus(
        np.concatenate([document.tokens for document in kept]),
        starts(np.concatenate([document.lengths for document in kept])),
        starts([len(document.lengths) for document in kept]),
    )


def starts(lengths: Sequence[int] | np.ndarray) -> np.ndarray:
    """Where each of some parts begins, and where the last one ends.

    >>> starts([2, 1, 4])
    array([0, 2, 3, 7])
    """
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def tokenize_documents(tokenizer: Tokenizer, documents: Iterable[Sequence[str]]) -> Corpus:
    """Tokenise documents, each a list of sentences; sentences and documents that come out empty are left out.

    Raises:
        InputError: fewer than two documents are left; a random next sentence needs another document.
    """
    return join_documents(tokenize(tokenizer, documents))
