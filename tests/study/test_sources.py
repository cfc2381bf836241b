"""The splits of a task come with the number of evaluation rows that were trained on."""

import pytest

from bert_jax.study.pair_sources import PairSource, read_pairs
from bert_jax.study.sources import Source, read_task
from bert_jax.tasks import glue, senteval


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def read(tmp_path, task, rows=None):
    return read_task(Source(tmp_path / "data", tmp_path, tmp_path, train_rows=rows), task)


def test_duplicates_between_training_and_evaluation_are_counted_and_said(tmp_path):
    write(tmp_path / "MRPC" / "train.tsv", ["Quality\t#1 String\t#2 String", "1\ta cat\ta dog", "0\ta fox\ta hen"])
    write(tmp_path / "MRPC" / "dev.tsv", ["Quality\t#1 String\t#2 String", "0\ta dog\ta cat", "1\ta cat\ta hen"])
    with pytest.warns(
        UserWarning, match=r"^MRPC: rows with the same texts as the training split: 1 of 2 \(validation\)$"
    ):
        splits = read(tmp_path, glue.TASKS["mrpc"])
    assert splits.duplicates == {"validation": 1}
    with pytest.warns(UserWarning, match="1 of 2"):
        assert read(tmp_path, glue.TASKS["mrpc"], rows=1).duplicates == {"validation": 1}


def test_without_duplicates_nothing_is_said(tmp_path):
    write(tmp_path / "CoLA" / "train.tsv", ["s\t1\t\tone", "s\t0\t\t", "s\t0\t\ttwo"])
    write(tmp_path / "CoLA" / "dev.tsv", ["s\t1\t\tOne", "s\t0\t\t"])
    assert read(tmp_path, glue.TASKS["cola"]).duplicates == {"validation": 0}


def test_rows_that_folds_may_divide_are_counted(tmp_path):
    write(tmp_path / "MR" / "rt-polarity.neg", ["bad", "so so", "worse"])
    write(tmp_path / "MR" / "rt-polarity.pos", ["good", "so so"])
    with pytest.warns(UserWarning, match=r"as another row, which may be in another fold: 2 of 5 \(10 folds\)"):
        assert read(tmp_path, senteval.TASKS["mr"]).duplicates == {"10 folds": 2}


def test_duplicates_are_counted_where_sentence_vectors_are_trained(tmp_path):
    """A pair counts if both of its texts are trained on: together, if pairs are trained on."""
    line = "main\tx\t2012\t1\t{}\t{}\t{}"
    write(tmp_path / "STSBenchmark" / "sts-train.csv", [line.format(3, "a", "b"), line.format(1, "c", "d")])
    write(tmp_path / "STSBenchmark" / "sts-dev.csv", [line.format(2, "b", "a"), line.format(2, "a", "c")])
    write(tmp_path / "STSBenchmark" / "sts-test.csv", [line.format(2, "a", "x"), line.format(2, "y", "z")])
    with pytest.warns(UserWarning, match=r"as the training split: 1 of 2 \(validation\)$"):
        assert read_pairs(PairSource("sts", ("stsb",), tmp_path)).duplicates == {"validation": 1, "test": 0}
    write(tmp_path / "sentences.txt", ["a", "b ", "c"])
    with pytest.warns(UserWarning, match=r"as the training split: 2 of 2 \(validation\)$"):
        found = read_pairs(PairSource("simcse", (str(tmp_path / "sentences.txt"),), tmp_path))
    assert found.duplicates == {"validation": 2, "test": 0}
