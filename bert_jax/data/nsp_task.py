"""Next-sentence prediction as a task on texts, so that any encoder can be evaluated on it."""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bert_jax.corpus.corpus import Corpus, starts
from bert_jax.corpus.shards import read_corpus
from bert_jax.data.counter_rng import shuffled, uniform
from bert_jax.data.objectives import make_pairs, num_examples
from bert_jax.data.segments import NUM_DRAWS
from bert_jax.errors import InputError
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import Tokenizer

FOLLOWS = Task(
    "follows",
    "Follows",
    ("first", "second"),
    ("random", "follows"),
    ("accuracy",),
    ("heldout",),
    directed=True,
    needs="Whether two stretches of text are about the same things, and seldom more.",
)
"""BERT's next-sentence prediction: B is the text after A, or text of another document."""

_PAIRS, _ORDER = 0, 1
_SHORTEST = 9


def follow_splits(documents: Sequence[Sequence[str]], rows: int, words: int, seed: int) -> tuple[Split, Split]:
    """Pairs to fit a probe on, and the same number to score it on, each from its own half of the documents.

    Args:
        documents: documents, each a list of sentences.
        rows: number of pairs in each of the two splits.
        words: words of both texts of a pair together; a chunk of text is cut to them, as in pretraining.
        seed: determines the positions of the cuts in documents.

    Raises:
        InputError: the documents have too little text for so many pairs.
    """
    if len(documents) < 4:
        raise InputError(f"pairs of sentences need 4 documents or more, here are {len(documents)}")
    middle = len(documents) // 2
    return draw(documents[:middle], rows, words, seed), draw(documents[middle:], rows, words, seed)


def draw(documents: Sequence[Sequence[str]], rows: int, words: int, seed: int) -> Split:
    """Pairs from some documents, drawn as `bert_jax.data.segments` draws them for pretraining, but of whole words."""
    if words < _SHORTEST:
        raise InputError(f"{words} words are too few for a pair; use {_SHORTEST} or more")
    corpus, vocabulary = _by_words(documents)
    objective = ObjectiveConfig(short_share=0.0)
    length = words + 3  # make_pairs reserves 3 for special tokens
    available = num_examples(corpus, length, objective)
    if rows > available:
        raise InputError(f"{len(documents)} documents hold {available} pairs of {words} words, and {rows} are wanted")
    indices = shuffled(seed, 0, np.arange(rows), _ORDER, available)
    pairs = make_pairs(corpus, indices, uniform(seed, 0, indices, _PAIRS, NUM_DRAWS), length, objective)
    real = pairs.b_length > 0

    def texts(first: np.ndarray, lengths: np.ndarray) -> list[str]:
        spans = zip(first[real], lengths[real], strict=True)
        return [" ".join(vocabulary[i] for i in corpus.tokens[start : start + size]) for start, size in spans]

    labels = pairs.is_next[real].astype(np.int32)
    return Split(texts(pairs.a_start, pairs.a_length), texts(pairs.b_start, pairs.b_length), labels)


def read_documents(folder: Path, tokenizer: Tokenizer, limit: int) -> list[list[str]]:
    """The first `limit` documents at most of a prepared corpus's held-out part, as texts of sentences.

    Raises:
        InputError: as `read_corpus`.
    """
    corpus = read_corpus(folder, "heldout")
    cuts = corpus.documents[: limit + 1]
    spans = itertools.pairwise(corpus.sentences[: cuts[-1] + 1])
    sentences = tokenizer.texts([corpus.tokens[start:end].tolist() for start, end in spans])
    return [sentences[start:end] for start, end in itertools.pairwise(cuts)]


def _by_words(documents: Sequence[Sequence[str]]) -> tuple[Corpus, list[str]]:
    """Convert documents to a corpus whose tokens are words, and return it with the words."""
    words: dict[str, int] = {}
    split = [[sentence.split() for sentence in document] for document in documents]
    kept = [found for document in split if (found := [sentence for sentence in document if sentence])]
    sentences = list(itertools.chain.from_iterable(kept))
    tokens = [words.setdefault(word, len(words)) for sentence in sentences for word in sentence]
    corpus = Corpus(np.array(tokens, np.int32), starts(list(map(len, sentences))), starts(list(map(len, kept))))
    return corpus, list(words)
