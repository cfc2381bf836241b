"""A run folder belongs to its settings, and a file in it is whole or not there."""

import json

import pytest

from bert_jax.errors import InputError
from bert_jax.files import claim, write_whole

SETTINGS = {"steps": 10, "optim": {"rate": 0.1, "b2": 0.999}, "names": ["a", "b"]}


def test_the_same_settings_may_come_again_in_any_order(tmp_path):
    path = tmp_path / "new" / "config.json"
    claim(path, SETTINGS)
    before = path.read_bytes()
    claim(path, dict(reversed(SETTINGS.items())))
    assert path.read_bytes() == before and json.loads(before) == SETTINGS


def test_every_difference_is_listed_and_nothing_is_written(tmp_path):
    path = tmp_path / "config.json"
    claim(path, SETTINGS)
    before = path.read_bytes()
    other = {"steps": 20, "optim": {"rate": 0.1, "b2": 0.98}, "names": ["a", "b"], "seed": 1}
    with pytest.raises(InputError) as error:
        claim(path, other)
    text = str(error.value)
    assert "steps was 10 and is 20; optim.b2 was 0.999 and is 0.98; seed was absent and is 1." in text
    assert str(tmp_path) in text and "another --out" in text and "rate" not in text
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_settings_that_cannot_be_read_are_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=rf"{tmp_path}/config\.json.*restore it, or use another --out"):
        claim(tmp_path / "config.json", SETTINGS)


def test_a_file_whose_writing_fails_is_what_it_was(tmp_path):
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"before"))

    def failing(file):
        file.write(b"half of it")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        write_whole(path, failing)
    assert path.read_bytes() == b"before"
