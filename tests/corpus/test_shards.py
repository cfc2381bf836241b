"""A corpus folder gives back what was put in, and says so when it is not what it was."""

import hashlib
import json
import os
import resource
import signal
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader

from bert_jax.corpus import arrays, search, shards
from bert_jax.corpus.arrays import ARRAYS, ArrayFile, open_arrays
from bert_jax.corpus.corpus import (
    Corpus,
    Counts,
    Document,
    join_documents,
    token_dtype,
    tokenize,
    tokenize_documents,
)
from bert_jax.corpus.prepare import prepare_documents, share
from bert_jax.corpus.shards import (
    MANIFEST,
    check_corpus,
    claim,
    join_shards,
    locked,
    read_corpus,
    read_manifest,
    read_records,
    write_shard,
)
from bert_jax.data.examples import PretrainData
from bert_jax.errors import InputError
from bert_jax.files import created
from bert_jax.pretrain_config import ObjectiveConfig, VocabConfig
from bert_jax.tokenizers.template import SpecialIds
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
    for ours, theirs in zip(a[:3], b[:3], strict=True):
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


def test_the_layout_of_a_record_is_what_the_docstring_says(tmp_path):
    documents = list(tokenize(train_sentencepiece(WORDS, 22), make_documents()))
    write_shard(tmp_path, 0, "train", documents)
    reader = ArrayRecordReader(str(tmp_path / "train-00000.arrayrecord"))
    record = reader.read()
    reader.close()
    corpus = join_documents(documents)
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
    totals = {"train": {"documents": 2, "sentences": 4, "tokens": 6}}
    manifest = {"tokenizer": {"vocab_size": 1 << 21}, "totals": totals, "shards": [shard._asdict()]}
    joined = join_shards(
        manifest, 5, lambda row: read_records(tmp_path / row.file), lambda name: created(tmp_path / name)
    )
    monkeypatch.setattr(shards, "read_manifest", lambda folder: joined)
    corpus = read_corpus(tmp_path, "train")
    assert_same(corpus, join_documents(documents))
    assert (corpus.highest_id, corpus.count_unknown(5), corpus.count_unknown(70_000)) == (1 << 20, 2, 2)
    assert corpus.counts == Counts(6, 1 << 20, 6, 5, 2)


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


@pytest.mark.parametrize("array", ARRAYS)
def test_a_changed_array_is_named(folder, array, monkeypatch):
    path = folder / f"train-{array}.npy"
    whole = path.read_bytes()
    content = bytearray(whole)
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"train-{array}.npy differs from its checksum in the manifest"):
        read_corpus(folder, "train")
    read_corpus(folder, "heldout")
    # A large file is read only when it is asked for.
    monkeypatch.setattr(arrays, "CHECKED_BYTES", 0)
    read_corpus(folder, "train")
    with pytest.raises(InputError, match=rf"train-{array}.npy differs from its checksum in the manifest"):
        check_corpus(folder)
    path.write_bytes(whole[:-1])
    with pytest.raises(InputError, match=rf"train-{array}.npy has [\d,]+ bytes and not [\d,]+ as its manifest says"):
        read_corpus(folder, "train")
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(InputError, match=rf"train-{array}.npy is not an array"):
        read_corpus(folder, "train")
    path.unlink()
    with pytest.raises(InputError, match=rf"train-{array}.npy of its manifest is missing"):
        read_corpus(folder, "train")


def test_a_corpus_of_version_1_is_refused_with_the_command_that_converts_it(tmp_path, monkeypatch, folder):
    old = tmp_path / "old corpus"
    with monkeypatch.context() as patch:
        patch.setattr(shards, "_complete", lambda folder, manifest: shards._write_json(folder / MANIFEST, manifest))
        prepare_documents(make_documents(), old, VocabConfig(size=28), heldout=1 / 3)
    assert any(old.glob("*.arrayrecord")) and not any(old.glob("*.npy"))
    with pytest.raises(InputError, match=r"python -m experiments.check_corpus --corpus '.*/old corpus'"):
        read_corpus(old, "train")
    assert check_corpus(old) is True and check_corpus(old) is False
    assert {path.name: path.read_bytes() for path in old.iterdir() if not path.name.startswith("part-")} == {
        path.name: path.read_bytes() for path in folder.iterdir()
    }


def test_what_is_counted_is_what_is_there(folder):
    for split in shards.SPLITS:
        corpus = read_corpus(folder, split)
        counted = corpus._replace(counts=None)
        unk = load_tokenizer(folder).special.unk
        assert corpus.highest_id == counted.highest_id and corpus.paired_share == counted.paired_share
        assert corpus.count_unknown(unk) == counted.count_unknown(unk)


@pytest.mark.parametrize("pairs", ["nsp", "sop", "none"])
@pytest.mark.parametrize("is_long", [False, True])
def test_examples_of_mapped_text_are_those_of_text_in_memory(folder, monkeypatch, is_long, pairs):
    if is_long:
        monkeypatch.setattr(search, "_LONG", 3)
        monkeypatch.setattr(search, "_ENTRIES", 3)
    tokenizer, mapped = load_tokenizer(folder), read_corpus(folder, "train")
    in_memory = Corpus(*(np.array(values) for values in mapped[:3]))
    assert type(mapped.tokens) is np.ndarray and not any(values.flags.owndata for values in mapped[:3])
    assert all((known is not None) is is_long for known in mapped.coarse)

    def batches(corpus):
        size = tokenizer.vocab_size
        objective = ObjectiveConfig(pairs=pairs)
        data = PretrainData(corpus, tokenizer.special, size, tokenizer.starts_word, 24, objective, seed=3)
        return list(data.batches(16, 0, 20))

    jax.tree.map(np.testing.assert_array_equal, batches(mapped), batches(in_memory))


def test_a_billion_tokens_are_opened_without_being_read(tmp_path):
    """As a sparse file: whoever read it would have 2 GB of zeros."""
    sizes, at = (10**9, 10**6, 10**5), {"tokens": 1, "sentences": 1000, "documents": 10}
    rows = []
    for (array, each), size in zip(at.items(), sizes, strict=True):
        path = tmp_path / f"train-{array}.npy"
        if array == "tokens":
            np.lib.format.open_memmap(path, "w+", np.uint16, (size,))
        else:
            np.save(path, np.arange(0, size + 1) * each)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if array != "tokens" else ""
        rows.append(ArrayFile(path.name, "train", array, path.stat().st_size, digest))
    before, start = resident(), time.process_time()
    corpus = open_arrays(tmp_path, rows, sizes, Counts(10**9, 0, 10**9, 1, 0))
    data = PretrainData(corpus, SpecialIds(0, 1, 2, 3, 4), 50, None, 128, ObjectiveConfig(), seed=0)
    first, *_, last = (data.batch(epoch, np.arange(64) * 10**5) for epoch in range(8))
    assert time.process_time() - start < 2 and resident() - before < 50e6
    assert first.tokens.mask.sum() > 64 * 100 and last.weights.all()


def resident():
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


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
    manifest["arrays"] = [row for row in manifest["arrays"] if row["split"] == "train"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="has no heldout documents"):
        read_corpus(folder, "heldout")
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 0}))
    with pytest.raises(InputError, match="the corpus has version 0, not 2"):
        read_corpus(folder, "train")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match=r"manifest.json is not JSON .*; prepare the corpus again"):
        read_corpus(folder, "train")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (("tokenizer",), None, "tokenizer is null; it must be an object"),
        (("tokenizer", "sha256"), 3, "tokenizer, sha256 is 3; it must be a string"),
        (("totals", "train", "tokens"), "9", 'totals, train, tokens is "9"; it must be a whole number'),
        (("arrays",), [[]], r"arrays, item 0 is \[\]; it must be an object"),
        (("counts",), {}, "counts has no train"),
        (("counts", "train", "unk"), True, "counts, train, unk is true; it must be a whole number"),
    ],
)
def test_a_damaged_manifest_is_an_error_that_names_the_field(folder, field, value, message):
    manifest = json.loads((folder / "manifest.json").read_text())
    inner = manifest
    for name in field[:-1]:
        inner = inner[name]
    inner[field[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=f"manifest.json,? {message}"):
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
