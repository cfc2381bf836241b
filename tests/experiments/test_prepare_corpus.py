"""The command prepares a corpus that pretraining takes, and answers mistakes in a line or two with status 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bert_jax.corpus.shards import read_corpus, read_manifest
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig
from experiments.cli import parse, run
from experiments.prepare_corpus import main
from experiments.settings.corpus import PrepareCorpus

ROOT = Path(__file__).parents[2]


def prepare(*args):
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "experiments.prepare_corpus", *map(str, args)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)


def failure(capsys, *args):
    with pytest.raises(SystemExit) as exit_:
        run(main, PrepareCorpus, [str(arg) for arg in args])
    assert exit_.value.code == 2
    return capsys.readouterr().err


def test_the_sample_of_bert_s_own_code_becomes_a_corpus(shared, tmp_path):
    sample, out = shared / "corpora" / "sample_text.txt", tmp_path / "my corpus"
    result = prepare("--input", sample, "--out", out, "--vocab-size", 300, "--sentences", "lines", "--heldout", 0)
    assert result.returncode == 0, result.stderr
    documents = sample.read_text(encoding="utf-8").split("\n\n")
    corpus = read_corpus(out, "train")
    sizes = [len(document.splitlines()) for document in documents]
    assert [b - a for a, b in zip(corpus.documents, corpus.documents[1:], strict=False)] == sizes
    assert f"train: {len(documents)} documents, {sum(sizes)} sentences, {len(corpus.tokens):,} tokens" in result.stdout
    assert "heldout: 0 documents" in result.stdout
    assert f"wrote {out}; try: python -m experiments.pretrain CONFIG --corpus '{out}'\n" in result.stdout


def test_its_processes_are_light():
    heavy = {"jax", "flax", "pandas", "scipy", "tensorflow_datasets"}
    code = f"import sys, experiments.prepare_corpus; print(sorted({heavy} & set(sys.modules)))"
    command = [sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout == "[]\n"


def test_the_flags_are_those_of_the_readme():
    line = "--input a b --out c --vocab-size 8000 --no-lowercase --deduplicate --on-bad-text skip --heldout 0.1"
    config = parse(PrepareCorpus, line.split())
    assert config.input == ("a", "b") and config.out == "c"
    assert config.tokenizer() == VocabConfig(size=8000, lowercase=False)
    assert config.text.deduplicate and config.text.on_bad_text == "skip" and config.text.heldout == 0.1
    assert parse(PrepareCorpus, ["--input", "a", "--out", "c", "--vocab", "d"]).tokenizer() == Path("d")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"workers": 0}, "--workers 0: at least 1 is needed"),
        ({"vocab_sentences": 0}, "--vocab-sentences 0"),
        ({"input": ()}, "--input is empty"),
        ({"vocab_size": 5}, "--vocab-size 5"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(InputError) as error:
        PrepareCorpus(**{"input": ("a",), "out": "b", **settings})
    assert words in str(error.value)


def test_beam_has_options_of_its_own_and_is_asked_for_where_it_is_missing(capsys, monkeypatch, tmp_path):
    line = ["--input", "a", "--out", "gs://bucket/c", "--beam=--runner=FlinkRunner --flink_master=host:8081"]
    config = parse(PrepareCorpus, line)
    assert config.beam == "--runner=FlinkRunner --flink_master=host:8081" and config.out == "gs://bucket/c"
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    monkeypatch.delitem(sys.modules, "bert_jax.corpus.beam", raising=False)
    error = failure(capsys, "--input", "a", "--out", tmp_path / "out", "--beam=--runner=DirectRunner")
    assert "--beam needs Apache Beam" in error and "pip install 'bert_jax[beam]'" in error


def test_mistakes_are_explained_before_anything_is_written(capsys, tmp_path):
    (tmp_path / "text").write_text("A text.\n\nAnother text.")
    out = tmp_path / "out"
    error = failure(capsys, "--input", tmp_path / "missing", "--out", out)
    assert error == f"error: there is no {tmp_path / 'missing'}; --input takes files, folders and tfds:NAME\n"
    error = failure(capsys, "--input", tmp_path / "text", "--out", out, "--vocab", tmp_path)
    assert "has no tokenizer: one of spiece.model, tokenizer.json, vocab.txt, vocab.json is needed" in error
    error = failure(capsys, "--input", tmp_path / "text", "--out", out, "--heldout", "1.5")
    assert "--heldout 1.5: it is a share of the documents" in error
    assert not out.exists()
    error = failure(capsys, "--input", tmp_path / "text", "--out", tmp_path / "text")
    assert f"cannot write to {tmp_path / 'text'}" in error


@pytest.mark.parametrize(("last", "share"), [("cat", 0.2), ("dog", 0.3)])
def test_a_text_that_the_vocabulary_does_not_fit_is_said(last, share, capsys, tmp_path):
    (tmp_path / "text").write_text(f"The cat sees a dog.\n\nThe {last} runs.")
    vocabulary, out = tmp_path / "vocab.txt", tmp_path / "out"
    vocabulary.write_text("\n".join("[PAD] [UNK] [CLS] [SEP] [MASK] the cat sees a . ##s".split()))
    line = f"--input {tmp_path / 'text'} --out {out} --vocab {vocabulary} --heldout 0 --workers 1"
    run(main, PrepareCorpus, line.split())
    assert (f"{out}: 30% of the tokens are [UNK]" in capsys.readouterr().out) == (share > 0.2)
    assert read_manifest(out)["unknown_share"] == {"train": share, "heldout": None}
