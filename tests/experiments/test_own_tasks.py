"""A task of one's own goes through every regime, and the same rows give the same numbers as a suite's task."""

import itertools
import json

import numpy as np
import pytest
from worlds import DEV, TRAIN, sentence, write_encoder, write_glue, write_table

from bert_jax.analysis.report import write_report
from bert_jax.study.store import read_absent, read_predictions, read_rows
from bert_jax.tasks import glue
from experiments import ablate_pooling, check_task, disagreements, finetune, probe, sts
from experiments.check_task import CheckTask
from experiments.cli import named, run
from experiments.disagreements import Disagreements
from experiments.settings.ablation import Ablation, FinetuneRun
from experiments.settings.frozen import ProbeRun, StsRun

SMALL = "--finetune.epochs 1 --finetune.batch-size 8 --finetune.eval-batch-size 8 --finetune.num-buckets 1".split()
FORMATS = ("tsv", "csv", "jsonl", "parquet")


def rows_of(folder, name, split):
    """The rows of a GLUE task as a table: class numbers or scores."""
    task = glue.TASKS[name]
    found = glue.read_tsv(task, folder / "glue", split)
    columns = dict(zip(("sentence1", "sentence2"), (found.a, found.b), strict=True)) | {"label": found.labels.tolist()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An encoder, GLUE, and its MRPC and STS-B again in all formats, with a task of single texts."""
    folder = tmp_path_factory.mktemp("own")
    write_glue(folder / "glue")
    write_encoder(folder / "encoder")
    for name in ("mrpc", "stsb"):
        for ending in FORMATS:
            for split in ("train", "validation"):
                write_table(folder / f"{name}-{ending}" / f"{split}.{ending}", rows_of(folder, name, split))
    rng = np.random.default_rng(5)
    for file, number in (("train", TRAIN), ("dev", DEV)):
        rows = [{"text": sentence(rng, 8), "verdict": ("bad", "good")[i % 2], "shop": i % 3} for i in range(number)]
        write_table(folder / f"{file}.jsonl", rows)
    text = 'train = "train.jsonl"\nvalidation = "dev.jsonl"\nlabel = "verdict"\ngroup = "shop"\nmetrics = ["mcc"]\n'
    (folder / "reviews.toml").write_text(text)
    return folder


def ablate(world, out, tasks, regimes):
    line = f"glue --encoder {world / 'encoder'} --glue-dir {world / 'glue'} --out {out} --seeds 1 --probe.folds 3"
    names = [str(world / task) if (world / task).exists() else task for task in tasks.split()]
    run(ablate_pooling.main, named(Ablation), [*line.split(), "--regimes", *regimes.split(), "--tasks", *names, *SMALL])
    return {(row.regime, row.task, row.readout): row for row in read_rows(out)}


def same(out, row, other):
    """Two rows have the same scores and answers."""
    found = [read_predictions(out, one)["validation"] for one in (row, other)]
    return row.metrics == other.metrics and all(np.array_equal(a, b) for a, b in zip(*found, strict=True))


def test_the_same_rows_give_the_same_numbers_as_mrpc_in_all_formats(world, tmp_path):
    own = [f"mrpc-{ending}" for ending in FORMATS]
    rows = ablate(world, tmp_path / "out", " ".join(["mrpc", *own]), "finetune probe")
    assert len(rows) == 5 * 2 * 2
    for (regime, task, readout), row in rows.items():
        known = rows[regime, "mrpc", readout]
        assert task == "mrpc" or row.metrics["validation"]["accuracy"] == known.metrics["validation"]["accuracy"]
        assert row.config["suite"] == ("glue" if task == "mrpc" else "own")
        answers = [read_predictions(tmp_path / "out", one)["validation"][0] for one in (row, known)]
        np.testing.assert_array_equal(*answers)
    assert len({row.config["data"]["train"] for row in rows.values()}) == 1


def test_scores_go_through_three_regimes_in_all_formats(world, tmp_path):
    own = [f"stsb-{ending}" for ending in FORMATS]
    rows = ablate(world, tmp_path / "out", " ".join(["stsb", *own, "reviews.toml"]), "finetune probe sts")
    for regime, task in itertools.product(("finetune", "probe", "sts"), own):
        for readout in ("last/cls/none", "last/mean/none"):
            assert same(tmp_path / "out", rows[regime, task, readout], rows[regime, "stsb", readout])
    assert rows["probe", "reviews", "last/cls/none"].metric == "mcc"
    assert "pairs with scores" in read_absent(tmp_path / "out")["sts"]["reviews"]
    assert "reviews" in (tmp_path / "out" / "table.md").read_text()


def test_single_texts_with_classes_give_the_same_numbers_in_all_formats(world, tmp_path):
    rows = [json.loads(line) for line in (world / "train.jsonl").read_text().splitlines()]
    for ending, split in itertools.product(FORMATS, ("train", "dev")):
        write_table(
            tmp_path / f"films-{ending}" / f"{split}.{ending}",
            [{"text": r["text"], "label": r["verdict"]} for r in rows],
        )
    with pytest.warns(UserWarning, match="such a score shows what was memorised"):
        found = ablate(
            world, tmp_path / "out", " ".join(str(tmp_path / f"films-{e}") for e in FORMATS), "finetune probe"
        )
    for regime, readout in itertools.product(("finetune", "probe"), ("last/cls/none", "last/mean/none")):
        known = found[regime, "films-tsv", readout]
        assert all(same(tmp_path / "out", found[regime, f"films-{e}", readout], known) for e in FORMATS[1:])


def test_the_other_commands_take_the_path_of_a_task(world, tmp_path):
    encoder = f"--encoder {world / 'encoder'}"
    line = f"senteval {encoder} --out {tmp_path / 'probe'} --folds 3 --tasks {world / 'reviews.toml'}"
    run(probe.main, named(ProbeRun), line.split())
    assert {row.task for row in read_rows(tmp_path / "probe")} == {"reviews"}
    run(sts.main, named(StsRun), f"sts {encoder} --out {tmp_path / 'sts'} --tasks {world / 'stsb-tsv'}".split())
    assert {row.task for row in read_rows(tmp_path / "sts")} == {"stsb-tsv"}
    line = f"{encoder} --out {tmp_path / 'one'} --task {world / 'reviews.toml'} --projection none"
    run(finetune.main, FinetuneRun, [*line.split(), *SMALL])
    assert (tmp_path / "one" / "model" / "config.json").exists()


def test_a_changed_definition_is_not_continued(world, tmp_path, capsys):
    text = (world / "reviews.toml").read_text()
    line = f"senteval --encoder {world / 'encoder'} --out {tmp_path / 'out'} --folds 3 --tasks {tmp_path / 'x.toml'}"
    text = text.replace('"train.', f'"{world}/train.').replace('"dev.', f'"{world}/dev.')
    (tmp_path / "x.toml").write_text(text)
    run(probe.main, named(ProbeRun), line.split())
    (tmp_path / "x.toml").write_text(text.replace("mcc", "accuracy"))
    with pytest.raises(SystemExit):
        run(probe.main, named(ProbeRun), line.split())
    assert "own/x.definition" in capsys.readouterr().err


def test_check_task_says_what_is_read(world, capsys, tmp_path):
    run(check_task.main, CheckTask, [str(world / "reviews.toml"), "--encoder", str(world / "encoder")])
    said = capsys.readouterr().out
    assert "text in 'text' and 2 classes (bad, good) in 'verdict', groups in 'shop'; mcc on validation" in said
    assert f"train: {TRAIN} rows\n  classes: bad {TRAIN // 2}, good {TRAIN // 2}\n  groups: 0 8, 1 8, 2 8\n" in said
    assert "median 10, 95% up to 10, longest 10 tokens; 0 rows are cut at 128" in said
    assert "baseline on validation, most frequent class or mean score: mcc 0.0" in said
    assert "baseline on validation, bag of words: mcc " in said


def test_a_validation_set_that_is_all_in_the_training_set_is_warned_of(tmp_path, capsys):
    rows = [{"text": f"text {i}", "label": i % 2} for i in range(6)]
    for split in ("train", "dev", "test"):
        write_table(tmp_path / f"{split}.csv", rows if split != "test" else [{"text": "new"}])
    with pytest.warns(UserWarning, match=r"6 of 6 \(validation\); such a score shows what was memorised"):
        run(check_task.main, CheckTask, [str(tmp_path)])
    said = capsys.readouterr().out
    assert "6 rows have the texts of a training row (100%)" in said
    assert "test: 1 rows\n  no labels: it can be predicted, not scored" in said


def test_the_settings_of_the_synthetic_suite_are_not_taken_for_own_tasks(world, capsys):
    with pytest.raises(SystemExit):
        run(ablate_pooling.main, named(Ablation), ["synthetic", "--tasks", str(world / "reviews.toml")])
    assert "reviews.toml: the settings of synthetic are for its own encoder; begin with glue" in capsys.readouterr().err


def test_a_metric_that_does_not_fit_is_refused_before_anything_runs(world, tmp_path, capsys):
    text = f'train = "{world}/train.jsonl"\nlabel = "verdict"\nfolds = 3\nmetrics = ["pearson"]\n'
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SystemExit):
        run(check_task.main, CheckTask, [str(tmp_path / "x.toml")])
    assert "pearson does not fit labels that are classes; take accuracy, f1, mcc" in capsys.readouterr().err


def test_sentences_on_which_readouts_differ_are_listed(world, tmp_path, capsys):
    out = tmp_path / "out"
    rows = ablate(world, out, "reviews.toml stsb-csv", "probe")
    cls, mean = (rows["probe", "reviews", f"last/{pooling}/none"] for pooling in ("cls", "mean"))
    (one, labels), (other, _) = (read_predictions(out, row)["validation"] for row in (cls, mean))
    capsys.readouterr()
    run(disagreements.main, Disagreements, f"{out} cls mean --task reviews --out {tmp_path / 'x.tsv'}".split())
    said = capsys.readouterr().out
    gained = np.flatnonzero((other == labels) & (one != labels))
    assert f"reviews (probe): mean is better on {len(gained)} examples" in said
    texts = [json.loads(line)["text"] for line in (world / "dev.jsonl").read_text().splitlines()]
    for row in gained:
        name = ("bad", "good")[labels[row]]
        assert f"row {row}, {name}: cls 0.00, mean 1.00: {texts[row]}" in said
    lines = (tmp_path / "x.tsv").read_text().splitlines()
    assert len(lines) == 1 + np.count_nonzero((one == labels) != (other == labels))
    assert set(lines[0].split("\t")) >= {"hash", "group", "label"}
    run(disagreements.main, Disagreements, f"{out} cls mean --task stsb-csv".split())
    assert "stsb-csv (probe): cls is better on" in capsys.readouterr().out
    for words, why in (("cls maen", "unknown readout 'maen'"), ("cls mean --task cola", "unknown task 'cola'")):
        with pytest.raises(SystemExit):
            run(disagreements.main, Disagreements, f"{out} {words}".split())
        assert why in capsys.readouterr().err


def test_an_interrupted_grid_says_that_it_is_incomplete_and_a_whole_one_that_nothing_is_to_do(world, tmp_path, capsys):
    out = tmp_path / "out"
    ablate(world, out, "reviews.toml", "probe")
    assert "2 runs to do" in capsys.readouterr().err
    ablate(world, out, "reviews.toml", "probe")
    said = capsys.readouterr()
    assert f"nothing to run: all 2 runs are in {out}" in said.err and "INCOMPLETE" not in said.out
    assert f"trained on reviews ({TRAIN})" in " ".join(said.out.split())
    first, _ = (out / "results.jsonl").read_text().splitlines()
    (out / "results.jsonl").write_text(f"{first}\n")
    write_report(out)
    said = " ".join(capsys.readouterr().out.split())
    assert "INCOMPLETE: 1 of 2 runs are missing: reviews last/mean/none (linear probe) seed 0." in said
    ablate(world, out, "reviews.toml", "probe")
    said = capsys.readouterr()
    assert "1 of 2 runs to do, about" in said.err and "INCOMPLETE" not in said.out
