"""Small corpora in which every token tells its place: token t of the text has id 5 + t."""

import itertools

import numpy as np

from bert_jax.corpus.corpus import Corpus
from bert_jax.tokenizers.template import SpecialIds

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


def corpus_of(*documents, dtype=np.int32):
    """Documents given by the lengths of their sentences."""
    lengths = list(itertools.chain(*documents))
    ends = np.cumsum([0] + [len(document) for document in documents])
    tokens = np.arange(5, 5 + sum(lengths), dtype=dtype)
    return Corpus(tokens, np.concatenate([[0], np.cumsum(lengths)]), ends)


def random_corpus(documents=60, sentences=12, longest=20, seed=0, dtype=np.int32):
    rng = np.random.default_rng(seed)
    lengths = (rng.integers(1, longest, rng.integers(1, sentences)).tolist() for _ in range(documents))
    return corpus_of(*lengths, dtype=dtype)


def document_of(corpus, token):
    return np.searchsorted(corpus.sentences[corpus.documents], token, side="right") - 1


HARD = {
    "ordinary": random_corpus(),
    "sentences of one token": corpus_of(*([1] * 30 for _ in range(5))),
    "documents of one sentence": corpus_of(*([7] for _ in range(30))),
    "two documents of one token": corpus_of([1], [1]),
    "sentences longer than an example": corpus_of([200], [90, 1], [1, 150, 3], [64]),
    "one long document": corpus_of([9] * 80, [2]),
}
