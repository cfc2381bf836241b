"""The pipeline makes the corpus that the command makes on one machine, but for the order of the documents."""

import json
from collections import Counter

import numpy as np
import pytest

from bert_jax.corpus.prepare import TextConfig, prepare
from bert_jax.corpus.shards import read_corpus, read_manifest
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig

pytest.importorskip("apache_beam", reason="apache-beam, the extra [beam], is not installed")

from apache_beam.io.filesystems import FileSystems
from apache_beam.io.localfilesystem import LocalFileSystem

from bert_jax.corpus.beam import prepare_on_beam

OPTIONS = ["--runner=DirectRunner"]
CONFIG = TextConfig(block_megabytes=0.01, heldout=0.2, deduplicate=True, on_bad_text="skip")
VOCAB = VocabConfig(size=40, sentences=200)
WORDS = "the a river house stone small green old walks sleeps sings under over near Anna Ben".split()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder with two files; some documents are empty, some come twice, one is not valid UTF-8."""
    folder, rng = tmp_path_factory.mktemp("source"), np.random.default_rng(0)
    texts = [". ".join(" ".join(rng.choice(WORDS, 6)).capitalize() for _ in range(5)) + "." for _ in range(120)]
    texts += ["formula_1", *texts[:7]]
    (folder / "a.txt").write_text("\n\n".join(texts[:60]), encoding="utf-8")
    lines = [json.dumps({"text": text}).encode() for text in texts[60:]]
    (folder / "b.jsonl").write_bytes(b"\n".join([*lines, b'{"text": " "}', b'{"text": "\xff"}']))
    return folder


def documents(folder, split):
    corpus = read_corpus(folder, split)
    sentences = [tuple(corpus.tokens[a:b]) for a, b in zip(corpus.sentences, corpus.sentences[1:], strict=False)]
    return Counter(tuple(sentences[a:b]) for a, b in zip(corpus.documents, corpus.documents[1:], strict=False))


@pytest.fixture(scope="module")
def piped(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("piped") / "out"
    prepare_on_beam([str(source)], str(out), CONFIG, VOCAB, OPTIONS)
    return out


def test_the_pipeline_makes_the_same_corpus(source, piped, tmp_path):
    list(prepare([str(source)], tmp_path / "out", CONFIG, VOCAB, workers=1))
    ours, theirs = read_manifest(tmp_path / "out"), read_manifest(piped)
    assert (piped / "spiece.model").read_bytes() == (tmp_path / "out" / "spiece.model").read_bytes()
    for split in ("train", "heldout"):
        assert documents(piped, split) == documents(tmp_path / "out", split)
    for field in ("text", "vocab", "inputs", "tokenizer", "totals", "dropped"):
        assert theirs[field] == ours[field], field
    assert theirs["dropped"] == {"duplicate": 7, "invalid UTF-8": 1, "no text": 2}
    assert len(theirs["shards"]) > 3


def test_another_run_makes_the_same_files(source, piped, tmp_path):
    prepare_on_beam([str(source)], str(tmp_path / "out"), CONFIG, piped, OPTIONS)
    for path in piped.iterdir():
        same = path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()
        assert same or path.name in ("manifest.json", "settings.json")
    assert len(list((tmp_path / "out").iterdir())) == len(list(piped.iterdir()))


def test_mistakes_are_explained(source, piped, tmp_path):
    def failure(name, out, config=CONFIG, vocab=VOCAB):
        with pytest.raises(InputError) as error:
            prepare_on_beam([str(name)], str(out), config, vocab, OPTIONS)
        return str(error.value)

    assert "is not empty" in failure(source, piped)
    assert "there is no" in failure(tmp_path / "x", tmp_path / "out")
    path = source / "b.jsonl"
    message = failure(path, tmp_path / "out", TextConfig())
    assert message.startswith(f"{path}: invalid UTF-8 at byte") and message.endswith("--on-bad-text skip")
    assert "on this text: it supports " in failure(source, tmp_path / "out", vocab=VocabConfig(size=5000))


class Distant(LocalFileSystem):
    """Files behind `distant://`, which cannot be had without the options of a pipeline."""

    def __init__(self, pipeline_options):
        assert pipeline_options is not None
        super().__init__(pipeline_options)

    @classmethod
    def scheme(cls):
        return "distant"


def test_file_systems_get_the_options(tmp_path):
    FileSystems.set_options(None)
    with pytest.raises(InputError, match=r"there is no file distant://nothing"):
        prepare_on_beam(["distant://nothing"], f"distant://{tmp_path}/out", CONFIG, VOCAB, OPTIONS)
