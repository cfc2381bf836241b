"""Looked up by words, paragraphs come out as their sentences do that are split and tokenised one by one."""

from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from tokenizers.implementations import BertWordPieceTokenizer

from bert_jax.corpus import paragraphs as module
from bert_jax.corpus import word_table
from bert_jax.corpus.corpus import tokenize
from bert_jax.corpus.paragraphs import ParagraphTokenizer
from bert_jax.corpus.sentences import (
    as_first,
    as_last,
    find_ends,
    paragraphs_of,
    split_sentences,
)
from bert_jax.tokenizers.tokenizer import WordPiece, train_sentencepiece

KINDS = ["wordpiece", "bpe", "unigram"]


@pytest.fixture(scope="module")
def documents():
    text = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
    real = [paragraphs_of(document) for document in text.split("\n\n")]
    odd = [
        ["No. 5 is 1. 2. 3. Not so! « \u2013 ( Why? ) U.S. The end"],
        [],
        ["東京 is. A e\u0301 n\u0303. 🙂👍🏽 Ok."],
        ["\u0301", "\u200b"],
        ["x" * 200 + ". Y"],
    ]
    return [*real, *odd, *real[:3]]


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request, documents):
    text = [paragraph for document in documents for paragraph in document]
    if request.param == "wordpiece":
        trained = BertWordPieceTokenizer()
        trained.train_from_iterator(text, 800, min_frequency=1, show_progress=False)
        return WordPiece(trained._tokenizer)
    return train_sentencepiece(text, 450, request.param, coverage=0.99)


def by_sentences(tokenizer, documents, split=True):
    sentences = [[s for p in document for s in (split_sentences(p) if split else [p])] for document in documents]
    return [
        ("\n".join(kept), found.tokens.tolist(), found.lengths.tolist())
        for kept, found in zip(sentences, tokenize(tokenizer, sentences), strict=True)
    ]


def by_words(tokenizer, documents, split=True):
    found = ParagraphTokenizer(tokenizer, split)(documents)
    return [(content.decode(), document.tokens.tolist(), document.lengths.tolist()) for content, document in found]


@pytest.mark.parametrize("split", [True, False])
def test_both_ways_give_the_same(tokenizer, documents, split):
    assert tokenizer.wordwise
    assert by_words(tokenizer, documents, split) == by_sentences(tokenizer, documents, split)


def test_nothing_depends_on_batches_or_on_what_is_forgotten(tokenizer, documents, monkeypatch):
    expected = by_sentences(tokenizer, documents)
    monkeypatch.setattr(module, "_BATCH", 300)
    for owner in (module, word_table):
        monkeypatch.setattr(owner, "CAPACITY", 2000)
    assert max(sum(map(len, document)) for document in documents) > 300
    assert by_words(tokenizer, documents) == expected


@pytest.mark.parametrize(
    "options", [{"split_by_whitespace": False}, {"add_dummy_prefix": False}, {"remove_extra_whitespaces": False}]
)
def test_a_tokenizer_that_looks_over_spaces_has_whole_sentences(options, documents, monkeypatch):
    train = sentencepiece.SentencePieceTrainer.train
    monkeypatch.setattr(sentencepiece.SentencePieceTrainer, "train", lambda **given: train(**given | options))
    tokenizer = train_sentencepiece([paragraph for document in documents for paragraph in document], 500)
    assert not tokenizer.wordwise
    assert by_words(tokenizer, documents) == by_sentences(tokenizer, documents)


def test_a_paragraph_that_is_two_is_refused(tokenizer):
    with pytest.raises(ValueError, match="new line"):
        list(ParagraphTokenizer(tokenizer, True)([["one\ntwo"]]))


ENDS = (
    "a The No No. no. 1. 12. 5 Mr. e.g. U.S. p. P. Inc. etc. ... . ! ?” (ok.) « \u2013 ( “He it. Is! 3rd x… é. (1."
).split()
MARKS = list("aA1.!…\"'“”(«\u2013)é²")


def test_ends_are_where_sentences_are_split():
    rng = np.random.default_rng(0)

    def word():
        return str(rng.choice(ENDS)) if rng.random() < 0.7 else "".join(rng.choice(MARKS, rng.integers(1, 5)))

    for _ in range(1000):
        paragraphs = [[word() for _ in range(rng.integers(1, 12))] for _ in range(rng.integers(1, 5))]
        words = [word for paragraph in paragraphs for word in paragraph]
        last = np.zeros(len(words), bool)
        last[np.cumsum([len(paragraph) for paragraph in paragraphs]) - 1] = True
        ends = find_ends(np.array([as_last(w) for w in words]), np.array([as_first(w) for w in words]), last)
        found = [" ".join(part) for part in np.split(np.array(words, object), np.flatnonzero(ends) + 1) if len(part)]
        assert found == [sentence for paragraph in paragraphs for sentence in split_sentences(" ".join(paragraph))]
