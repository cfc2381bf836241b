"""The trainings of an encoder are read from its own history, or inferred from files of other programs."""

import pytest

from bert_jax.checkpoints.provenance import HISTORY, read_history, tunings, write_history
from bert_jax.errors import InputError


def test_trainings_are_kept_in_order(tmp_path):
    history = [{"objective": "nli", "train": ["a.jsonl", "mnli"]}, {"objective": "sts", "train": ["stsb"]}]
    write_history(tmp_path, history)
    assert read_history(tmp_path) == history
    assert tunings(tmp_path) == ["nli on a.jsonl, mnli", "sts on stsb"]


def test_an_encoder_that_was_only_pretrained_has_none(tmp_path, minilm):
    (tmp_path / "config.json").write_text('{"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}')
    assert tunings(tmp_path) == [] == read_history(tmp_path)
    assert tunings(minilm) == ["similarity (a sentence-transformers model)"]


@pytest.mark.parametrize("text", ["{", "{}", '[{"train": []}]', "[1]"])
def test_a_damaged_record_is_refused(tmp_path, text):
    (tmp_path / HISTORY).write_text(text)
    with pytest.raises(InputError, match=r"training\.json.*; restore it, or delete it with its model"):
        tunings(tmp_path)
