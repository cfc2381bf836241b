"""Slices hold the examples that their names say, and their scores are those of these examples alone."""

import numpy as np
import pytest
from folders import CLOSENESS, REVIEWS, flipped, write_folder

from bert_jax.analysis.comparison import differences, grid
from bert_jax.analysis.page import slices
from bert_jax.analysis.page.slices import find_slices, score_slices
from bert_jax.study.evaluation_rows import Example
from bert_jax.study.store import read_rows

CLS, MEAN = "last/cls/none", "last/mean/none"


def examples(*texts, groups=None):
    pairs = [text if isinstance(text, tuple) else (text, None) for text in texts]
    return [Example(i, "", a, b, "", groups[i] if groups else None) for i, (a, b) in enumerate(pairs)]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(slices, "LEAST", 1)


def members(found, kind):
    return {one.name: np.flatnonzero(one.members).tolist() for one in found if one.kind == kind}


def test_slices_by_label_group_length_negation_and_shared_words(small):
    texts = [("a b", "a b"), ("it isn\u2019t so", "it is so"), ("Never!", "not now"), ("one two three four", "five")]
    found = find_slices(["x", "y", "x", "y"], examples(*texts, groups=["g", "h", "h", None]))
    assert members(found, "label") == {"x": [0, 2], "y": [1, 3]}
    assert members(found, "group") == {"(none)": [3], "g": [0], "h": [1, 2]}
    assert members(found, "negation") == {"in neither text": [0, 3], "in one of the texts": [1], "in both texts": [2]}
    assert members(found, "length") == {"3 to 4 words": [0, 2], "5 to 5 words": [3], "7 to 7 words": [1]}
    assert members(found, "shared words")["100 to 100%"] == [0]


def test_words_that_only_contain_a_negation_are_none(small):
    found = find_slices(None, examples("nothing", "another note", "north", "cannot"))
    assert members(found, "negation") == {"without": [1, 2], "with": [0, 3]}


def test_slices_that_are_small_or_the_whole_set_are_left_out():
    texts = ["same words here"] * 40
    found = find_slices(["x"] * 21 + ["y"] * 19, examples(*texts))
    assert [(one.kind, one.name) for one in found] == [("label", "x")]


def test_a_set_without_texts_has_slices_by_label_and_subset():
    subsets = {"s": np.arange(60) < 30}
    assert {one.kind for one in find_slices(["x", "y"] * 30, None, subsets)} == {"label", "subset"}


def scores(folder, found, judged=(MEAN,)):
    ((_, cells),) = grid(read_rows(folder)).items()
    sides = {name: cell.ok for name, cell in cells.items()}
    return list(score_slices(found, sides, {MEAN: CLS}, judged, "validation", folder))


def test_the_difference_on_a_slice_is_that_of_a_set_of_its_examples(tmp_path):
    labels = np.tile([0, 1, 1], 40)
    sides = {CLS: [flipped(labels, 0.3, s) for s in range(3)], MEAN: [flipped(labels, 0.2, s + 9) for s in range(3)]}
    part = np.arange(120) % 2 == 0
    alone = {name: [one[part] for one in found] for name, found in sides.items()}
    whole = write_folder(tmp_path / "whole", REVIEWS, None, labels, sides)
    half = write_folder(tmp_path / "half", REVIEWS, None, labels[part], alone, digest_of_data="half")
    (_, one) = scores(whole, [slices.Slice("group", "even", part)])
    expected = differences(read_rows(half), half).iloc[0]
    np.testing.assert_allclose(one.change, expected[["difference", "low", "high", "p"]].to_numpy(float))
    assert one.readout == MEAN and one.verdict


def test_a_slice_of_one_label_is_scored_by_accuracy_and_without_variation_there_is_no_verdict(tmp_path):
    labels = np.repeat([0, 1], 30)
    sides = {CLS: [np.zeros(60, np.int32)] * 2, MEAN: [np.ones(60, np.int32)] * 2}
    task = REVIEWS.__class__("reviews", "Reviews", ("text",), ("bad", "good"), ("mcc",))
    folder = write_folder(tmp_path / "run", task, None, labels, sides)
    first, second = scores(folder, [slices.Slice("label", "bad", labels == 0)])
    assert (first.metric, first.score.mean, second.score.mean) == ("accuracy", 100, 0)
    assert second.change.mean == -100 and not second.verdict


def test_scores_are_not_sliced_by_label(tmp_path):
    assert not find_slices(None, None)
    assert CLOSENESS.is_regression
