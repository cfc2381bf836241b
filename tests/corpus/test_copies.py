"""A corpus at an address becomes the same corpus on the local disk, or an error."""

import json
import shutil

import pytest

from bert_jax.corpus.copies import local_corpus
from bert_jax.corpus.prepare import prepare_documents
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig
from bert_jax.remote import Remote


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    documents = [[f"the {noun} {verb}."] * 3 for noun in ("dog", "cat", "bird") for verb in ("sings", "swims", "runs")]
    folder = tmp_path_factory.mktemp("whole") / "corpus"
    prepare_documents(documents, folder, VocabConfig(size=24), heldout=1 / 3)
    return folder


@pytest.fixture
def there(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(whole, tmp_path / "there")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_copy_is_the_corpus_and_is_made_once(there, whole, monkeypatch):
    folder = local_corpus(f"file://{there}")
    assert contents(folder) == contents(whole)
    monkeypatch.setattr(Remote, "bring", lambda *args: pytest.fail("it was brought again"))
    assert local_corpus(f"file://{there}") == folder


def test_an_interrupted_copy_goes_on(there, whole, monkeypatch):
    bring, brought = Remote.bring, []

    def limited(remote, row, path):
        if len(brought) == 2:
            raise KeyboardInterrupt
        brought.append(row.file)
        bring(remote, row, path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Remote, "bring", limited)
        local_corpus(f"file://{there}")
    for name in brought:
        (there / name).unlink()  # as they are here
    assert contents(local_corpus(f"file://{there}")) == contents(whole)


@pytest.mark.parametrize("name", ["train-tokens.npy", "heldout-documents.npy", "spiece.model"])
def test_a_damaged_file_is_named(there, name):
    right = (there / name).read_bytes()
    content = bytearray(right)
    content[len(content) // 2] ^= 1
    (there / name).write_bytes(content)
    what = "the tokenizer is not the one" if name == "spiece.model" else f"{name} differs from its checksum"
    for _ in range(2):
        with pytest.raises(InputError, match=what):
            local_corpus(f"file://{there}")
    (there / name).write_bytes(right)
    assert contents(local_corpus(f"file://{there}"))[name] == right


def test_another_version_and_no_corpus_are_refused(there):
    with pytest.raises(
        InputError, match=r"--corpus file://.*/nothing is not a prepared corpus: it has no manifest.json"
    ):
        local_corpus(f"file://{there}/nothing")
    manifest = json.loads((there / "manifest.json").read_text())
    (there / "manifest.json").write_text(json.dumps(manifest | {"version": 1}))
    with pytest.raises(InputError, match=r"version 1, not 2; convert it with experiments.check_corpus"):
        local_corpus(f"file://{there}")
