"""A finished row is never lost, never written twice, and never mixed with those of another experiment."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from bert_jax.config import FinetuneConfig
from bert_jax.errors import InputError
from bert_jax.files import digest, plain
from bert_jax.study import store as store_module
from bert_jax.study.store import ResultStore, Row, read_experiment, read_predictions, read_rows

EXPERIMENT = {"encoder": "tiny", "finetune": FinetuneConfig()}
PREDICTIONS = {"validation": (np.array([0, 1, 1]), np.array([0, 1, 0]))}


def a_row(seed=0, **changes):
    config = {"task": "cola", "seed": seed}
    row = Row(
        id=digest(config),
        task="cola",
        title="CoLA",
        metric="mcc",
        is_regression=False,
        readout="last/cls/none",
        learning_rate=5e-5,
        seed=seed,
        status="ok",
        failed_step=None,
        seconds=1.5,
        train_examples=10,
        evaluation_examples={"validation": 3},
        metrics={"validation": {"mcc": 0.5, "accuracy": 2 / 3}},
        majority={"validation": {"mcc": 0.0, "accuracy": 2 / 3}},
        config=config,
    )
    return dataclasses.replace(row, **changes)


@pytest.fixture
def folder(tmp_path):
    """A run folder with two rows."""
    store = ResultStore(tmp_path / "run", EXPERIMENT)
    for seed in range(2):
        store.append(a_row(seed), PREDICTIONS)
    return tmp_path / "run"


def test_what_is_written_is_read(folder):
    assert read_rows(folder) == [a_row(0), a_row(1)]
    assert read_experiment(folder) == plain(EXPERIMENT)
    for found, written in zip(read_predictions(folder, a_row(0))["validation"], PREDICTIONS["validation"], strict=True):
        assert found.dtype == written.dtype and found.tolist() == written.tolist()
    assert ResultStore(folder, EXPERIMENT).finished() == {a_row(0).id, a_row(1).id}


def test_a_failed_run_is_a_finished_row_without_predictions(folder):
    failed = a_row(2, status="failed", failed_step=7, metrics={})
    ResultStore(folder, EXPERIMENT).append(failed, {})
    assert read_rows(folder)[-1] == failed and failed.id in ResultStore(folder, EXPERIMENT).finished()
    assert failed.score("validation") == 0.0 and not failed.is_degenerate("validation")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_never_kept(folder, value):
    before = (folder / "results.jsonl").read_bytes()
    store = ResultStore(folder, EXPERIMENT)
    with pytest.raises(InputError, match=r"CoLA, last/cls/none, seed 2: mcc on validation is not finite, so the run"):
        store.append(a_row(2, metrics={"validation": {"mcc": value}}), PREDICTIONS)
    predictions = {"validation": (np.array([0.5, value, 1]), np.array([0, 1, 0]))}
    with pytest.raises(InputError, match="a prediction on validation is not finite"):
        store.append(a_row(2), predictions)
    assert (folder / "results.jsonl").read_bytes() == before and len(list((folder / "predictions").iterdir())) == 2


@pytest.mark.parametrize("value", ["null", "NaN", "Infinity", '"0.5"'])
def test_a_row_with_a_number_that_is_not_finite_is_refused(folder, value):
    path = folder / "results.jsonl"
    path.write_text(path.read_text().replace('"mcc": 0.5', f'"mcc": {value}', 1))
    with pytest.raises(InputError, match=r"results\.jsonl, line 1 is not a result .*mcc on validation is"):
        read_rows(folder)


def test_id_depends_on_every_setting_and_not_on_their_order():
    config = {"task": "cola", "finetune": FinetuneConfig(), "out": Path("a")}
    assert digest(config) == digest(dict(reversed(config.items()))) == digest(plain(config))
    assert digest(config) != digest(config | {"finetune": FinetuneConfig(epochs=4)})
    assert digest({"seed": 0}) == digest({"seed": np.int64(0)})


@pytest.mark.parametrize("cut", [1, 2, 100, 300, -2])
def test_a_line_cut_off_anywhere_is_run_again(folder, cut):
    path = folder / "results.jsonl"
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:cut])
    with pytest.warns(UserWarning, match="cut off"):
        store = ResultStore(folder, EXPERIMENT)
    assert store.finished() == {a_row(0).id}
    store.append(a_row(1), PREDICTIONS)
    assert path.read_bytes() == first + second


def test_a_last_line_that_lacks_only_its_end_is_kept(folder):
    path = folder / "results.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    ResultStore(folder, EXPERIMENT).append(a_row(2), PREDICTIONS)
    assert [row.seed for row in read_rows(folder)] == [0, 1, 2]


@pytest.mark.parametrize("step", ["_savez", "_append_line"])
def test_an_interruption_while_writing_leaves_the_finished_rows_and_can_be_made_good(folder, monkeypatch, step):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store_module, step, interrupt)
        ResultStore(folder, EXPERIMENT).append(a_row(2), PREDICTIONS)
    store = ResultStore(folder, EXPERIMENT)
    assert store.finished() == {a_row(0).id, a_row(1).id}
    store.append(a_row(2), PREDICTIONS)
    assert [row.seed for row in read_rows(folder)] == [0, 1, 2]
    assert read_predictions(folder, a_row(2)).keys() == PREDICTIONS.keys()


def test_two_stores_of_one_process_may_write_to_one_folder(folder):
    stores = [ResultStore(folder, EXPERIMENT) for _ in range(2)]
    stores[0].append(a_row(2), PREDICTIONS)
    stores[1].append(a_row(3), PREDICTIONS)
    stores[1].append(a_row(2, seconds=9.0), PREDICTIONS)
    assert [(row.seed, row.seconds) for row in read_rows(folder)] == [(0, 1.5), (1, 1.5), (2, 9.0), (3, 1.5)]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"id": "x"}', b"\xff\xfe\x00"])
def test_damage_before_the_last_line_is_named(folder, damage):
    path = folder / "results.jsonl"
    path.write_bytes(damage + b"\n" + path.read_bytes())
    with pytest.raises(InputError, match=r"results\.jsonl, line 1 is not a result"):
        ResultStore(folder, EXPERIMENT)


def test_another_experiment_is_refused_with_every_difference(folder):
    other = {"encoder": "mini", "finetune": FinetuneConfig(epochs=4), "suite": "glue"}
    with pytest.raises(InputError) as error:
        ResultStore(folder, other)
    for part in (
        'encoder was "tiny" and is "mini"',
        "finetune.epochs was 3 and is 4",
        'suite was absent and is "glue"',
    ):
        assert part in str(error.value)
    assert "batch_size" not in str(error.value) and "--out" in str(error.value)
    assert read_experiment(folder) == plain(EXPERIMENT)


@pytest.mark.parametrize(("text", "message"), [("", "not JSON"), ("[]", "no JSON object")])
def test_a_damaged_experiment_is_named(folder, text, message):
    (folder / "experiment.json").write_text(text)
    with pytest.raises(InputError, match=rf"experiment\.json.*{message}"):
        ResultStore(folder, EXPERIMENT)


def test_rows_without_their_experiment_are_refused(folder):
    (folder / "experiment.json").unlink()
    with pytest.raises(InputError, match=r"no experiment\.json"):
        ResultStore(folder, EXPERIMENT)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*file/run.*--out"):
        ResultStore(tmp_path / "file" / "run", EXPERIMENT)


def test_a_folder_that_is_not_a_run_is_named(tmp_path):
    for read in (read_rows, read_experiment):
        with pytest.raises(InputError, match="is this the folder of a run"):
            read(tmp_path)


def test_a_row_is_never_written_twice(folder):
    with pytest.raises(ValueError, match="already"):
        ResultStore(folder, EXPERIMENT).append(a_row(0), PREDICTIONS)
    with pytest.raises(ValueError, match="predictions for"):
        ResultStore(folder, EXPERIMENT).append(a_row(2), {"test": PREDICTIONS["validation"]})
    assert len(read_rows(folder)) == 2


def test_predictions_that_cannot_be_trusted_are_refused(folder):
    path = folder / "predictions" / f"{a_row(0).id}.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"cannot read .*{path.name}"):
        read_predictions(folder, a_row(0))
    pickled = np.array([0, None, 1], dtype=object)
    np.savez(path, **{"validation/predictions": pickled, "validation/labels": pickled})
    with pytest.raises(InputError, match="allow_pickle"):
        read_predictions(folder, a_row(0))
    path.write_bytes(whole)
    with pytest.raises(InputError, match="4 examples"):
        read_predictions(folder, a_row(0, evaluation_examples={"validation": 4}))


DATA = {"cola": {"train": "a", "validation": "b"}}


def test_a_folder_knows_its_data_and_grows_by_tasks(tmp_path):
    ResultStore(tmp_path, {"data": DATA})
    ResultStore(tmp_path, {"data": {"mrpc": {"train": "c"}}})
    assert read_experiment(tmp_path)["data"] == DATA | {"mrpc": {"train": "c"}}
    for split in ("train", "validation"):
        with pytest.raises(InputError, match=f'data.cola.{split} was ".*" and is "z"'):
            ResultStore(tmp_path, {"data": {"cola": DATA["cola"] | {split: "z"}}})
    assert read_experiment(tmp_path)["data"] == DATA | {"mrpc": {"train": "c"}}


def test_a_folder_of_an_older_version_is_refused_by_name(folder):
    with pytest.raises(InputError, match="written by an older version"):
        ResultStore(folder, EXPERIMENT | {"data": DATA})
    assert len(read_rows(folder)) == 2
