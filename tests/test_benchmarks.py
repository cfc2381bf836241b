"""Statistics and tables that the benchmarks compute from their measurements."""

import pytest

from benchmarks.finetune import MODELS
from benchmarks.pretrain import examples, utilisation
from bert_jax.checkpoints.directory import read_config
from bert_jax.config import PRESETS
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
