"""Pairs of texts that follow one another or do not."""

import numpy as np
import pytest

from bert_jax.corpus.prepare import prepare_documents
from bert_jax.data.nsp_task import draw, follow_splits, read_documents
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tokenizers.tokenizer import load_tokenizer

DOCUMENTS = [[" ".join(f"d{d}s{s}w{w}" for w in range(5)) + "." for s in range(8)] for d in range(20)]
"""Every word says where it stands."""


def test_b_is_what_comes_next_or_text_of_another_document():
    pairs = draw(DOCUMENTS, rows=30, words=16, seed=0)
    assert 8 < pairs.labels.sum() < 22
    text = [" ".join(document) for document in DOCUMENTS]
    for a, b, follows in zip(pairs.a, pairs.b, pairs.labels, strict=True):
        assert 0 < len(a.split()) + len(b.split()) <= 16
        home, other = (words.split()[0].split("s")[0] for words in (a, b))
        assert (home == other) == bool(follows)
        inside = text[int(home[1:])].split()
        assert a in text[int(home[1:])] and b in text[int(other[1:])]
        if follows:  # cut at its front or end only where the pair was too long
            assert 0 <= inside.index(b.split()[0]) - inside.index(a.split()[-1]) - 1 < 16


def test_a_probe_is_fitted_and_scored_on_different_documents():
    train, held_out = follow_splits(DOCUMENTS, rows=15, words=16, seed=0)
    seen = [{word.split("s")[0] for text in split.a + split.b for word in text.split()} for split in (train, held_out)]
    assert not seen[0] & seen[1]
    again = follow_splits(DOCUMENTS, rows=15, words=16, seed=0)
    other = follow_splits(DOCUMENTS, rows=15, words=16, seed=1)
    assert again[1].a == held_out.a and np.array_equal(again[1].labels, held_out.labels)
    assert other[1].a != held_out.a


@pytest.mark.parametrize(("settings", "says"), [((9, 5), "use 9 or more"), ((4000, 16), "and 4000 are wanted")])
def test_pairs_that_cannot_be_are_refused(settings, says):
    with pytest.raises(InputError, match=says):
        draw(DOCUMENTS, *settings, seed=0)
    with pytest.raises(InputError, match="4 documents or more"):
        follow_splits(DOCUMENTS[:3], 5, 16, 0)


def test_held_out_documents_come_back_as_texts(tmp_path):
    documents = [[f"the cat number {d} sits .", "a red dog runs away ."] for d in range(40)]
    prepare_documents(documents, tmp_path, VocabConfig(size=60, algorithm="bpe"), 0.25)
    found = read_documents(tmp_path, load_tokenizer(tmp_path), limit=3)
    assert len(found) == 3
    assert all(document in documents for document in found)
