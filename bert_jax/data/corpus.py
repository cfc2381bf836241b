"""Documents as token ids in three flat arrays: as cheap for a billion tokens on disk as for a thousand in memory."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.data.tokenizer import Tokenizer
from bert_jax.errors import InputError


class Corpus(NamedTuple):
    """Tokenised documents of sentences.

    tokens [T] int32: every sentence's ids, one after the other, without special tokens.
    sentences [S+1] int64: where each sentence begins in `tokens`. documents [D+1] int64: where each
    document begins in `sentences`. No sentence and no document is empty.
    """

    tokens: np.ndarray
    sentences: np.ndarray
    documents: np.ndarray

    @property
    def num_documents(self) -> int:
        return len(self.documents) - 1


def tokenize_documents(tokenizer: Tokenizer, documents: Sequence[Sequence[str]]) -> Corpus:
    """Tokenise documents, each a list of sentences; sentences and documents that come out empty are left out.

    Raises:
        InputError: fewer than two documents are left; a random next sentence needs another document.
    """
    sentences: list[list[int]] = []
    ends = [0]
    for document in documents:
        sentences += [ids for ids in tokenizer.pieces(document) if ids]
        if len(sentences) > ends[-1]:
            ends.append(len(sentences))
    if len(ends) < 3:
        raise InputError(f"found {len(ends) - 1} documents with text; sentence pairs need at least two")
    starts = np.concatenate([[0], np.cumsum([len(ids) for ids in sentences])])
    return Corpus(np.concatenate([np.asarray(ids, np.int32) for ids in sentences]), starts, np.array(ends))
