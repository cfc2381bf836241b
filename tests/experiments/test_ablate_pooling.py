"""The ablation from its command line: what it writes, what it does not do twice, and what it says to a mistake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from worlds import DEV, TRAIN, write_encoder, write_glue

from bert_jax.study import regimes
from bert_jax.study.store import read_predictions, read_rows
from experiments import ablate_pooling
from experiments.cli import named, run
from experiments.settings.ablation import Ablation

ROOT = Path(__file__).parents[2]
SMALL = "--finetune.epochs 1 --finetune.batch-size 8 --finetune.eval-batch-size 8 --finetune.num-buckets 1".split()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with an encoder and GLUE folders that no test changes."""
    folder = tmp_path_factory.mktemp("world")
    write_glue(folder / "glue")
    write_encoder(folder / "encoder")
    return folder


def arguments(world, out, tasks="cola stsb mrpc", poolings="cls mean", seeds=2, **changes):
    flags = {"encoder": world / "encoder", "glue_dir": world / "glue", "seeds": seeds, "out": out} | changes
    line = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", *str(value).split())]
    return ["glue", "--tasks", *tasks.split(), "--poolings", *poolings.split(), *line, *SMALL]


def ablate(world, out, **changes):
    run(ablate_pooling.main, named(Ablation), arguments(world, out, **changes))
    return read_rows(out)


@pytest.fixture(scope="module")
def whole(world):
    """A run folder from a run without any incident."""
    ablate(world, world / "whole")
    return world / "whole"


def outcome(folder):
    """Everything but the time of each run: it must not depend on interruptions."""
    rows = {}
    for row in read_rows(folder):
        predictions = read_predictions(folder, row) if row.ok else {}
        arrays = {name: [array.tolist() for array in pair] for name, pair in predictions.items()}
        rows[row.id] = row.task, row.readout, row.seed, row.metrics, row.failed_step, arrays
    return rows


def test_every_run_has_a_row_with_its_predictions_and_the_report_is_written(whole):
    rows = read_rows(whole)
    cells = {(row.task, row.readout, row.seed) for row in rows}
    readouts = ["last/cls/none", "last/mean/none"]
    assert cells == {(t, r, s) for t in ("cola", "stsb", "mrpc") for r in readouts for s in range(2)}
    for row in rows:
        assert row.ok and row.train_examples == TRAIN and row.evaluation_examples == {"validation": DEV}
        predictions, labels = read_predictions(whole, row)["validation"]
        assert predictions.shape == labels.shape == (DEV,) and np.isfinite(predictions).all()
        if row.task == "stsb":
            np.testing.assert_array_equal(labels, np.arange(DEV) % 11 / 2)
        else:
            assert labels.tolist() == [0, 1] * (DEV // 2)
        assert row.seconds > 0 and row.config["seed"] == row.seed and row.metric in row.metrics["validation"]
    table = (whole / "table.md").read_text()
    assert "at most 32 tokens" in table, "the encoder's limit, not the 128 of the settings"
    assert all(word in table for word in ("CoLA", "STS-B", "MRPC", "cls", "mean", "2 seeds"))
    assert r"\begin{tabular}" in (whole / "table.tex").read_text()
    assert (whole / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_seeds_and_readouts_give_different_predictions(whole):
    found = {(row.readout, row.seed): read_predictions(whole, row) for row in read_rows(whole) if row.task == "stsb"}
    answers = [values["validation"][0].tolist() for values in found.values()]
    assert len({tuple(values) for values in answers}) == 4


def contents(folder):
    kept = [folder / "results.jsonl", folder / "experiment.json", *sorted((folder / "predictions").iterdir())]
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in kept}


def test_nothing_is_run_twice(world, whole, monkeypatch):
    def forbidden(*args):
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(regimes.finetune, "finetune_together", forbidden)
    before = contents(whole)
    (whole / "table.md").unlink()
    ablate(world, whole)
    assert contents(whole) == before and (whole / "table.md").exists()


def test_a_grid_that_grows_runs_what_is_new_and_ends_as_if_run_at_once(world, whole, tmp_path):
    ablate(world, tmp_path / "out", tasks="stsb", poolings="cls", seeds=1)
    first = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert first.count(b"\n") == 1
    ablate(world, tmp_path / "out")
    after = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert after.startswith(first) and after.count(b"\n") == 12
    assert outcome(tmp_path / "out") == outcome(whole)


def test_an_interruption_keeps_finished_rows_and_the_same_command_goes_on(world, whole, tmp_path, monkeypatch, capsys):
    real, calls = regimes.finetune.finetune_together, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(regimes.finetune, "finetune_together", interrupted)
    with pytest.raises(SystemExit) as exit_:
        ablate(world, tmp_path / "out")
    assert exit_.value.code == 130 and "the same command goes on" in capsys.readouterr().err
    kept = (tmp_path / "out" / "results.jsonl").read_bytes()
    assert kept.count(b"\n") == 5
    monkeypatch.undo()
    ablate(world, tmp_path / "out")
    assert (tmp_path / "out" / "results.jsonl").read_bytes().startswith(kept)
    assert outcome(tmp_path / "out") == outcome(whole)


KILLED = """
import os, signal, sys
from bert_jax.study import store
from experiments import ablate_pooling
from experiments.cli import named, run
from experiments.settings.ablation import Ablation

whole = store._append_line

def torn(path, line):
    if path.read_bytes().count(b"\\n") < 5:
        return whole(path, line)
    with open(path, "ab") as file:
        file.write(line[:50])
    os.kill(os.getpid(), signal.SIGKILL)

store._append_line = torn
run(ablate_pooling.main, named(Ablation), sys.argv[1:])
"""
"""The ablation, killed in the middle of writing its sixth row."""


def test_a_run_that_is_killed_goes_on_as_if_nothing_had_been(world, whole, tmp_path):
    out = tmp_path / "out"
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", KILLED, *arguments(world, out)]
    killed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (out / "results.jsonl").read_bytes().count(b"\n") == 5
    with pytest.warns(UserWarning, match="the last line was cut off; its run will be done again"):
        ablate(world, out)
    assert outcome(out) == outcome(whole)


def test_a_run_that_diverges_is_recorded_and_the_grid_goes_on(world, tmp_path):
    rows = ablate(world, tmp_path / "out", tasks="cola", poolings="cls", seeds=1, learning_rates="1e30 1e-3")
    assert [(row.learning_rate, row.status) for row in rows] == [(1e30, "failed"), (1e-3, "ok")]
    assert 2 <= rows[0].failed_step <= 3 and rows[0].metrics == {} and rows[1].failed_step is None
    assert (tmp_path / "out" / "table.md").exists()
    assert len(ablate(world, tmp_path / "out", tasks="cola", poolings="cls", seeds=1, learning_rates="1e30 1e-3")) == 2


def test_a_rate_is_chosen_on_rows_that_are_neither_trained_on_nor_scored(world, tmp_path):
    rates = {"tasks": "cola", "poolings": "cls", "seeds": 1, "learning_rates": "1e-3 2e-3"}
    rows = ablate(world, tmp_path / "heldout", **rates)
    held = max(1, round(TRAIN / 10))
    for row in rows:
        assert row.train_examples == TRAIN - held and list(row.evaluation_examples) == ["validation"]
        assert set(row.details["heldout"]) == set(row.metrics["validation"])
    assert "chosen on held-out training rows" in (tmp_path / "heldout" / "table.md").read_text()
    others = ablate(world, tmp_path / "evaluation", select="evaluation", **rates)
    assert {row.train_examples for row in others} == {TRAIN} and not any(row.details for row in others)
    assert not {row.id for row in rows} & {row.id for row in others}
    assert "chosen on the evaluation set" in (tmp_path / "evaluation" / "table.md").read_text()


def assert_same_up_to_rounding(one, other):
    """Two outcomes have the same runs, of which the same failed at the same step, and the same predictions."""
    assert one.keys() == other.keys()
    for id_, (*cell, _, failed, arrays) in one.items():
        *other_cell, _, other_failed, other_arrays = other[id_]
        assert (cell, failed) == (other_cell, other_failed) and arrays.keys() == other_arrays.keys()
        for name, (predictions, labels) in arrays.items():
            np.testing.assert_allclose(other_arrays[name][0], predictions, atol=1e-4)
            assert other_arrays[name][1] == labels


def test_runs_in_one_program_give_the_same_rows_and_fail_and_go_on_run_by_run(world, tmp_path, monkeypatch):
    """Of two populations, each with two runs that diverge, the second is interrupted."""
    grid = {"tasks": "stsb", "learning_rates": "1e30 1e-3", "select": "evaluation"}
    ablate(world, tmp_path / "alone", **grid)
    real, sizes = regimes.finetune.finetune_together, []

    def interrupted(pretrained, data, readout, config, trials, layout, on_step):
        sizes.append((len(trials), layout.places))
        if len(sizes) == 2:
            raise KeyboardInterrupt
        return real(pretrained, data, readout, config, trials, layout, on_step)

    monkeypatch.setattr(regimes.finetune, "finetune_together", interrupted)
    with pytest.raises(SystemExit):
        ablate(world, tmp_path / "together", together=4, **grid)
    first = read_rows(tmp_path / "together")
    assert [row.readout for row in first] == ["last/cls/none"] * 4
    assert [row.status for row in first] == ["failed", "ok"] * 2
    ablate(world, tmp_path / "together", together=4, **grid)
    assert sizes == [(4, 4)] * 3
    assert_same_up_to_rounding(outcome(tmp_path / "alone"), outcome(tmp_path / "together"))


# Mistakes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(world, tmp_path):
    """A copy of the world that a test may damage."""
    for name in ("glue", "encoder"):
        shutil.copytree(world / name, tmp_path / name)
    return tmp_path


def fails(capsys, world, out=None, **changes):
    """The error message of a user error, on a wide terminal."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as exit_:
        patch.setenv("COLUMNS", "300")
        ablate(world, out or world / "out", **changes)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and "Traceback" not in error
    return error


def short(error):
    """The message, which is of two lines at most."""
    error = re.sub(r"^\d+ runs? to do\b.*\n", "", error)
    assert 1 <= len(error.strip().splitlines()) <= 2 and error.startswith("error: "), error
    return " ".join(error.split())


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"poolings": "cls maen"}, ["pooling 'maen'", "Did you mean 'mean'?"]),
        ({"poolings": "cls cls"}, ["--poolings", "has duplicates: cls cls"]),
        ({"poolings": "attention(num_heads=four)"}, ["attention(num_heads=four)", "literal"]),
        ({"poolings": "mean(heads=2)"}, ["'mean'", "heads"]),
        ({"layers": "7"}, ["no layer 7", "0 (the embeddings) to 1"]),
        ({"projections": "tahn"}, ["'tahn'", "Did you mean 'tanh'?"]),
        ({"tasks": "cola mprc"}, ["task 'mprc'", "Did you mean 'mrpc'?"]),
        ({"seeds": 0}, ["--seeds 0", "at least one"]),
        ({"glue_dir": "/no/such/folder"}, ["/no/such/folder", "--glue-dir"]),
        ({"tasks": "rte"}, ["RTE/", "CoLA, MRPC, STS-B", "--glue-dir"]),
        ({"encoder": "/no/such/encoder"}, ["/no/such/encoder"]),
    ],
)
def test_a_mistake_on_the_command_line_is_explained(capsys, world, tmp_path, changes, parts):
    error = short(fails(capsys, world, tmp_path / "out", **changes))
    assert all(part in error for part in parts), error


def test_an_unknown_flag_gets_the_right_one(capsys, world, tmp_path):
    error = fails(capsys, world, tmp_path / "out", sedes=3)
    assert "--sedes" in error and "Perhaps you meant" in error and "--seeds" in error


def test_a_tsv_that_is_damaged_is_named_with_its_row(capsys, own):
    def damaged(path, old, new):
        file = own / "glue" / path
        before = file.read_text()
        lines = before.splitlines()
        lines[2] = lines[2].replace(old, new, 1)
        file.write_text("".join(f"{line}\n" for line in lines))
        error = short(fails(capsys, own, tasks="cola stsb mrpc"))
        file.write_text(before)
        assert f"{file}, row 3" in error
        return error

    assert "fields where 4 are needed" in damaged("CoLA/train.tsv", "\t\t", "")
    assert "label '7' is not one of 0, 1" in damaged("CoLA/dev.tsv", "gj04\t0", "gj04\t7")


def test_a_score_that_is_no_number_is_named(capsys, own):
    path = own / "glue" / "STS-B" / "dev.tsv"
    path.write_text(path.read_text().replace("0.5\n", "half\n", 1))
    error = short(fails(capsys, own, tasks="stsb"))
    assert f"{path}, row 3" in error and "score 'half' is not a plain decimal number from 0 to 5" in error


def test_an_empty_file_is_named(capsys, own):
    (own / "glue" / "CoLA" / "dev.tsv").write_text("")
    error = short(fails(capsys, own))
    assert str(own / "glue" / "CoLA" / "dev.tsv") in error and "empty" in error


def test_another_experiments_folder_is_left_alone(capsys, world, whole):
    before = contents(whole)
    error = short(fails(capsys, world, whole, train_rows=8))
    assert str(whole) in error and "train_rows was null and is 8" in error and "--out" in error
    assert contents(whole) == before


def test_a_folder_that_is_a_file_is_named(capsys, world, tmp_path):
    (tmp_path / "out").write_text("")
    error = short(fails(capsys, world, tmp_path / "out"))
    assert str(tmp_path / "out") in error and "--out" in error


def test_a_truncated_checkpoint_is_named(capsys, own):
    path = own / "encoder" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    error = short(fails(capsys, own))
    assert str(path) in error and "damaged or truncated" in error


def test_a_checkpoint_that_does_not_fit_its_config_is_named_with_the_tensors(capsys, own):
    path = own / "encoder" / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps(config | {"intermediate_size": 64}))
    error = fails(capsys, own)
    assert "model.safetensors does not fit its config:" in error and "intermediate.dense.weight" in error


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"learning_rates": "1e-3 -1"}, ["--learning-rates", "-1"]),
        ({"learning_rates": "1e-3 nan"}, ["--learning-rates", "nan"]),
        ({"learning_rates": "1e-3 inf"}, ["--learning-rates", "inf"]),
        ({"learning_rates": "1e-3 1e-3"}, ["--learning-rates", "has duplicates: 0.001 0.001"]),
        ({"train_rows": 0}, ["--train-rows", "0"]),
        ({"train_rows": -3}, ["--train-rows", "-3"]),
    ],
)
def test_a_number_that_makes_no_sense_is_refused_before_training(capsys, world, tmp_path, monkeypatch, changes, parts):
    monkeypatch.setattr(regimes.finetune, "finetune_together", lambda *args: pytest.fail("training began"))
    error = short(fails(capsys, world, tmp_path / "out", tasks="cola", **changes))
    assert all(part in error for part in parts), error
