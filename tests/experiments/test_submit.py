"""Test predictions and logits of an ablation: kept on demand without changing a run, and submitted or tabulated."""

import zipfile

import numpy as np
import pytest
from scipy.special import softmax
from worlds import sentence, write_encoder, write_glue

from bert_jax.errors import InputError
from bert_jax.study.kept import SCORES, TESTS, has_kept, read_kept
from bert_jax.study.store import read_predictions, read_rows
from bert_jax.tasks import glue
from bert_jax.tasks.submission import FILES
from experiments import ablate_pooling, report, submit
from experiments.cli import named, parse, run
from experiments.report import ReportConfig
from experiments.settings.ablation import Ablation
from experiments.submit import Submission

SMALL = "--finetune.epochs 1 --finetune.batch-size 8 --finetune.eval-batch-size 64 --finetune.num-buckets 1"


def ablate(folder, out, more=""):
    line = f"glue --encoder {folder / 'encoder'} --glue-dir {folder / 'glue'} --out {out} --seeds 2 --probe.folds 3"
    line += f" --tasks cola stsb --poolings mean --regimes finetune probe {SMALL} {more}"
    run(ablate_pooling.main, named(Ablation), line.split())
    return read_rows(out)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An encoder, GLUE with the test sets of CoLA and STS-B, and a run folder without and then with --test --scores."""
    folder = tmp_path_factory.mktemp("submit")
    write_glue(folder / "glue")
    write_encoder(folder / "encoder")
    rng = np.random.default_rng(3)
    cola = "".join(f"{n}\t{sentence(rng, 3 + n % 20)}\n" for n in range(FILES["CoLA"].rows))
    stsb = "".join(f"{n}\t{sentence(rng)}\t{sentence(rng)}\n" for n in range(FILES["STS-B"].rows))
    (folder / "glue" / "CoLA" / "test.tsv").write_text(f"index\tsentence\n{cola}")
    (folder / "glue" / "STS-B" / "test.tsv").write_text(f"index\tsentence1\tsentence2\n{stsb}")
    ablate(folder, folder / "run")
    return folder


@pytest.fixture(scope="module")
def rows(world):
    """The rows before and after the command was given again with --test and --scores."""
    before = read_rows(world / "run")
    found = [read_predictions(world / "run", row) for row in before]
    return before, found, ablate(world, world / "run", "--test --scores")


def test_neither_rows_nor_predictions_change(world, rows, capsys):
    before, found, after = rows
    assert after == before
    for row, predictions in zip(after, found, strict=True):
        again = read_predictions(world / "run", row)
        assert all(np.array_equal(a, b) for name in again for a, b in zip(again[name], predictions[name], strict=True))
    ablate(world, world / "run", "--test --scores")
    assert "nothing to run" in capsys.readouterr().err


def test_a_run_with_both_from_the_start_is_the_same(world, rows, tmp_path):
    fresh = ablate(world, tmp_path / "run", "--test --scores")
    assert [row.id for row in fresh] == [row.id for row in rows[0]]
    assert [row.metrics for row in fresh if row.regime == "finetune"] == [
        row.metrics for row in rows[0] if row.regime == "finetune"
    ]


def test_the_archive_has_eleven_files_in_the_format_of_the_site(world, rows, capsys):
    out = world / "sub" / "submission.zip"
    run(submit.main, Submission, [str(world / "run"), "--readout", "last/mean/none", "--out", str(out)])
    said = capsys.readouterr().out
    assert "WARNING: 9 of 11 files hold the most frequent class" in said and "AX, MNLI-m, MNLI-mm" in said
    with zipfile.ZipFile(out) as archive:
        files = {name: archive.read(name).decode().split("\n") for name in archive.namelist()}
    assert set(files) == {f"{name}.tsv" for name in FILES}
    for name, file in FILES.items():
        header, *lines, last = files[f"{name}.tsv"]
        assert (header, last, len(lines)) == ("index\tprediction", "", file.rows)
        assert [line.split("\t")[0] for line in lines] == [str(n) for n in range(file.rows)]
    tuned = [r for r in rows[2] if (r.regime, r.task) == ("finetune", "cola")]
    best = max(tuned, key=lambda r: (r.score("validation"), tuned.index(r)))
    answers = read_kept(world / "run", best, TESTS)["CoLA"]
    assert [line.split("\t")[1] for line in files["CoLA.tsv"][1:-1]] == [str(found) for found in answers]
    kept = [read_kept(world / "run", r, TESTS)["STS-B"] for r in rows[2] if (r.regime, r.task) == ("finetune", "stsb")]
    scores = np.array([float(line.split("\t")[1]) for line in files["STS-B.tsv"][1:-1]])
    assert any(np.abs(np.clip(found, 0, 5) - scores).max() < 0.001 for found in kept)


def test_a_test_set_is_predicted_by_the_model_of_the_run(world, rows, tmp_path):
    """A copy of the development rows at the start of a test set has the run's own answers."""
    task = glue.read_tsv(glue.TASKS["cola"], world / "glue", "validation")
    rng = np.random.default_rng(3)
    texts = [*task.a, *(sentence(rng) for _ in range(FILES["CoLA"].rows - len(task.a)))]
    (tmp_path / "glue" / "CoLA").mkdir(parents=True)
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "glue" / "CoLA" / name).write_text((world / "glue" / "CoLA" / name).read_text())
    lines = "".join(f"{n}\t{text}\n" for n, text in enumerate(texts))
    (tmp_path / "glue" / "CoLA" / "test.tsv").write_text(f"index\tsentence\n{lines}")
    line = f"glue --encoder {world / 'encoder'} --glue-dir {tmp_path / 'glue'} --out {tmp_path / 'run'} --test"
    line += f" --tasks cola --seeds 1 --poolings mean --probe.folds 3 --regimes finetune probe {SMALL}"
    run(ablate_pooling.main, named(Ablation), line.split())
    for row in read_rows(tmp_path / "run"):
        answers, _ = read_predictions(tmp_path / "run", row)["validation"]
        np.testing.assert_array_equal(read_kept(tmp_path / "run", row, TESTS)["CoLA"][: len(answers)], answers)


def test_logits_give_the_predictions_and_calibration_is_a_table(world, rows, capsys):
    for row in rows[2]:
        assert has_kept(world / "run", row.id, SCORES) == (row.task == "cola")
        if row.task == "cola":
            logits = read_kept(world / "run", row, SCORES)["validation"]
            answers, _ = read_predictions(world / "run", row)["validation"]
            np.testing.assert_array_equal(softmax(logits, axis=1).argmax(1), answers)
    run(report.main, ReportConfig, [str(world / "run"), "--calibration"])
    table = (world / "run" / "calibration.md").read_text()
    assert "| Task   | Regime       | Readout        |" in table and "ECE" in table and "STS-B" not in table
    assert table in capsys.readouterr().out


def test_mistakes_are_named(world, rows):
    config = Submission(world / "run", "last/max/none", world / "x.zip")
    with pytest.raises(InputError, match=r"unknown readout .*last/max/none.*Available: last/mean/none"):
        submit.main(config)
    with pytest.raises(InputError, match="--seed 7"):
        submit.main(Submission(world / "run", "last/mean/none", world / "x.zip", seed=7))
    with pytest.raises(InputError, match=r"NAME\.zip"):
        Submission(world / "run", "last/mean/none", world / "x.tar")
    with pytest.raises(InputError, match="--test: none of acceptability has a test set"):
        parse(named(Ablation), "synthetic --tasks acceptability --test".split())


def test_a_folder_without_test_predictions_names_the_flag(world, tmp_path):
    ablate(world, tmp_path / "run")
    with pytest.raises(InputError, match="with --test"):
        submit.main(Submission(tmp_path / "run", "last/mean/none", tmp_path / "x.zip"))
    with pytest.raises(InputError, match="with --scores"):
        run_report = ReportConfig((tmp_path / "run",), calibration=True)
        report.main(run_report)
