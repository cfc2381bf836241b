"""A corpus folder gives back what was put in, and says so when it is not what it was."""

import json
import os
import resource
import signal

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader

from bert_jax.corpus import shards
from bert_jax.corpus.corpus import (
    Document,
    join_documents,
    token_dtype,
    tokenize,
    tokenize_documents,
)
from bert_jax.corpus.prepare import prepare_documents, share
from bert_jax.corpus.shards import (
    claim,
    locked,
    read_corpus,
    read_manifest,
    write_shard,
)
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tokenizers.tokenizer import load_tokenizer, train_sentencepiece

WORDS = "one two three four five six seven eight nine ten".split()


def make_documents(count=60, seed=0):
    rng = np.random.default_rng(seed)
    return [[" ".join(rng.choice(WORDS, rng.integers(1, 9))) for _ in range(rng.integers(1, 6))] for _ in range(count)]


@pytest.fixture
def folder(tmp_path):
    """A corpus of 60 documents, a third of them held out."""
    prepare_documents(make_documents(), tmp_path / "corpus", VocabConfig(size=28), heldout=1 / 3)
    return tmp_path / "corpus"


def assert_same(a, b):
    for ours, theirs in zip(a, b, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_a_corpus_is_read_as_it_was_tokenised(folder):
    tokenizer = load_tokenizer(folder)
    for split in shards.SPLITS:
        chosen = [
            text for text in make_documents() if (share("\n".join(text).encode()) < 1 / 3) == (split == "heldout")
        ]
        corpus = read_corpus(folder, split)
        assert_same(corpus, tokenize_documents(tokenizer, chosen))
        counts = {"documents": len(chosen), "sentences": sum(map(len, chosen)), "tokens": len(corpus.tokens)}
        assert read_manifest(folder)["totals"][split] == counts


def test_the_layout_of_a_record_is_what_the_docstring_says(folder):
    reader = ArrayRecordReader(str(folder / "train-00000.arrayrecord"))
    record = reader.read()
    reader.close()
    corpus = read_corpus(folder, "train")
    count = int(corpus.documents[1])
    words = np.frombuffer(record, "<u4", 1 + count)
    assert words[0] == count
    np.testing.assert_array_equal(words[1:], np.diff(corpus.sentences[: count + 1]))
    np.testing.assert_array_equal(np.frombuffer(record, "<u2", offset=4 + 4 * count), corpus.tokens[: words[1:].sum()])


def test_large_vocabularies_have_wider_ids(tmp_path, monkeypatch):
    assert [token_dtype(size) for size in (1 << 16, (1 << 16) + 1)] == [np.uint16, np.int32]
    documents = [Document(np.array([70_000, 5, 1 << 20], np.int32), np.array([1, 2], np.uint32))] * 2
    shard = write_shard(tmp_path, 7, "train", documents)
    assert shard[:5] == ("train-00007.arrayrecord", "train", 2, 4, 6) and shard.unknown_tokens is None
    assert write_shard(tmp_path, 8, "train", documents, unk=5).unknown_tokens == 2
    manifest = {"tokenizer": {"vocab_size": 1 << 21}, "shards": [shard._asdict()]}
    monkeypatch.setattr(shards, "read_manifest", lambda folder: manifest)
    assert_same(read_corpus(tmp_path, "train"), join_documents(documents))


def test_tokens_do_not_depend_on_the_batches(monkeypatch):
    documents = [*make_documents(), [], [""], ["", "one", " "]]
    tokenizer = train_sentencepiece([s for document in documents for s in document], 28)
    monkeypatch.setattr("bert_jax.corpus.corpus._BATCH", 100)
    found = list(tokenize(tokenizer, documents))
    assert len(found) == len(documents) and [len(document.lengths) for document in found[-3:]] == [0, 0, 1]
    for document, text in zip(found, documents, strict=True):
        pieces = [ids for ids in tokenizer.pieces(text) if ids]
        assert document.lengths.tolist() == [len(ids) for ids in pieces]
        assert document.tokens.tolist() == [i for ids in pieces for i in ids]


def test_too_few_documents_are_refused():
    tokenizer = train_sentencepiece(WORDS, 22)
    with pytest.raises(InputError, match="found 1 documents with text"):
        tokenize_documents(tokenizer, [["one two"], ["", " "], []])


def test_a_changed_shard_is_named(folder):
    path = folder / "train-00000.arrayrecord"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train-00000.arrayrecord differs from its checksum in manifest.json"):
        read_corpus(folder, "train")
    read_corpus(folder, "heldout")
    path.unlink()
    with pytest.raises(InputError, match=r"shard train-00000.arrayrecord of manifest.json is missing"):
        read_corpus(folder, "train")


def test_another_tokenizer_is_noticed(folder):
    train_sentencepiece(WORDS, 22).save(folder)
    with pytest.raises(InputError, match=r"the tokenizer is not the one that the shards were made with"):
        read_corpus(folder, "train")
    (folder / "spiece.model").unlink()
    with pytest.raises(InputError, match="has no tokenizer"):
        read_corpus(folder, "train")


def test_what_is_no_corpus_is_said_to_be_none(folder, tmp_path):
    with pytest.raises(InputError, match=r"nothing is not a prepared corpus: it has no manifest.json"):
        read_corpus(tmp_path / "nothing", "train")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"] = [row for row in manifest["shards"] if row["split"] == "train"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="has no heldout documents"):
        read_corpus(folder, "heldout")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 0}))
    with pytest.raises(InputError, match="the corpus has version 0, not 1"):
        read_corpus(folder, "train")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest.json is not JSON .*; prepare the corpus again"):
        read_corpus(folder, "train")


def test_a_folder_belongs_to_its_settings(tmp_path):
    assert claim(tmp_path / "new", {"size": 1, "text": {"heldout": 0.5}}) is False
    # Nothing is there but settings, so that nothing is lost.
    assert claim(tmp_path / "new", {"size": 2, "text": {"heldout": 0.5}}) is False
    (tmp_path / "new" / "spiece.model").write_bytes(b"")
    with pytest.raises(InputError, match=r"size was 2 and is 3; text.heldout was 0.5 and is 0.1"):
        claim(tmp_path / "new", {"size": 3, "text": {"heldout": 0.1}})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match="holds files that are not a corpus"):
        claim(tmp_path / "other", {})


def test_one_process_at_a_time(tmp_path):
    (tmp_path / "train-00001.arrayrecord.partial").touch()
    (tmp_path / "tokenizer.partial").mkdir()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        with pytest.raises(InputError, match=f"is in use by process {os.getpid()} on "), locked(tmp_path):
            pass
    with locked(tmp_path):
        pass


def test_a_full_disk_is_an_error_of_the_system(tmp_path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, usual[1]))
    try:
        with pytest.raises(OSError):
            write_shard(tmp_path, 0, "train", [Document(np.zeros(500_000, np.uint16), np.array([500_000], np.uint32))])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, handler)
    assert not (tmp_path / "train-00000.arrayrecord").exists()
