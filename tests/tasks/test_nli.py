"""Inference pairs are read from the files that the field exchanges, and what is wrong with a file is said."""

import json

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.tasks.nli import read_nli

HUB = [
    ("A man sleeps.", "He rests.", "entailment"),
    ("It rains.", "It\u2028may.", "neutral"),
    ("a", "b", "contradiction"),
]


def write(path, rows, names=("premise", "hypothesis", "label")):
    path.write_text("".join(json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("names", [("premise", "hypothesis", "label"), ("sentence1", "sentence2", "gold_label")])
def test_json_lines_are_read_in_order_whatever_their_fields_are_called(tmp_path, names):
    split = read_nli(write(tmp_path / "x.jsonl", HUB, names))
    assert split.a == [row[0] for row in HUB] and split.b == [row[1] for row in HUB]
    assert split.labels.tolist() == [0, 1, 2] and split.labels.dtype == np.int32


def test_pairs_without_agreement_are_left_out_and_numbers_are_labels(tmp_path):
    path = write(tmp_path / "x.jsonl", [("a", "b", "-"), ("c", "d", 2), ("e", "f", -1), ("g", "h", 0)])
    with pytest.warns(UserWarning, match=rf"{path}: left out 2 pairs"):
        split = read_nli(path)
    assert split.a == ["c", "g"] and split.labels.tolist() == [2, 0]


def write_senteval(folder, labels=("neutral", "contradiction")):
    for name, lines in (("s1", ["a one", "a two"]), ("s2", ["b one", "b two"]), ("labels", labels)):
        (folder / f"{name}.dev").write_text("".join(f"{line}\n" for line in lines))
    return folder / "labels.dev"


def test_sentevals_three_files_are_one_set(tmp_path):
    split = read_nli(write_senteval(tmp_path))
    assert split.a == ["a one", "a two"] and split.b == ["b one", "b two"] and split.labels.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '{"premise": "a", "hypothesis": "b", "label": "entailed"}',
            "row 2: label 'entailed' is not one of entailment",
        ),
        ('{"premise": "a", "hypothesis": "b", "label": 3}', "row 2: label 3 is not one of"),
        ('{"premise": "a", "label": 0}', "row 2: it needs premise, hypothesis, label or .*, and has premise, label"),
        ('{"premise": 7, "hypothesis": "b", "label": 0}', "row 2: 'premise' is 7 where a string is needed"),
        ('{"premise": "a", "hypothesis": null, "label": 0}', "row 2: 'hypothesis' is null where a string is needed"),
        (
            '{"premise": ["a"], "hypothesis": "b", "label": 0}',
            "row 2: 'premise' is a list of 1 where a string is needed",
        ),
        (r'{"premise": "a \ud83d", "hypothesis": "b", "label": 0}', r"row 2: 'premise' holds \\ud83d, half of a"),
        ('{"premise": "a", "hypothesis": "b", "label": true}', "row 2: label True is not one of"),
        ('{"premise": "a", "hypothesis": "b", "label": ["-"]}', r"row 2: label \['-'\] is not one of"),
        ("[1]", "row 2: a list of 1 where a JSON object is needed"),
        ("[" * 100_000, "row 2: this JSON is nested too deeply"),
        ('{"premise": ', "row 2: not JSON"),
    ],
)
def test_a_bad_row_is_named(tmp_path, line, message):
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"premise": "a", "hypothesis": "b", "label": 1}}\n{line}\n')
    with pytest.raises(InputError, match=message):
        read_nli(path)


def test_other_mistakes_are_named(tmp_path):
    path = write_senteval(tmp_path)
    with pytest.raises(InputError, match=r"is a folder: name a file .*\(labels\.dev\)"):
        read_nli(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_nli(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="no pair has a label"):
        read_nli(write(tmp_path / "x.jsonl", [("a", "b", "-")]))
    write_senteval(tmp_path, ["neutral"])
    with pytest.raises(InputError, match="1 labels for 2 and 2 sentences"):
        read_nli(path)


@pytest.mark.parametrize(("name", "rows"), [("nli/mnli_dev_matched.jsonl", 9815), ("senteval/SNLI/labels.test", 9824)])
def test_the_published_files_are_read(shared, name, rows):
    split = read_nli(shared / name)
    assert len(split.a) == len(split.b) == len(split.labels) == rows
    assert (np.bincount(split.labels) > 3000).all()
