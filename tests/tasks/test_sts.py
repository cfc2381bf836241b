"""Similarity sets in small files of each layout, and the published ones by their row counts."""

from pathlib import Path

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.tasks.sts import read_sts
from bert_jax.tasks.tsv import read_columns

SHARED = Path(__file__).parents[2].parent / "shared/data/sts"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the published STS folders are not at {SHARED}")


def subset(folder: Path, name: str, pairs: str, gold: str) -> None:
    (folder / f"STS.input.{name}.txt").write_text(pairs, encoding="utf-8")
    (folder / f"STS.gs.{name}.txt").write_text(gold, encoding="utf-8")


def fails(folder: Path, split: str = "test") -> str:
    with pytest.raises(InputError) as caught:
        read_sts(folder, split)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def test_unscored_pairs_are_left_out_and_the_rest_stay_aligned(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\nb\tB\nc\tC\nd\tD\n", "\n4.5\n \n0\n")
    rows = read_sts(tmp_path)["news"]
    assert (rows.a, rows.b) == (["b", "d"], ["B", "D"])
    np.testing.assert_array_equal(rows.labels, np.float32([4.5, 0]), strict=True)


def test_a_last_pair_may_be_unscored(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\nb\tB\n", "1\n\n")
    assert read_sts(tmp_path)["news"].a == ["a"]


def test_every_subset_comes_by_name_and_all_is_skipped(tmp_path: Path) -> None:
    subset(tmp_path, "surprise.OnWN", 'a "\tA\n', "1\n")
    subset(tmp_path, "deft-forum", "b\tB\n", "2\n")
    subset(tmp_path, "ALL", "a\tA\nb\tB\n", "1\n2\n")
    (tmp_path / "STS.gs.SMT.txt").write_text("3\n")
    rows = read_sts(tmp_path)
    assert {name: split.a for name, split in rows.items()} == {"deft-forum": ["b"], "surprise.OnWN": ['a "']}


def test_the_source_columns_of_sts16_are_ignored(tmp_path: Path) -> None:
    subset(tmp_path, "plagiarism", "a\tA\tfrom\there\nb\tB\tfrom\tthere\n", "\n3\n")
    rows = read_sts(tmp_path)["plagiarism"]
    assert (rows.a, rows.b, rows.labels.tolist()) == (["b"], ["B"], [3.0])


def test_a_command_in_a_message_can_be_pasted(tmp_path: Path) -> None:
    path = tmp_path / "my rows.tsv"
    path.write_text("a\tb\n1\t2\n1\t2\t3\n")
    with pytest.raises(InputError, match=r"awk -F'\\t' 'NF == 2' 'my rows\.tsv'$"):
        read_columns(path, ("a", "b"))
    path.write_bytes(b"a\tb\r1\t2\r1\t2\r")
    with pytest.raises(InputError, match=r"tr '\\r' '\\n' < 'my rows\.tsv' > NEW$"):
        read_columns(path, ("a", "b"))


def test_a_stray_tab_is_no_source(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\nb\tx\tB\n", "1\n2\n")
    message = fails(tmp_path)
    assert "STS.input.news.txt, row 2: 3 tab-separated fields where 2 or 4 are needed" in message
    assert "awk" not in message  # a row that is removed here would have to go from the other file, too
    subset(tmp_path, "news", "a\tA\nb\tB\n", "1\n2\t3\n")
    assert "STS.gs.news.txt, row 2: 2 tab-separated fields where 1 is needed" in fails(tmp_path)
    line = "main-news\tMSRpar\t2012test\t0001\t{}\t{}\t{}\n"
    (tmp_path / "sts-test.csv").write_text(line.format("2.5", "a\tx", "b"))
    assert "sts-test.csv, row 1: 8 tab-separated fields where 7 or 9 are needed" in fails(tmp_path)


@pytest.mark.parametrize("score", ["3_8", "38", "5.1", "-1", "nan", "2,5"])
def test_scores_are_plain_decimals_in_their_range(score: str, tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\n", f"{score}\n")
    assert f"STS.gs.news.txt, row 1: score {score!r} is not a plain decimal number from 0 to 5" in fails(tmp_path)


def test_the_benchmark_has_gold_before_the_pair_and_no_quoting(tmp_path: Path) -> None:
    line = "main-news\tMSRpar\t2012test\t0001\t{}\t{}\t{}{}\n"
    text = line.format("2.5", '"a', "b\r b", "\tsource\tsource") + line.format("5.000", "c", "", "")
    (tmp_path / "sts-test.csv").write_bytes(text.encode())
    (tmp_path / "sts-dev.csv").write_bytes(line.format("1", "dev", "dev", "").encode())
    rows = read_sts(tmp_path)
    assert list(rows) == ["sts-test"]
    assert rows["sts-test"].a == ['"a', "c"]
    assert rows["sts-test"].b == ["b\r b", ""]
    np.testing.assert_array_equal(rows["sts-test"].labels, np.float32([2.5, 5]), strict=True)
    assert read_sts(tmp_path, "validation")["sts-dev"].a == ["dev"]


def test_sick_goes_by_its_header(tmp_path: Path) -> None:
    header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    (tmp_path / "SICK_test_annotated.txt").write_text(header + "6\ta b\tc d\t3.3\tNEUTRAL\n")
    rows = read_sts(tmp_path)["SICK_test_annotated"]
    assert (rows.a, rows.b) == (["a b"], ["c d"])
    assert rows.labels == pytest.approx([3.3])


def test_missing_things_are_named(tmp_path: Path) -> None:
    assert fails(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no such folder")
    assert "needs STS.input.NAME.txt with STS.gs.NAME.txt, or one of sts-train.csv" in fails(tmp_path)
    (tmp_path / "STS.input.news.txt").write_text("a\tA\n")
    assert fails(tmp_path).startswith(f"{tmp_path / 'STS.gs.news.txt'}: no such file")


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\n", "1\n")
    assert f"unknown split of {tmp_path} 'train'" in fails(tmp_path, "train")


def test_files_of_different_lengths_are_refused(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\nb\tB\n", "1\n2\n3\n")
    assert fails(tmp_path).startswith(f"{tmp_path / 'STS.gs.news.txt'}: 3 rows for the 2 of STS.input.news.txt")


def test_bad_rows_are_named_by_their_line(tmp_path: Path) -> None:
    subset(tmp_path, "news", "a\tA\nb\tB\n", "\nx\n")
    assert fails(tmp_path).startswith(
        f"{tmp_path / 'STS.gs.news.txt'}, row 2: score 'x' is not a plain decimal number from 0 to 5"
    )
    subset(tmp_path, "news", "a\tA\nb B\n", "1\n1\n")
    assert "STS.input.news.txt, row 2: 1 tab-separated field where 2 or 4 are needed" in fails(tmp_path)


@needs_shared
@pytest.mark.parametrize(
    ("folder", "split", "rows"),
    [
        ("STS12-en-test", "test", 3108),
        ("STS13-en-test", "test", 1500),
        ("STS14-en-test", "test", 3750),
        ("STS15-en-test", "test", 3000),
        ("STSBenchmark", "train", 5749),
        ("STSBenchmark", "validation", 1500),
        ("STSBenchmark", "test", 1379),
    ],
)
def test_the_published_folders_come_out_whole(folder: str, split: str, rows: int) -> None:
    subsets = read_sts(SHARED / folder, split)
    assert sum(len(pairs.a) for pairs in subsets.values()) == rows
    for pairs in subsets.values():
        assert len(pairs.a) == len(pairs.b) == len(pairs.labels)
        assert 0 <= pairs.labels.min() <= pairs.labels.max() <= 5
