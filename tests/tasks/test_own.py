"""Tasks of one's own: what is recognised, what a description says, and what is wrong with the data."""

import numpy as np
import pytest
from worlds import write_table as write

from bert_jax.errors import InputError
from bert_jax.tasks.own import load_task, read_own
from bert_jax.tasks.suites import find_task

REVIEWS = [{"review": f"text {i}", "verdict": ("bad", "good", "mixed")[i % 3]} for i in range(9)]
PAIRS = [{"premise": f"a {i}", "hypothesis": f"b {i}", "score": i / 4} for i in range(8)]


def describe(folder, text, name="mine.toml"):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
def test_a_folder_is_a_task_in_every_format(tmp_path, ending):
    place = tmp_path / "films"
    write(place / f"train.{ending}", [{"sentence": f"t {i}", "label": i % 2} for i in range(12)])
    write(place / f"dev.{ending}", [{"sentence": f"d {i}", "label": i % 2} for i in range(4)])
    task = load_task(place)
    assert (task.name, task.title, task.suite, task.texts) == ("films", "films", "own", ("sentence",))
    assert (task.classes, task.metrics, task.evaluations) == (("0", "1"), ("accuracy",), ("validation",))
    split = read_own(task, "validation")
    assert split.a == [f"d {i}" for i in range(4)] and split.b is None and split.groups is None
    assert split.labels.dtype == np.int32 and split.labels.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl", "parquet"])
def test_pairs_with_scores_are_recognised_in_every_format(tmp_path, ending):
    write(tmp_path / f"train.{ending}", PAIRS)
    write(tmp_path / f"test.{ending}", PAIRS[:3])
    task = load_task(tmp_path)
    assert task.is_regression and task.texts == ("premise", "hypothesis") and task.directed
    assert task.metrics == ("pearson", "spearman") and task.evaluations == ("test",)
    split = read_own(task, "test")
    assert split.b == ["b 0", "b 1", "b 2"] and split.labels.dtype == np.float32
    assert split.labels.tolist() == [0, 0.25, 0.5]


def test_a_description_names_what_is_not_recognised(tmp_path):
    rows = [row | {"shop": f"shop {i % 2}", "note": "x"} for i, row in enumerate(REVIEWS)]
    for name in ("a.csv", "b.csv", "c.csv"):
        write(tmp_path / name, rows)
    text = """
        title = "My reviews"
        train = "a.csv"
        validation = "b.csv"
        test = "c.csv"
        evaluate = "test"
        text = "note"
        label = "verdict"
        group = "shop"
        classes = ["mixed", "good", "bad"]
        metrics = ["mcc", "accuracy"]
    """
    task = find_task(str(describe(tmp_path, text)))
    assert (task.name, task.title, task.metrics) == ("mine", "My reviews", ("mcc", "accuracy"))
    assert (task.evaluations, task.validation) == (("test",), "validation")
    split = read_own(task, "train")
    assert split.a == ["x"] * 9 and split.labels.tolist() == [2, 1, 0] * 3
    assert split.groups[:3] == ["shop 0", "shop 1", "shop 0"] and split.head(2).groups == ["shop 0", "shop 1"]


def test_folds_serve_where_there_is_no_file_to_score(tmp_path):
    write(tmp_path / "all.csv", REVIEWS)
    task = load_task(describe(tmp_path, 'train = "all.csv"\nlabel = "verdict"\nfolds = 3\n'))
    assert task.folds == 3 and task.evaluations == ("3 folds",) and task.train == "train"


def test_labels_of_a_test_set_may_be_hidden_and_numbers_may_be_floats(tmp_path):
    write(tmp_path / "train.jsonl", [{"text": f"t {i}", "label": float(i % 2)} for i in range(6)])
    write(tmp_path / "dev.jsonl", [{"text": f"d {i}", "label": i % 2} for i in range(6)])
    for rows in ([{"text": "x"}], [{"text": "x", "label": None}], [{"text": "x", "label": -1}]):
        write(tmp_path / "test.jsonl", rows)
        assert read_own(load_task(tmp_path), "test").labels is None
    assert read_own(load_task(tmp_path), "validation").labels.tolist() == [0, 1] * 3


def test_empty_texts_are_counted_in_a_warning_that_names_the_first(tmp_path):
    write(tmp_path / "train.csv", REVIEWS)
    write(tmp_path / "dev.csv", [*REVIEWS[:2], {"review": " ", "verdict": "bad"}, {"review": "", "verdict": "bad"}])
    task = load_task(describe(tmp_path, 'train = "train.csv"\nvalidation = "dev.csv"\nlabel = "verdict"\n'))
    with pytest.warns(UserWarning, match=r"dev\.csv, line 4, column 'review': the text is empty \(and 1 more\)"):
        read_own(task, "validation")


FILES = 'train = "train.csv"\nvalidation = "dev.csv"\n'
GOOD = [{"text": f"t {i}", "label": "ab"[i % 2]} for i in range(6)]


@pytest.mark.parametrize(
    ("train", "dev", "more", "said"),
    [
        ([{"words": "x", "label": "a"}], GOOD, "", r"train\.csv: which column is the text\?.*'words', 'label'"),
        ([{"text": "x", "kind": "a"}], GOOD, "", r"train\.csv: which column is the label\?.*'kind'"),
        (GOOD, [{"body": "x", "label": "a"}], "", r"dev\.csv: no column 'text'; it has 'body', 'label'"),
        (GOOD, GOOD, 'text = "txet"\n', r"train\.csv: no column 'txet'.*text = "),
        (GOOD, [*GOOD, {"text": "x", "label": "c"}], "", r"dev\.csv, line 8, column 'label': unknown label 'c'"),
        (GOOD, [*GOOD, {"text": "x", "label": ""}], "", r"dev\.csv, line 8, column 'label': no label"),
        ([GOOD[0]] * 4, GOOD, "", r"train\.csv, column 'label': all labels are 'a'"),
        ([GOOD[0]] * 4, GOOD, 'classes = ["a", "b"]\n', r"train\.csv, column 'label': all labels are 'a'"),
        ([{"text": "x", "label": i} for i in range(30)], GOOD, "", r"30 different labels in 30 rows; write\s+scores"),
        (GOOD, GOOD, "scores = [0, 5]\n", r"train\.csv, line 2, column 'label': score 'a' is not a number from 0 to 5"),
        (GOOD, GOOD, "scores = [5, 0]\n", "scores is the lowest and the highest"),
        (GOOD, GOOD, 'classes = ["a"]\n', "two or more are needed"),
        (GOOD, GOOD, 'lable = "label"\n', "unknown key in .*'lable'. Did you mean 'label'"),
        (GOOD, GOOD, 'evaluate = "test"\n', "no test file to score"),
        (GOOD, GOOD, 'name = "a b"\n', "name 'a b' may have"),
        (GOOD, GOOD, "text = [", "not TOML"),
    ],
)
def test_what_is_wrong_is_said_with_file_row_and_column(tmp_path, train, dev, more, said):
    write(tmp_path / "train.csv", train)
    write(tmp_path / "dev.csv", dev)
    place = describe(tmp_path, FILES + more)
    with pytest.raises(InputError, match=said):
        task = load_task(place)
        for split in ("train", "validation"):
            read_own(task, split)


def test_a_name_that_is_taken_and_a_path_that_leads_nowhere_are_refused(tmp_path):
    write(tmp_path / "train.csv", GOOD)
    write(tmp_path / "dev.csv", GOOD)
    with pytest.raises(InputError, match="mrpc is a task of glue"):
        find_task(str(describe(tmp_path, FILES, "mrpc.toml")), "synthetic")
    with pytest.raises(InputError, match="no such file or folder"):
        find_task("nowhere.toml")
    with pytest.raises(InputError, match=r"unknown task 'colla'\. Did you mean 'cola'.*or the path of one of your own"):
        find_task("colla", "glue")


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The download of a data set in two parts and two configurations, replaced."""
    import huggingface_hub

    for config, sign in (("default", ""), ("other", "!")):
        rows = [{"text": f"t {i}{sign}", "label": i % 2} for i in range(6)]
        write(tmp_path / config / "train" / "0000.parquet", rows[:4])
        write(tmp_path / config / "train" / "0001.parquet", rows[4:])
        write(tmp_path / config / "test" / "0000.parquet", rows[:2])
    calls = []

    def download(name, **settings):
        calls.append((name, settings))
        if name == "nobody/nothing":
            raise OSError("404 Client Error\nmore")
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return calls


def test_a_data_set_of_the_hub_is_a_task_by_its_id(hub):
    task = find_task("hub:lab/films", "glue")
    assert (task.name, task.train, task.evaluations, task.classes) == ("films", "train", ("test",), ("0", "1"))
    assert read_own(task, "train").a == [f"t {i}" for i in range(6)]
    ((name, settings),) = hub
    assert name == "lab/films" and settings["repo_type"] == "dataset"
    assert settings["allow_patterns"] == ["default/*/*.parquet"]
    other = find_task("hub:lab/films/other", "glue")
    assert other.name == "other" and read_own(other, "test").a == ["t 0!", "t 1!"]


def test_a_description_names_the_splits_of_a_data_set_of_the_hub(hub, tmp_path):
    text = 'hub = "lab/films/other"\ntrain = "train"\nvalidation = "test"\n'
    task = load_task(describe(tmp_path, text, "films.toml"))
    assert (task.name, task.evaluations) == ("films", ("validation",))
    assert read_own(task, "validation").a == ["t 0!", "t 1!"]


def test_a_data_set_that_the_hub_does_not_have_is_said_in_a_line(hub):
    for spec, said in (
        ("hub:nobody/nothing", "cannot be fetched from the hub: 404 Client Error$"),
        ("hub:lab/films/third", "no configuration 'third'; give hub:lab/films/CONFIG"),
        ("hub:lab/", "OWNER/NAME"),
    ):
        with pytest.raises(InputError, match=said):
            find_task(spec, "glue")
