"""Tokenised documents as three flat arrays, which suit a billion tokens as well as a thousand."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.corpus.search import Coarse
from bert_jax.errors import InputError
from bert_jax.tokenizers.tokenizer import Tokenizer

_BATCH = 1 << 18
"""Characters tokenised in one call: enough to keep a tokenizer busy, few enough that their ids fit into a cache."""


class Counts(NamedTuple):
    """Counts of a corpus that its manifest keeps, so that nobody reads all of it.

    paired: tokens in documents of two or more sentences. unknown: tokens that are `unk`, the id of [UNK].
    """

    tokens: int
    highest: int
    paired: int
    unk: int
    unknown: int


class Corpus(NamedTuple):
    """Tokenised documents of sentences.

    tokens [T] uint16, or int32 for a large vocabulary: the concatenated ids of all sentences, without special tokens;
    cast them before arithmetic. sentences [S+1] int64: start of each sentence in `tokens`, and the end of the last.
    documents [D+1] int64: start of each document in `sentences`, and the end of the last. No sentence and no document
    is empty. The arrays may be files that are mapped into memory; `counts` spares reading all of them, and `coarse`
    most of a search in `sentences` and in `documents`.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray
    counts: Counts | None = None
    coarse: tuple[Coarse | None, Coarse | None] = (None, None)

    @property
    def num_documents(self) -> int:
        return len(self.documents) - 1

    @property
    def paired_share(self) -> float:
        """Share of tokens in documents of two or more sentences, the only ones that give examples with a true pair."""
        if self.counts is not None:
            return self.counts.paired / self.counts.tokens
        several = np.diff(self.documents) > 1
        tokens = np.diff(self.sentences[self.documents])
        return float(tokens[several].sum() / tokens.sum())

    @property
    def highest_id(self) -> int:
        """The highest token id; -1 without tokens."""
        if self.counts is not None:
            return self.counts.highest
        return int(self.tokens.max()) if len(self.tokens) else -1

    def count_unknown(self, unk: int) -> int:
        """Number of tokens that are [UNK], whose id is `unk`."""
        if self.counts is not None and self.counts.unk == unk:
            return self.counts.unknown
        return int((self.tokens == unk).sum())


class Document(NamedTuple):
    """A tokenised document. tokens [T]: concatenated ids of its sentences. lengths [S] uint32: tokens per sentence."""

    tokens: np.ndarray
    lengths: np.ndarray


def token_dtype(vocab_size: int) -> type[np.generic]:
    """Return the smallest dtype of `Corpus.tokens` for a vocabulary."""
    return np.uint16 if vocab_size <= 1 << 16 else np.int32


def tokenize(tokenizer: Tokenizer, documents: Iterable[Sequence[str]]) -> Iterator[Document]:
    """Tokenise documents, each a list of sentences; sentences without tokens are left out, documents are kept."""
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
    """Join documents into a corpus; those without tokens are left out.

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
    """Convert lengths to offsets: the start of each part, and the end of the last.

    >>> starts([2, 1, 4])
    array([0, 2, 3, 7])
    """
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def tokenize_documents(tokenizer: Tokenizer, documents: Iterable[Sequence[str]]) -> Corpus:
    """Tokenise documents, each a list of sentences, into a corpus; sentences and documents without tokens are left out.

    Raises:
        InputError: fewer than two documents are left; a random next sentence needs another document.
    """
    return join_documents(tokenize(tokenizer, documents))
