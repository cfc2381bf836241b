"""MTEB: its own task gives the known figures, and our rows are read by it; the interface is tested without it, too."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr
from worlds import sentence, write_encoder

import bert_jax
from bert_jax.errors import InputError
from bert_jax.integrations.mteb import Encoder, write_results
from bert_jax.study.store import read_predictions, read_rows
from bert_jax.tasks.sts import read_sts
from experiments import report, sts
from experiments.cli import named, run
from experiments.report import ReportConfig
from experiments.settings.frozen import StsRun

TEXTS = ["the cat sees a dog", "red", "the dog runs"]
STS = SimpleNamespace(name="STSBenchmark", type="STS")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """An encoder, and a run folder with cosines of two readouts on 30 pairs of the STS benchmark."""
    folder = tmp_path_factory.mktemp("mteb")
    write_encoder(folder / "encoder")
    rng = np.random.default_rng(0)
    rows = [f"a\tb\tc\t{n}\t{n % 11 / 2}\t{sentence(rng)}\t{sentence(rng)}\n" for n in range(30)]
    (folder / "STSBenchmark").mkdir()
    (folder / "STSBenchmark" / "sts-test.csv").write_text("".join(rows))
    line = f"sts --encoder {folder / 'encoder'} --sts-dir {folder} --tasks stsb --out {folder / 'run'}"
    run(sts.main, named(StsRun), line.split())
    return folder


def test_batches_of_mteb_give_the_vectors_of_the_readout(world):
    bert, encoder = bert_jax.load(world / "encoder"), Encoder(world / "encoder", pooling="cls")
    batches = [{"text": TEXTS[:2]}, {"text": TEXTS[2:]}]
    found = encoder.encode(batches, task_metadata=STS, hf_split="test", hf_subset="default", batch_size=2)
    np.testing.assert_allclose(found, bert.embed(TEXTS, pooling="cls"), atol=1e-6)
    np.testing.assert_allclose(np.diag(encoder.similarity(found, found)), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.similarity_pairwise(found, found), 1, atol=1e-5)


def test_the_most_special_prompt_is_taken(world):
    encoder = Encoder(world / "encoder")
    encoder.model.prompts.update({"query": "red ", "STS": "the ", "STSBenchmark-query": "a "})
    for prompt_type, task, prompt in (("query", "STSBenchmark", "a "), ("query", "X", "the "), (None, "X", "the ")):
        kind = prompt_type and SimpleNamespace(value=prompt_type)
        about = SimpleNamespace(name=task, type="STS")
        found = encoder.encode([{"text": TEXTS}], task_metadata=about, prompt_type=kind)
        np.testing.assert_allclose(found, encoder.model.encode(TEXTS, prompt=prompt), atol=1e-6)


def test_rows_are_written_in_the_format_of_mteb(world, tmp_path, capsys):
    run(report.main, ReportConfig, [str(world / "run"), "--mteb", str(tmp_path)])
    assert "STSBenchmark.json" in capsys.readouterr().out
    rows = {row.readout: row for row in read_rows(world / "run")}
    files = sorted(tmp_path.glob("results/local__encoder-last-*-none/*/STSBenchmark.json"))
    assert len(files) == len(rows) == 2
    for row, path in zip((rows["last/cls/none"], rows["last/mean/none"]), files, strict=True):
        content, meta = json.loads(path.read_text()), json.loads((path.parent / "model_meta.json").read_text())
        ((scores,),) = content["scores"].values()
        ((cosines, gold),) = read_predictions(world / "run", row).values()
        assert scores["main_score"] == scores["cosine_spearman"] == pytest.approx(row.metrics["test"]["spearman"])
        assert scores["spearman"] == pytest.approx(spearmanr(cosines, gold).statistic)
        assert meta["name"].replace("/", "__") == path.parents[1].name and meta["revision"] == path.parent.name


def test_a_folder_without_such_runs_is_refused(tmp_path):
    (tmp_path / "results.jsonl").write_text("")
    (tmp_path / "experiment.json").write_text("{}")
    with pytest.raises(InputError, match="no zero-shot run that MTEB has a task for: sts12"):
        write_results(tmp_path, tmp_path / "out")


def test_mteb_reads_the_files(world, tmp_path):
    mteb = pytest.importorskip("mteb", reason="needs mteb: pip install mteb")
    written = write_results(world / "run", tmp_path)
    results = mteb.ResultCache(tmp_path).load_results(tasks=["STSBenchmark"])
    found = {one.model_name: one.task_results[0].get_score() for one in results.model_results}
    scores = [json.loads(path.read_text())["scores"]["test"][0]["main_score"] for path in written]
    assert sorted(found.values()) == pytest.approx(sorted(scores)) and len(found) == 2


def test_the_task_of_mteb_gives_the_known_figures(minilm, shared):
    mteb = pytest.importorskip("mteb", reason="needs mteb: pip install mteb")
    datasets = pytest.importorskip("datasets")
    (pairs,) = read_sts(shared / "sts" / "STSBenchmark").values()
    columns = {"sentence1": pairs.a, "sentence2": pairs.b, "score": pairs.labels.tolist()}
    task = mteb.get_task("STSBenchmark")
    task.dataset, task.data_loaded = datasets.DatasetDict({"test": datasets.Dataset.from_dict(columns)}), True
    for pooling, expected in (("mean", 82.03), ("cls", 73.50)):
        with pytest.warns(UserWarning, match="superseded"):
            found = mteb.evaluate(Encoder(minilm, pooling=pooling), task, cache=None, co2_tracker=False)
        assert 100 * found.task_results[0].get_score() == pytest.approx(expected, abs=0.01)
