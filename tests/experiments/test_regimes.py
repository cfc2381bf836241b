"""The probe, zero-shot similarity and the three regimes side by side, from their command lines."""

import json
import shutil

import numpy as np
import pytest
from worlds import DEV, TRAIN, sentence, write_encoder, write_glue, write_one_segment

import bert_jax
from bert_jax.config import FinetuneConfig
from bert_jax.evaluate.metrics import spearman
from bert_jax.evaluate.similarity import cosines
from bert_jax.study import grid, regimes
from bert_jax.study.store import ResultStore, read_absent, read_predictions, read_rows
from bert_jax.tasks import glue
from bert_jax.tokenizers.tokenizer import load_tokenizer
from experiments import ablate_pooling, probe, sts
from experiments.cli import named, run
from experiments.settings.ablation import Ablation
from experiments.settings.frozen import ProbeRun, StsRun

SMALL = "--finetune.epochs 1 --finetune.batch-size 8 --finetune.eval-batch-size 8 --finetune.num-buckets 1".split()
ROWS = 24


def write_senteval(folder):
    """MR, scored by folds, and TREC, with a test set; MPQA is not there."""
    rng = np.random.default_rng(1)
    (folder / "MR").mkdir(parents=True)
    for name in ("neg", "pos"):
        (folder / "MR" / f"rt-polarity.{name}").write_text("".join(f"{sentence(rng)}\n" for _ in range(ROWS // 2)))
    (folder / "TREC").mkdir()
    for file, rows in (("train_5500", 3 * ROWS), ("TREC_10", ROWS)):
        lines = [f"{('ABBR', 'DESC', 'ENTY', 'HUM', 'LOC', 'NUM')[row % 6]}:x {sentence(rng)}\n" for row in range(rows)]
        (folder / "TREC" / f"{file}.label").write_text("".join(lines))


def write_sts(folder):
    """STS12 with two subsets and the benchmark; the other sets are not there."""
    rng = np.random.default_rng(2)
    (folder / "STS12-en-test").mkdir(parents=True)
    for name, rows in (("news", 9), ("captions", 7)):
        pairs = "".join(f"{sentence(rng)}\t{sentence(rng)}\n" for _ in range(rows))
        (folder / "STS12-en-test" / f"STS.input.{name}.txt").write_text(pairs)
        (folder / "STS12-en-test" / f"STS.gs.{name}.txt").write_text("".join(f"{row % 5}\n" for row in range(rows)))
    (folder / "STSBenchmark").mkdir()
    lines = [f"g\tf\ty\t1\t{row % 6}\t{sentence(rng)}\t{sentence(rng)}\n" for row in range(ROWS)]
    (folder / "STSBenchmark" / "sts-test.csv").write_text("".join(lines))


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regimes")
    write_glue(folder / "glue")
    write_encoder(folder / "encoder")
    write_senteval(folder / "senteval")
    write_sts(folder / "sts")
    return folder


def start(main, kind, name, line):
    run(main, named(kind), str(line).split(), default=name)


def probed(world, out, more="--layers all --poolings cls mean max", tasks="mr mpqa trec"):
    line = f"--tasks {tasks} --encoder {world / 'encoder'} --senteval-dir {world / 'senteval'} --out {out}"
    start(probe.main, ProbeRun, "senteval", f"{line} --folds 3 --batch-size 8 {more}")
    return read_rows(out)


def similar(world, out, more=""):
    line = f"--encoder {world / 'encoder'} --sts-dir {world / 'sts'} --out {out} --batch-size 8 {more}"
    start(sts.main, StsRun, "sts", line)
    return read_rows(out)


def ablated(world, out, names="finetune probe sts", tasks="cola stsb", folds=3, encoder="encoder", more=""):
    line = f"glue --tasks {tasks} --encoder {world / encoder} --glue-dir {world / 'glue'} --out {out} --seeds 1 {more}"
    run(ablate_pooling.main, named(Ablation), [*f"{line} --probe.folds {folds} --regimes {names}".split(), *SMALL])
    return read_rows(out)


@pytest.fixture(scope="module")
def probe_folder(world):
    probed(world, world / "probe")
    return world / "probe"


def test_a_probe_has_a_row_for_every_layer_and_pooling_and_a_heat_map(probe_folder):
    rows = read_rows(probe_folder)
    readouts = [f"{layer}/{pooling}/none" for layer in range(2) for pooling in ("cls", "mean", "max")]
    assert [(row.task, row.readout) for row in rows] == [(task, spec) for task in ("mr", "trec") for spec in readouts]
    for row in rows:
        (name,) = row.evaluation_examples
        predictions, labels = read_predictions(probe_folder, row)[name]
        assert row.metrics[name]["accuracy"] == np.mean(predictions == labels) and len(labels) == ROWS
        assert row.regime == "probe" and row.learning_rate is None and "logistic regression on u" in row.protocol
        assert len(row.details["c"]) == (10 if row.task == "mr" else 1)
    table = (probe_folder / "table.md").read_text()
    (line,) = [line for line in table.splitlines() if line.startswith("| MPQA")]
    assert "absent" in line and "MPQA has no mpqa.neg, mpqa.pos" in table
    assert (probe_folder / "heatmap.png").read_bytes().startswith(b"\x89PNG")
    assert (probe_folder / "table.tex").exists()


def test_a_probe_by_sentevals_protocol_has_other_ids_and_a_folder_of_its_own(world, probe_folder, tmp_path, capsys):
    rows = probed(world, tmp_path / "senteval", "--layers last --poolings mean --protocol senteval", "trec")
    assert rows[0].protocol.endswith("chosen on 3 folds of the training rows, protocol senteval")
    assert rows[0].id not in {row.id for row in read_rows(probe_folder)}
    assert "protocol senteval" in (tmp_path / "senteval" / "table.md").read_text()
    with pytest.raises(SystemExit):
        probed(world, probe_folder, "--layers last --poolings mean --protocol senteval", "trec")
    assert "protocol" in capsys.readouterr().err


def test_the_embedding_of_cls_says_nothing_and_is_marked(probe_folder):
    """Its input is the same in every sentence: at layer 0 a probe can only name the commonest class."""
    (row,) = [row for row in read_rows(probe_folder) if (row.task, row.readout) == ("trec", "0/cls/none")]
    assert len(set(read_predictions(probe_folder, row)["test"][0])) == 1 and row.is_degenerate("test")
    assert "degenerate" in (probe_folder / "table.md").read_text()


def answers(folder):
    """Results of each run: they must not depend on interruptions of the probe."""
    found = {}
    for row in read_rows(folder):
        predictions = {name: pair[0].tolist() for name, pair in read_predictions(folder, row).items()}
        found[row.id] = row.task, row.readout, row.details, predictions
    return found


def test_an_interrupted_probe_goes_on_and_ends_as_if_run_at_once(world, probe_folder, tmp_path, monkeypatch, capsys):
    real, calls = regimes.probe.probe, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 9:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(regimes.probe, "probe", interrupted)
    with pytest.raises(SystemExit) as exit_:
        probed(world, tmp_path / "out")
    assert exit_.value.code == 130 and len(read_rows(tmp_path / "out")) == 8
    monkeypatch.undo()
    probed(world, tmp_path / "out")
    assert answers(tmp_path / "out") == answers(probe_folder)


def test_a_finished_probe_reads_nothing_again(world, probe_folder, monkeypatch):
    monkeypatch.setattr(grid, "load", lambda folder: pytest.fail("the encoder was loaded"))
    before = (probe_folder / "results.jsonl").read_bytes()
    probed(world, probe_folder)
    assert (probe_folder / "results.jsonl").read_bytes() == before


def test_similarity_is_the_cosine_of_embed_s_vectors(world, tmp_path):
    rows = similar(world, tmp_path / "out", "--projections none whiten")
    assert {row.title for row in rows} == {"STS12", "STS-B"} and len(rows) == 8
    (row,) = [row for row in rows if (row.task, row.readout) == ("sts12", "last/mean/none")]
    found, scores = read_predictions(tmp_path / "out", row)["test"]
    folder = world / "sts" / "STS12-en-test"
    lines = [
        line for name in ("captions", "news") for line in (folder / f"STS.input.{name}.txt").read_text().splitlines()
    ]
    a, b = zip(*(line.split("\t") for line in lines), strict=True)
    vectors = bert_jax.load(world / "encoder").embed([*a, *b], pooling="mean", batch_size=8)
    np.testing.assert_allclose(found, cosines(*np.split(vectors, 2)), atol=1e-5)
    assert row.metrics["test"]["spearman"] == pytest.approx(spearman(found, scores))
    assert row.details["subsets"] == {"captions": 7, "news": 9} and -1 < row.details["anisotropy"] <= 1
    whitened = [row for row in rows if row.readout.endswith("whiten")]
    assert all("without their scores" in row.protocol for row in whitened)
    table = (tmp_path / "out" / "table.md").read_text()
    assert "Anisotropy" in table and "aggregation all" in table and "seeds" not in table.split("\n- ")[-1]
    for title in ("STS13", "STS14", "STS15", "STS16", "SICK-R"):
        assert any(line.startswith(f"| {title}") and "absent" in line for line in table.splitlines()), title


def test_whitening_is_fitted_on_the_texts_that_are_named(world, tmp_path):
    """The sentences are those of the set itself, so that both ways give the same figures."""
    table = (world / "sts" / "STSBenchmark" / "sts-test.csv").read_text().splitlines()
    (tmp_path / "own.txt").write_text("".join(f"{text}\n" for line in table for text in line.split("\t")[5:]))
    flags = "--sets stsb --poolings mean --projections whiten(size=3)"
    (own,) = similar(world, tmp_path / "set", flags)
    (named,) = similar(world, tmp_path / "train", f"{flags} --whitening train --train {tmp_path / 'own.txt'}")
    assert named.metrics["test"]["spearman"] == pytest.approx(own.metrics["test"]["spearman"])
    assert named.id != own.id and named.train_examples > 0 == own.train_examples
    assert f"whitened on {named.train_examples} training texts, without labels" in named.protocol
    (tmp_path / "own.txt").write_text("the cat runs\nvery red dog\na blue dog sleeps\nthe dog sees\na cat\n")
    (other,) = similar(world, tmp_path / "other", f"{flags} --whitening train --train {tmp_path / 'own.txt'}")
    assert other.metrics != own.metrics and other.id != named.id


def test_another_aggregation_is_another_experiment_and_says_so(world, tmp_path, capsys):
    similar(world, tmp_path / "mean", "--aggregation mean --sets sts12")
    table = (tmp_path / "mean" / "table.md").read_text()
    assert "spearman_mean" in table and "not comparable" in table
    with pytest.raises(SystemExit):
        similar(world, tmp_path / "mean", "--aggregation all")
    assert 'sts.aggregation was "mean" and is "all"' in capsys.readouterr().err


def test_a_set_that_comes_later_is_no_longer_absent(world, tmp_path):
    similar(world, tmp_path / "out", "--sets sts12 sts13 --poolings mean")
    assert set(read_absent(tmp_path / "out")["sts"]) == {"STS13"}
    later = tmp_path / "sts"
    for name in ("STS12-en-test", "STS13-en-test"):
        (later / name).mkdir(parents=True)
        for path in (world / "sts" / "STS12-en-test").iterdir():
            (later / name / path.name).write_bytes(path.read_bytes())
    line = f"--encoder {world / 'encoder'} --sts-dir {later} --out {tmp_path / 'out'} --batch-size 8 --poolings mean"
    start(sts.main, StsRun, "sts", f"{line} --sets sts12 sts13")
    assert read_absent(tmp_path / "out") == {"sts": {}} and len(read_rows(tmp_path / "out")) == 2
    assert "absent" not in (tmp_path / "out" / "table.md").read_text()


def test_three_regimes_stand_side_by_side(world, tmp_path):
    alone = {row.id for row in ablated(world, tmp_path / "out", "finetune")}
    rows = ablated(world, tmp_path / "out")
    assert [row.regime for row in rows] == ["finetune"] * 4 + ["probe"] * 4 + ["sts"] * 2
    assert {row.id for row in rows if row.regime == "finetune"} == alone
    (cosine,) = [row for row in rows if (row.regime, row.readout) == ("sts", "last/mean/none")]
    assert cosine.task == "stsb" and cosine.evaluation_examples == {"validation": DEV} and cosine.train_examples == 0
    assert {row.train_examples for row in rows if row.regime == "probe"} == {TRAIN}
    table = (tmp_path / "out" / "table.md").read_text()
    header, cola = (next(x for x in table.splitlines() if x.startswith(f"| {word}")) for word in ("Task", "CoLA"))
    assert [cell.strip() for cell in header.strip("|").split("|")][2:] == ["Fine-tuned", "Linear probe", "Zero-shot"]
    assert cola.split("|")[-2].strip() == "n/a"
    assert "Zero-shot has nothing of CoLA: zero-shot similarity needs pairs with scores" in table
    experiment = json.loads((tmp_path / "out" / "experiment.json").read_text())
    assert {"finetune", "probe", "sts"} <= experiment.keys()
    assert len(ablated(world, tmp_path / "out", "finetune")) == len(rows)


def test_the_settings_of_a_regime_may_not_change_within_a_folder(world, tmp_path, capsys):
    ablated(world, tmp_path / "out", "probe", "cola")
    with pytest.raises(SystemExit):
        ablated(world, tmp_path / "out", "probe", "cola", folds=2)
    assert "probe.folds was 3 and is 2" in capsys.readouterr().err


MISTAKES = [
    (probed, {"more": "--layers 7"}, "there is no layer 7"),
    (probed, {"more": "--poolings cls attention"}, "drawn at random"),
    (probed, {"more": "--c-values 0.1 -1"}, "c_values -1"),
    (probed, {"tasks": "mr terc"}, "Did you mean 'trec'"),
    (probed, {"tasks": "mpqa"}, "none of the tasks"),
    (probed, {"more": "--folds 30"}, "TREC: 30 folds need as many rows of each class"),
    (probed, {"more": "--senteval-dir /no/where"}, "/no/where"),
    (similar, {"more": "--sets sickr"}, "has none of the tasks"),
    (similar, {"more": "--sets sts11"}, "Did you mean 'sts1"),
    (similar, {"more": "--projections whiten(axes=3)"}, "whiten(size=256)"),
    (similar, {"more": "--sts-dir /no/where"}, "--sts-dir"),
    (similar, {"more": "--max-length 4"}, "max_length must be at least 8"),
    (ablated, {"names": "finetune prob"}, "prob"),
    (ablated, {"names": "sts", "tasks": "cola"}, "zero-shot similarity needs pairs with scores"),
]


@pytest.mark.parametrize(("start", "changes", "message"), MISTAKES)
def test_a_mistake_is_explained(world, tmp_path, capsys, monkeypatch, start, changes, message):
    monkeypatch.setenv("COLUMNS", "300")
    with pytest.raises(SystemExit) as exit_:
        start(world, tmp_path / "out", **changes)
    error = " ".join(capsys.readouterr().err.split())
    assert exit_.value.code == 2 and "Traceback" not in error and message in error, error


def test_a_folder_of_one_regime_can_be_opened_for_another(tmp_path):
    ResultStore(tmp_path, {"suite": "glue", "finetune": {"epochs": 3}}, ("finetune", "probe"))
    ResultStore(tmp_path, {"suite": "glue", "probe": {"folds": 10}}, ("finetune", "probe"))
    kept = json.loads((tmp_path / "experiment.json").read_text())
    assert kept == {"suite": "glue", "finetune": {"epochs": 3}, "probe": {"folds": 10}}


def test_one_cell_has_one_id_whichever_command_makes_it(world, tmp_path):
    line = (
        f"--encoder {world / 'encoder'} --glue-dir {world / 'glue'} --tasks cola --seeds 1 --out {tmp_path / 'probe'}"
    )
    start(probe.main, ProbeRun, "glue", f"{line} --folds 3 --layers last")
    ablated(world, tmp_path / "ablation", "probe", "cola")
    assert answers(tmp_path / "probe") == answers(tmp_path / "ablation")


def test_other_data_in_the_same_folder_are_refused_before_anything_runs(world, tmp_path, capsys, monkeypatch):
    """Other training rows, texts or labels under one --out would be averaged with, or paired with, those before."""
    out, own = tmp_path / "out", tmp_path / "own"
    shutil.copytree(world / "glue", own / "glue")
    (own / "encoder").symlink_to(world / "encoder")
    ablated(own, out, "probe", "cola")
    before = (out / "results.jsonl").read_bytes()
    monkeypatch.setattr(regimes.probe, "probe", lambda *args: pytest.fail("something ran"))
    for file, split in (("train.tsv", "train"), ("dev.tsv", "validation")):
        path = own / "glue" / "CoLA" / file
        text = path.read_text()
        for old, new in (("\t0\t", "\t1\t"), ("the", "a")):
            path.write_text(text.replace(old, new, 1))
            with pytest.raises(SystemExit):
                ablated(own, out, "probe", "cola")
            assert f"data.glue/cola.{split} was" in capsys.readouterr().err
        path.write_text(text)
    ablated(own, out, "probe", "cola")
    assert (out / "results.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("names", "more"), [("probe finetune", ""), ("sts probe", "--probe.pairs joint"), ("probe", "--probe.pairs joint")]
)
def test_pairs_for_an_encoder_of_one_segment_are_refused_before_anything_runs(names, more, world, tmp_path, capsys):
    """Single texts come first, and would be run before the first pair is met."""
    encoder = write_one_segment(world / "encoder", tmp_path / "one")
    with pytest.raises(SystemExit):
        ablated(world, tmp_path / "out", names, encoder=encoder, more=more)
    error = capsys.readouterr().err
    assert "error: STS-B: this encoder has one segment (type_vocab_size is 1 in its config.json)" in error
    assert not (tmp_path / "out").exists()


def test_an_encoder_of_one_segment_may_read_the_texts_of_a_pair_apart(world, tmp_path, monkeypatch):
    """Together it may if both texts have segment 0, as with the tokenizers of RoBERTa."""
    encoder = write_one_segment(world / "encoder", tmp_path / "one")
    for name, entry in regimes.REGIMES.items():
        for task in (glue.TASKS["cola"], *([glue.TASKS["stsb"]] if name in ("sts", "probe", "knockout") else [])):
            entry.check_task(task, encoder, entry.config())
    tokenizer = load_tokenizer(encoder)
    tokenizer.template = tokenizer.template._replace(second=0)
    monkeypatch.setattr("bert_jax.data.one_segment.load_tokenizer", lambda folder: tokenizer)
    regimes.REGIMES["finetune"].check_task(glue.TASKS["stsb"], encoder, FinetuneConfig())
