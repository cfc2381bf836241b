"""Markup and placeholders go, words stay; sentences end where a reader would say that they do."""

import time

import numpy as np
import pytest

from bert_jax.corpus.sentences import (
    clean,
    paragraphs_of,
    sentences_of,
    split_sentences,
)
from bert_jax.tokenizers.long_sentences import cut_long


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("Plain text, with 3 < 4 and a > b.", "Plain text, with 3 < 4 and a > b."),
        ('A <ref name="x">note</ref> and <br /> a break<nowiki/>.', "A note and a break."),
        ("H<sub>2</sub>O is one<br>word", "H2O is one word"),
        ("If a <b and c> d, nothing is a tag.", "If a <b and c> d, nothing is a tag."),
        ("Seen<!-- unseen <b> --> here", "Seen here"),
        ("R&amp;B costs &lt;b&gt;5&nbsp;&euro;", "R&B costs 5 €"),
        ("where formula_1 and formula_23 are equal", "where and are equal"),
        ("The formula_ is reformula_2 left", "The formula_ is reformula_2 left"),
        ("Ada ( ; ) Lovelace () (1815)", "Ada Lovelace (1815)"),
        ("See [[Paris|the capital]] and [[Rome]].", "See the capital and Rome."),
        ("[[Category:Cities| ]] [[File:a.png|thumb|left]] Text", "Text"),
        ("an open [[link and an end]]", "an open link and an end"),
        ("\t two\u00a0 spaces\u3000 \r", "two spaces"),
        ("\0a NUL\x07 and\x1b \x7f other \x9f&#1;controls", "a NUL and other controls"),
        ("joined \u200d stays", "joined \u200d stays"),
    ],
)
def test_clean_takes_markup_and_leaves_the_words(line, cleaned):
    assert clean(line) == cleaned


@pytest.mark.parametrize("start", ["(", "<a ", "<a b", "<!--", "[[", "&", "formula_", "x. ("])
def test_hostile_lines_take_no_longer_than_others(start):
    began = time.perf_counter()
    for filler in (" ", "x", "1", "<", "(", ".", "[[", "= ", '"'):
        split_sentences(clean(start + filler * 20_000))
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("line", ["", " \u00a0\t", "formula_7", "<br>", "87||0", "1 2 3 - 4", "};", "Total||74||1"])
def test_a_line_without_words_is_empty(line):
    assert clean(line) == ""


@pytest.mark.parametrize(
    "sentences",
    [
        ["One sentence without an end"],
        ["It rained.", "They stayed!", "Why?", "No one knew."],
        ["It cost 3.50 on the 1.2 million market.", "Then it fell."],
        ["Mr. Wu met Dr. Ana Gomez and Gen. Lee at St. Paul, e.g. Sunday."],
        ["J. R. R. Tolkien and John F. Kennedy never met.", "Vitamin C.", "It helps."],
        ["The U.S. Army left the U.S.", "It came at 5 p.m.", "The door was open."],
        ["See Fig. 3 and No. 5 of Vol. 2 (pp. 7 f.), c. 1900.", "It was 1990.", "20 people came."],
        ["1. The first of them.", "2. The second."],
        ["She has a Ph.D. in law.", "He sold Apple Inc.", "The price fell."],
        ["Pears, apples, etc. were there.", "Smith et al. (2003) found it."],
        ["Then ... he left.", "Wait… what?", "No...", "Yes."],
        ['He said "No."', "She left.", "“Why?”", "(He stayed.)", "[It ended.]"],
        ["Il dit: «Non.»", "Elle partit.", "¿Qué?", "¡No!", "Sí."],
        ["„Nein.“", "Er kam z.B. aus Wien, d.h. aus Österreich.", "Ähnlich ging es bzw. Anna."],
        ["Он пришёл.", "Она ушла?!", "Да."],
        ["Yahoo! is big and eBay.com is too."],
    ],
)
def test_a_paragraph_is_split_where_its_sentences_end(sentences):
    assert split_sentences(" ".join(sentences)) == sentences


def test_no_text_is_lost_or_invented(shared):
    path = shared / "corpora" / "sample_text.txt"
    lines = [clean(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert any(len(split_sentences(line)) > 1 for line in lines)
    assert [" ".join(split_sentences(line)) for line in lines] == lines


def test_lines_that_are_sentences_stay_whole():
    document = "A line. And its rest.\n\n<br>\n  Another line.\nformula_1"
    assert paragraphs_of(document) == ["A line. And its rest.", "Another line."]
    assert list(sentences_of(document)) == ["A line.", "And its rest.", "Another line."]


def test_long_sentences_are_cut_at_spaces_or_between_characters_and_short_ones_left():
    rng = np.random.default_rng(0)
    texts = ("".join(rng.choice(list("ab é北🙂 "), rng.integers(0, 40))) for _ in range(500))
    sentences = [" ".join(text.split()) for text in texts]
    for size in (4, 7, 30):
        for sentence in sentences:
            pieces = list(cut_long([sentence], size))
            assert all(len(piece.encode()) <= size for piece in pieces)
            assert "".join(pieces).replace(" ", "") == sentence.replace(" ", "")
            assert len(sentence.encode()) > size or pieces == [sentence]
            words = sentence.split(" ")
            if max(len(word.encode()) for word in words) <= size:
                assert " ".join(pieces).split() == sentence.split()


def test_a_very_long_sentence_takes_no_longer_than_its_length():
    start = time.perf_counter()
    assert sum(map(len, cut_long(["北" * 2_000_000], 4192))) == 2_000_000
    assert time.perf_counter() - start < 2
