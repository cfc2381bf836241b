"""SentEval's transfer sets in small files of each layout, and the published ones by their row counts."""

from pathlib import Path

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.tasks import probing
from bert_jax.tasks.senteval import TASKS, read_senteval, why_absent

FILES = {
    "MR/rt-polarity.neg": b"dull .\n\ncaf\xe9 noir , no .\n",
    "MR/rt-polarity.pos": b"bright \x85 .\n",
    "TREC/train_5500.label": b"DESC:manner How is it ?\nNUM:dist How far ?\n",
    "TREC/TREC_10.label": b"ABBR:exp What is IBM ?\n",
    "SST/binary/sentiment-test": b'a charm . \t1\n"bleak\t0\n',
    "SST/fine/sentiment-test": b"4 the best 2 hours\n0 no\n",
    "MRPC/msr_paraphrase_test.txt": '\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t2\t3\tA "b\tC\n'.encode(),
    "SNLI/s1.test": b"A man .\nA dog .\n",
    "SNLI/s2.test": b"He .\nIt .\n",
    "SNLI/labels.test": b"neutral\ncontradiction\n",
    "SUBJ/subj.subjective": b"it moves .\n",
    "SUBJ/subj.objective": b"he leaves .\n",
    "SICK/SICK_train.txt": b"pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment\n"
    b"1\ta\tb\t4.5\tNEUTRAL\n2\tc\td\t1\tCONTRADICTION\n",
    "STS/STSBenchmark/sts-dev.csv": b'news\tMSRpar\t2012\t1\t0.25\tA "b\tC\nnews\tx\t2013\t2\t5.0\td\te\thttp\thttp\n',
    "probing/past_present.txt": b'tr\tPRES\tHe sees .\ntr\tPAST\tIt "ran .\nva\tPAST\tAs b .\n'
    + "te\tPRES\tis\tIt is caf\xe9 .\n".encode(),
    "probing/word_content.txt": b"tr\tzoo\tA zoo .\ntr\tapple\tAn apple .\nva\tzoo\tb\nte\tzoo\tThe zoo .\n",
    "probing/tree_depth.txt": b"tr\t5\tshort\ntr\t12\tlong\nva\t6\ta\nte\t6\tb\n",
}
READ = {
    ("mr", "train"): (["dull .", ".", "caf\xe9 noir , no .", "bright \x85 ."], None, [0, 0, 0, 1]),
    ("trec", "train"): (["How is it ?", "How far ?"], None, [1, 5]),
    ("trec", "test"): (["What is IBM ?"], None, [0]),
    ("sst2", "test"): (["a charm .", '"bleak'], None, [1, 0]),
    ("sst5", "test"): (["the best 2 hours", "no"], None, [4, 0]),
    ("mrpc", "test"): (['A "b'], ["C"], [1]),
    ("snli", "test"): (["A man .", "A dog ."], ["He .", "It ."], [1, 2]),
    ("sicke", "train"): (["a", "c"], ["b", "d"], [0, 2]),
    ("sickr", "train"): (["a", "c"], ["b", "d"], [4.5, 1.0]),
    ("past_present", "train"): (["He sees .", 'It "ran .'], None, [1, 0]),
    ("past_present", "validation"): (["As b ."], None, [0]),
    ("past_present", "test"): (["It is caf\xe9 ."], None, [1]),
    ("word_content", "test"): (["The zoo ."], None, [1]),
    ("tree_depth", "train"): (["short", "long"], None, [0, 7]),
    ("stsb", "validation"): (['A "b', "d"], ["C", "e"], [0.25, 5.0]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.mark.parametrize(("task", "split"), READ)
def test_every_layout_is_read_in_file_order(folder, task, split):
    rows = read_senteval(TASKS[task], folder, split)
    a, b, labels = READ[task, split]
    assert (rows.a, rows.b, rows.labels.tolist()) == (a, b, labels)
    assert rows.labels.dtype == (np.float32 if TASKS[task].is_regression else np.int32)


@pytest.mark.parametrize(
    ("task", "split", "file", "content", "message"),
    [
        ("mr", "test", None, b"", "unknown split of MR 'test'"),
        (
            "trec",
            "train",
            "TREC/train_5500.label",
            b"DESC:manner How ?\nWHAT:x Why ?\n",
            "row 2: label 'WHAT' is not one",
        ),
        ("sst2", "test", "SST/binary/sentiment-test", b"good\t2\n", "row 1: label '2' is not one"),
        ("snli", "test", "SNLI/s2.test", b"He .\n", "2 labels for 2 and 1 sentences; get the three files again"),
        ("sickr", "train", "SICK/SICK_train.txt", b"a\tb\n1\t2\n", "no column 'sentence_A'"),
        ("snli", "test", "SNLI/labels.test", b"neutral\nother\n", r"row 2: .* or remove the row from labels.test, s1"),
        # SentEval's own reader would lose the question word.
        ("trec", "test", "TREC/TREC_10.label", b"ABBR:exp What ?\nLOC:x\tWhere is it ?\n", "row 2: 2 tab-separated"),
        ("sst2", "test", "SST/binary/sentiment-test", b"a\tgood\t1\n", "row 1: 3 tab-separated fields where 2 are"),
        ("sst2", "test", "SST/binary/sentiment-test", b"good 1\n", "row 1: 1 tab-separated field where 2 are"),
        ("sst5", "test", "SST/fine/sentiment-test", b"4 good\t3\n", "row 1: 2 tab-separated fields where 1 is needed"),
        ("subj", "train", "SUBJ/subj.objective", b"a\n1\tb\n", "row 2: 2 tab-separated fields where 1 is needed"),
        ("snli", "test", "SNLI/s1.test", b"A\tman .\nA dog .\n", "row 1: 2 tab-separated fields where 1 is needed"),
        ("sickr", "train", "SICK/SICK_train.txt", FILES["SICK/SICK_train.txt"].replace(b"4.5", b"0.5"), "from 1 to 5"),
        ("trec", "test", "TREC/TREC_10.label", b"ABBR:exp What ?\rLOC:x Where is it ?\r", "carriage return alone"),
        ("mpqa", "train", None, b"", "no such folder"),
        ("mr", "train", "MR/rt-polarity.pos", b"", "empty"),
        (
            "tree_depth",
            "train",
            "probing/tree_depth.txt",
            b"tr\t5\ta\ntr\t3\tb\n",
            "row 2: label '3' is not one of 5, 6",
        ),
        (
            "tree_depth",
            "train",
            "probing/tree_depth.txt",
            b"tr\t5\ta\ntr 6 b\n",
            "row 2: it is not tr, va or te, a label",
        ),
        ("tree_depth", "test", "probing/tree_depth.txt", b"tr\t5\ta\ndev\t6\tb\n", "row 2: it is not tr, va or te"),
        ("tree_depth", "test", "probing/tree_depth.txt", b"tr\t5\ta\n", "no row begins with te"),
        (
            "word_content",
            "test",
            "probing/word_content.txt",
            b"tr\ta\ta\nte\tb\tb\n",
            "row 2: label 'b' is not a label of",
        ),
        (
            "word_content",
            "test",
            "probing/word_content.txt",
            b"".join(b"tr\t%d\ta\n" % n for n in range(1001)),
            "1,001 labels",
        ),
        ("tree_depth", "dev", None, b"", "unknown split of Depth 'dev'"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(folder, task, split, file, content, message):
    if file:
        (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_senteval(TASKS[task], folder, split)
    assert str(caught.value).count("\n") <= 1


def test_pairs_without_a_label_are_left_out_of_all_three_files_and_counted(folder):
    (folder / "SNLI/labels.test").write_text("-\ncontradiction\n")
    with pytest.warns(UserWarning, match="labels.test: left out 1 pairs"):
        rows = read_senteval(TASKS["snli"], folder, "test")
    assert (rows.a, rows.b, rows.labels.tolist()) == (["A dog ."], ["It ."], [2])


def test_what_is_absent_is_said_file_by_file(folder):
    assert why_absent(TASKS["mr"], folder) is None and why_absent(TASKS["trec"], folder) is None
    assert why_absent(TASKS["cr"], folder) == f"{folder / 'CR'} has no custrev.neg, custrev.pos"
    snli = why_absent(TASKS["snli"], folder)
    assert snli is not None and "s1.train" in snli and "labels.dev" in snli and "s1.test" not in snli
    assert why_absent(TASKS["tree_depth"], folder) is None
    assert why_absent(TASKS["odd_man_out"], folder) == f"{folder / 'probing'} has no odd_man_out.txt"
    with pytest.raises(InputError, match="--senteval-dir"):
        why_absent(TASKS["mr"], folder / "nowhere")


def test_the_probing_tasks_are_also_found_beside_the_transfer_tasks(folder):
    (folder / "downstream").mkdir()
    task = TASKS["past_present"]
    assert why_absent(task, folder / "downstream") is None
    assert read_senteval(task, folder / "downstream", "test").a == ["It is caf\xe9 ."]


def test_there_are_ten_probing_tasks_with_the_classes_of_the_paper():
    sizes = {task.title: len(task.classes) for task in probing.TASKS.values()}
    assert len(sizes) == 10 and sizes["WordContent"] == 1000 and sizes["TopConstituents"] == 20 and sizes["Length"] == 6
    assert all(TASKS[name].suite == "senteval" for name in probing.TASKS)


@pytest.mark.parametrize(
    ("task", "sizes"),
    [
        ("mr", {"train": 10662}),
        ("cr", {"train": 3775}),
        ("subj", {"train": 10000}),
        ("trec", {"train": 5452, "test": 500}),
        ("sst2", {"train": 67349, "validation": 872, "test": 1821}),
        ("sst5", {"train": 8544, "validation": 1101, "test": 2210}),
    ],
)
def test_the_published_sets_have_their_published_sizes(shared, task, sizes):
    for split, rows in sizes.items():
        read = read_senteval(TASKS[task], shared / "senteval", split)
        assert len(read.a) == len(read.labels) == rows and all(read.a)
        assert set(np.unique(read.labels)) == set(range(len(TASKS[task].classes)))
