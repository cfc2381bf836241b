"""Statistics and tables that the benchmarks compute from their measurements."""

import json
import time

import numpy as np
import pytest

from benchmarks import accelerator, population
from benchmarks.accelerator import SECTIONS, SIZES, Accelerator, Section
from benchmarks.finetune import MODELS
from benchmarks.pretrain import examples, utilisation
from bert_jax.checkpoints.directory import read_config
from bert_jax.config import PRESETS
from bert_jax.errors import InputError
from bert_jax.train.throughput import flops_per_sequence


def test_utilisation_is_of_the_peak_and_empty_where_that_is_not_known():
    slots = examples((2, 128), 1)[0].masked_ids.shape[1]
    assert 19 <= slots <= 24  # 15% of 128, and what rounds up
    expected = 100 * 1500 * flops_per_sequence(PRESETS["base"], 128, slots) / 989e12
    assert utilisation("base", (2, 128), 1500.0, "NVIDIA H100 80GB HBM3") == f"{expected:.1f}%"
    assert utilisation("base", (2, 128), 1500.0, "cpu") == ""


def test_the_models_of_a_training_step_are_those_that_are_named(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs pip install '.[parity]'")
    sizes = {}
    for name, model in MODELS.items():
        transformers.AutoConfig.for_model(model.kind, **model.settings).save_pretrained(tmp_path / name)
        config = read_config(tmp_path / name)
        sizes[name] = (type(config).__name__, config.num_layers, config.hidden_size, config.vocab_size)
    assert sizes["base"] == ("BertConfig", 12, 768, 30522)
    assert sizes["roberta-base"] == ("RobertaConfig", 12, 768, 50265)
    assert sizes["modernbert-base"] == ("ModernBertConfig", 22, 768, 50368)


@pytest.mark.parametrize("name", ["pretraining", "embedding, precision", "attention, parity"])
def test_a_section_of_the_accelerators_benchmark_measures_on_a_cpu(name):
    rows = list(SECTIONS[name].rows(SIZES["tiny"], 1))
    assert rows
    for case, measures in rows:
        assert case and measures and all(np.isfinite(value) for value in measures.values())
        assert all(value < 1e-5 for key, value in measures.items() if key == "difference")


def test_a_population_is_compared_with_a_run_by_its_sequences(monkeypatch):
    def build(config, model, length, layout):
        assert (config.batch_size, model, length) == (32, "1/16/1", 16)
        return population.Program(lambda steps: None, 1e6 * layout.places, 0.0)

    monkeypatch.setattr(population, "build", build)
    monkeypatch.setattr(accelerator, "clock", lambda take, steps: 0.5)
    (_, alone), (_, together) = SECTIONS["fine-tuning, population"].rows(SIZES["tiny"], 1)
    assert alone == {"s/step": 0.5, "sequences/s": 64, "MB": 1, "ratio": 1}
    assert together["sequences/s"] == 128 and together["ratio"] == 2


def test_a_section_of_the_accelerators_benchmark_ends_with_its_time():
    start = time.perf_counter()
    assert accelerator.measure("pretraining", Accelerator(sizes="tiny"), 0.0) == ([], "ended after 0 s")
    assert time.perf_counter() - start < 30


class Sent(list):
    send = list.append


def test_an_error_in_one_section_leaves_its_rows_and_the_other_sections(monkeypatch, tmp_path, capsys):
    def broken(sizes, steps):
        yield "first", {"s/step": 0.25}
        raise RuntimeError("no such\nkernel")

    def measure(name, config, seconds):
        given.append(seconds)
        sent = Sent()
        accelerator._send(name, config, sent)
        return sent[:-1], sent[-1]

    given = []
    monkeypatch.setattr(accelerator, "SECTIONS", {"one": Section(broken, 1.0), "two": Section(broken, 1.0)})
    monkeypatch.setattr(accelerator, "measure", measure)
    out = tmp_path / "rows.json"
    accelerator.main(Accelerator(out=out, minutes=2.0))
    rows = [{"case": "first", "s/step": 0.25}, {"case": "RuntimeError: no such kernel"}]
    assert json.loads(out.read_text()) == [{"section": name} | row for name in ("one", "two") for row in rows]
    assert "| two | first | s/step 0.25 |" in capsys.readouterr().out
    assert given == pytest.approx([60, 120], rel=0.01)  # what one section leaves is the next one's
    with pytest.raises(InputError, match="unknown section 'three'"):
        accelerator.main(Accelerator(out=out, sections=("three",)))
