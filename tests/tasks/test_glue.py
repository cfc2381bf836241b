"""GLUE's tables against TFDS's own, and the TSV reader on small files and on the published ones."""

from pathlib import Path

import numpy as np
import pytest
from tensorflow_datasets.text.glue import Glue

from bert_jax.errors import InputError
from bert_jax.evaluate.metrics import METRICS
from bert_jax.tasks.glue import TASKS, read_tsv
from bert_jax.tasks.task import Task

SHARED = Path(__file__).parents[2].parent / "shared/data/glue"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"the published GLUE folders are not at {SHARED}")

PUBLISHED_ROWS = {
    "cola": {"train": 8551, "validation": 1043, "test": 1063},
    "sst2": {"train": 67349, "validation": 872, "test": 1821},
    "mrpc": {"train": 3668, "validation": 408, "test": 1725},
    "stsb": {"train": 5749, "validation": 1500, "test": 1379},
    "qnli": {"validation": 5463, "test": 5463},
}

# A row of each published file: (task, split) -> file, header, fields and what must come out of them.
FILES = {
    ("cola", "train"): ("CoLA/train.tsv", None, "src 0 * A.b", ("A.b", None, 0)),
    ("cola", "validation"): ("CoLA/dev.tsv", None, "src 1 - A.b", ("A.b", None, 1)),
    ("cola", "test"): ("CoLA/test.tsv", "index sentence", "0 A.b", ("A.b", None, None)),
    ("sst2", "train"): ("SST-2/train.tsv", "sentence label", "good 1", ("good", None, 1)),
    ("sst2", "test"): ("SST-2/test.tsv", "index sentence", "0 good", ("good", None, None)),
    ("mrpc", "train"): ("MRPC/train.tsv", "Quality #1_ID #2_ID #1_String #2_String", "0 11 12 A B", ("A", "B", 0)),
    ("mrpc", "test"): ("MRPC/test.tsv", "index #1_ID #2_ID #1_String #2_String", "0 11 12 A B", ("A", "B", None)),
    ("qqp", "train"): ("QQP/train.tsv", "id qid1 qid2 question1 question2 is_duplicate", "7 1 2 A B 1", ("A", "B", 1)),
    ("qqp", "test"): ("QQP/test.tsv", "id question1 question2", "0 A B", ("A", "B", None)),
    ("stsb", "validation"): ("STS-B/dev.tsv", "genre sentence1 sentence2 score", "news A B 3.8", ("A", "B", 3.8)),
    ("stsb", "test"): ("STS-B/test.tsv", "index genre sentence1 sentence2", "0 news A B", ("A", "B", None)),
    ("mnli", "train"): ("MNLI/train.tsv", "sentence1 sentence2 label1 gold_label", "A B x neutral", ("A", "B", 1)),
    ("mnli", "validation_matched"): (
        "MNLI/dev_matched.tsv", "sentence1 sentence2 label1 gold_label", "A B neutral entailment", ("A", "B", 0)
    ),
    ("mnli", "validation_mismatched"): (
        "MNLI/dev_mismatched.tsv", "sentence1 sentence2 gold_label", "A B contradiction", ("A", "B", 2)
    ),
    ("mnli", "test_mismatched"): ("MNLI/test_mismatched.tsv", "index sentence1 sentence2", "0 A B", ("A", "B", None)),
    ("qnli", "validation"): ("QNLI/dev.tsv", "index question sentence label", "0 A B not_entailment", ("A", "B", 1)),
    ("rte", "validation"): ("RTE/dev.tsv", "index sentence1 sentence2 label", "0 A B not_entailment", ("A", "B", 1)),
    ("wnli", "validation"): ("WNLI/dev.tsv", "index sentence1 sentence2 label", "0 A B 1", ("A", "B", 1)),
    ("ax", "test"): ("AX/diagnostic.tsv", "index sentence1 sentence2", "0 A B", ("A", "B", None)),
}  # fmt: skip


def write(root: Path, name: str, text: str | bytes) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def fails(root: Path, task: str = "sst2", split: str = "train") -> str:
    with pytest.raises(InputError) as caught:
        read_tsv(TASKS[task], root, split)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_a_task_is_what_tfds_says(task: Task) -> None:
    config = Glue.builder_configs[task.name]
    assert task.texts == tuple(config.text_features)
    assert task.classes == tuple(config.label_classes or ())
    assert set(task.metrics) <= set(METRICS)
    assert task.needs.endswith(".")


def test_the_headline_metrics_and_splits() -> None:
    headlines = {name: task.metrics[0] for name, task in TASKS.items()}
    assert headlines == dict.fromkeys(TASKS, "accuracy") | {"cola": "mcc", "ax": "mcc", "stsb": "pearson"}
    assert {name for name, task in TASKS.items() if task.evaluations != ("validation",)} == {"mnli", "ax"}
    assert TASKS["ax"].train == ""


@pytest.mark.parametrize(("task", "split"), FILES)
def test_every_published_layout(task: str, split: str, tmp_path: Path) -> None:
    name, header, fields, (a, b, label) = FILES[task, split]
    text = "\n".join(line.replace(" ", "\t") for line in (header, fields) if line)
    write(tmp_path, name, text.replace("_", " " if task == "mrpc" else "_") + "\n")
    rows = read_tsv(TASKS[task], tmp_path, split)
    assert rows.a == [a]
    assert rows.b == (None if b is None else [b])
    if label is None:
        assert rows.labels is None
    else:
        assert rows.labels.tolist() == [np.float32(label)]
        assert rows.labels.dtype == (np.float32 if TASKS[task].is_regression else np.int32)


def test_quotes_and_unicode_line_breaks_stay_in_the_sentence(tmp_path: Path) -> None:
    odd = ['" open', 'a ""b"" c', "carriage\rreturn", "line\u2028separator\x85\x0b\x1c", "\ufeffmark", " spaces ", ""]
    write(tmp_path, "SST-2/train.tsv", "sentence\tlabel\n" + "".join(f"{text}\t0\n" for text in odd))
    assert read_tsv(TASKS["sst2"], tmp_path, "train").a == odd


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_and_byte_order_marks(end: str, mark: bytes, last: bool, tmp_path: Path) -> None:
    text = end.join(["label\tsentence", "1\tgood", "0\tbad"]) + (end if last else "")
    write(tmp_path, "SST-2/dev.tsv", mark + text.encode())
    rows = read_tsv(TASKS["sst2"], tmp_path, "validation")
    assert rows.a == ["good", "bad"]
    assert rows.labels.tolist() == [1, 0]


@pytest.mark.parametrize("folder", ["STS-B", "sts-b", "STSB", "stsb", "sts_b"])
def test_a_folder_is_found_whatever_its_case(folder: str, tmp_path: Path) -> None:
    write(tmp_path, "SST-2/dev.tsv", "another task")
    write(tmp_path, f"{folder}/dev.tsv", "sentence1\tsentence2\tscore\nA\tB\t0\n")
    assert read_tsv(TASKS["stsb"], tmp_path, "validation").a == ["A"]


def test_the_original_mrpc_test_file_brings_labels(tmp_path: Path) -> None:
    write(tmp_path, "MRPC/test.tsv", "index\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tA\tB\n")
    original = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t1\t2\tA\tB\n"
    write(tmp_path, "MRPC/msr_paraphrase_test.txt", original)
    rows = read_tsv(TASKS["mrpc"], tmp_path, "test")
    assert (rows.a, rows.b, rows.labels.tolist()) == (["A"], ["B"], [1])


def test_the_full_diagnostic_file_brings_labels(tmp_path: Path) -> None:
    full = "Logic\tDomain\tPremise\tHypothesis\tLabel\nNegation\t\tA\tB\tcontradiction\n"
    write(tmp_path, "diagnostic/diagnostic.tsv", "index\tsentence1\tsentence2\n0\tA\tB\n")
    write(tmp_path, "diagnostic/diagnostic-full.tsv", full)
    rows = read_tsv(TASKS["ax"], tmp_path, "test")
    assert rows.labels.tolist() == [2] and rows.groups is None


def test_the_categories_of_the_diagnostic_are_its_groups(tmp_path: Path) -> None:
    header = "Lexical Semantics\tPredicate-Argument Structure\tLogic\tKnowledge\tDomain\tPremise\tHypothesis\tLabel"
    lines = ["\t\tNegation\t\tNews\tA\tB\tcontradiction", "Lexical entailment\t\tNegation\t\tNews\tC\tD\tneutral"]
    write(tmp_path, "AX/diagnostic-full.tsv", "\n".join([header, *lines, "\t\t\t\t\tE\tF\tentailment\n"]))
    assert read_tsv(TASKS["ax"], tmp_path, "test").groups == ["Logic", "Lexical Semantics and Logic", ""]


def test_a_missing_folder_is_named_with_the_flag(tmp_path: Path) -> None:
    assert fails(tmp_path / "nowhere").startswith(f"{tmp_path / 'nowhere'}: no such folder; give --glue-dir")
    write(tmp_path, "CoLA/train.tsv", "")
    message = fails(tmp_path)
    assert "no folder SST-2/ in it (CoLA found)" in message
    assert "--glue-dir" in message


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "SST-2").mkdir()
    assert fails(tmp_path).startswith(f"{tmp_path / 'SST-2/train.tsv'}: no such file")


@pytest.mark.parametrize("text", ["", "\n", " \n\n", "\ufeff"])
def test_an_empty_file_is_named(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2/train.tsv", text)
    assert fails(tmp_path).startswith(f"{path}: the file is empty")


def test_a_file_of_only_a_header_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2/train.tsv", "sentence\tlabel\n")
    assert fails(tmp_path).startswith(f"{path}: no row after the header")


def test_a_missing_column_lists_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2/train.tsv", "sentence\tclass\nx\t0\n")
    assert fails(tmp_path).startswith(f"{path}: no column 'label'; its header has 'sentence', 'class'")


def test_a_short_row_is_named_with_what_it_has_and_needs(tmp_path: Path) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    path = write(tmp_path, "QQP/train.tsv", f"{header}\n1\t2\t3\tA\tB\t0\n1\t2\t3\n1\t2\n")
    message = fails(tmp_path, "qqp")
    assert message.startswith(f"{path}, row 3: 3 tab-separated fields where 6 are needed (and so for 1 more)")
    assert "awk -F'\\t' 'NF == 6' train.tsv" in message


def test_a_short_row_counts_from_one_without_a_header(tmp_path: Path) -> None:
    write(tmp_path, "CoLA/train.tsv", "a\t1\t\tA\nb\t0\n")
    assert "row 2: 2 tab-separated fields where 4 are needed." in fails(tmp_path, "cola")


MNLI = "index\tsentence1\tsentence2\tlabel1\tlabel2\tgold_label\n"
MRPC = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"


@pytest.mark.parametrize(
    ("task", "split", "name", "text", "row", "found", "needed"),
    [
        # Read by its place, the gold label would be that of one annotator, and the second text the rest of the first.
        ("mnli", "validation_matched", "MNLI/dev_matched.tsv", MNLI + "0\tA a\tB\tneutral\tneutral\tneutral\n"
         "1\tA\ta\tB\tneutral\tentailment\tneutral\n", 3, 7, 6),
        ("mrpc", "train", "MRPC/train.tsv", MRPC + "1\t2\t3\tA\ta\tB\n", 2, 6, 5),
        ("cola", "train", "CoLA/train.tsv", "s\t1\t\tA\ns\t0\t\tB\tb\n", 2, 5, 4),
    ],
)  # fmt: skip
def test_a_stray_tab_is_named(task, split, name, text, row, found, needed, tmp_path: Path) -> None:
    path = write(tmp_path, name, text)
    message = fails(tmp_path, task, split)
    assert message.startswith(f"{path}, row {row}: {found} tab-separated fields where {needed} are needed.")
    assert "replace a tab within a text by a space" in message


@pytest.mark.parametrize("end", ["\r", ""])
def test_old_mac_line_ends_are_named_with_a_way_out(end: str, tmp_path: Path) -> None:
    path = write(tmp_path, "CoLA/train.tsv", "\r".join(f"s\t1\t\tsentence {n}" for n in range(20)) + end)
    message = fails(tmp_path, "cola")
    assert message.startswith(f"{path}: its lines end with a carriage return alone")
    assert "tr '\\r' '\\n' < train.tsv" in message


def test_pairs_on_which_annotators_disagreed_are_left_out_and_counted(tmp_path: Path) -> None:
    header = "sentence1\tsentence2\tgold_label\n"
    path = write(tmp_path, "MNLI/train.tsv", header + "A\tB\tneutral\nC\tD\t-\nE\tF\tentailment\n")
    with pytest.warns(UserWarning, match=rf"{path}: left out 1 pairs"):
        rows = read_tsv(TASKS["mnli"], tmp_path, "train")
    assert (rows.a, rows.b, rows.labels.tolist()) == (["A", "E"], ["B", "F"], [1, 0])
    write(tmp_path, "MNLI/train.tsv", header + "C\tD\t-\n")
    assert "no pair has a label" in fails(tmp_path, "mnli")


@pytest.mark.parametrize("label", ["2", "-1", "", "1.0", "Positive"])
def test_a_label_outside_the_classes_is_named(label: str, tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2/train.tsv", f"sentence\tlabel\nx\t0\ny\t{label}\n")
    assert fails(tmp_path).startswith(f"{path}, row 3: label {label!r} is not one of 0, 1, negative, positive;")


@pytest.mark.parametrize("score", ["", "high", "nan", "inf", "1e300", "3_8", "38", "-0.1", "5.01", "1e0", "0x1", "٣"])
def test_a_score_that_is_no_plain_decimal_in_its_range_is_named(score: str, tmp_path: Path) -> None:
    path = write(tmp_path, "STS-B/train.tsv", f"sentence1\tsentence2\tscore\nA\tB\t{score}\n")
    assert fails(tmp_path, "stsb").startswith(
        f"{path}, row 2: score {score!r} is not a plain decimal number from 0 to 5;"
    )


def test_bytes_that_are_not_utf8_are_named_by_offset(tmp_path: Path) -> None:
    path = write(tmp_path, "SST-2/train.tsv", b"sentence\tlabel\ncaf\xe9\t1\n")
    assert fails(tmp_path).startswith(f"{path}, row 2: byte 18 is not UTF-8;")


def test_unknown_names_get_a_suggestion(tmp_path: Path) -> None:
    task = Task("sst3", "SST-3", ("sentence",), ("a", "b"), ("accuracy",))
    with pytest.raises(InputError, match=r"unknown task 'sst3'\. Did you mean 'sst2'"):
        read_tsv(task, tmp_path, "train")
    assert "unknown split of MNLI 'validation_mached'. Did you mean 'validation_matched'" in fails(
        tmp_path, "mnli", "validation_mached"
    )
    assert "unknown split of AX 'train'" in fails(tmp_path, "ax", "train")


@needs_shared
@pytest.mark.parametrize(("task", "split"), [(task, split) for task, rows in PUBLISHED_ROWS.items() for split in rows])
def test_the_published_files_come_out_whole(task: str, split: str) -> None:
    rows = read_tsv(TASKS[task], SHARED, split)
    assert len(rows.a) == PUBLISHED_ROWS[task][split]
    assert rows.b is None or len(rows.b) == len(rows.a)
    assert (rows.labels is None) == (split == "test" and task != "mrpc")


@needs_shared
def test_published_label_counts() -> None:
    def share(task: str, split: str) -> float:
        return round(float(read_tsv(TASKS[task], SHARED, split).labels.mean()), 3)

    assert share("mrpc", "validation") == 0.684
    assert share("mrpc", "test") == 0.665
    assert share("cola", "validation") == 0.691
    assert share("sst2", "validation") == 0.509
