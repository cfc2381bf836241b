"""Operations against what XLA counts, peaks by name, and rates with a clock that does as it is told."""

import jax
import numpy as np
import pytest

from bert_jax.config import PRESETS, BertConfig, ReadoutConfig
from bert_jax.model.bert import BertForPretraining
from bert_jax.train.throughput import Meter, flops_per_sequence, mfu, peak_flops
from bert_jax.types import Tokens


def test_operations_of_bert_base_by_hand():
    """12 layers of 7,077,888 weights in products, attention over 128 tokens, and 20 slots; thrice 2 per weight."""
    layers = 12 * (128 * 2 * 7_077_888 + 2 * 2 * 128 * 128 * 768)
    head = 20 * 2 * (768 * 768 + 768 * 30522)
    assert flops_per_sequence(PRESETS["base"], 128, 20) == 3 * (layers + head)


@pytest.mark.parametrize(("length", "slots"), [(32, 5), (128, 20), (128, 128)])
def test_operations_are_those_of_the_compiled_model(length, slots):
    """XLA counts those between matrix products too, a few in a hundred at this width."""
    bert = BertConfig(3000, 256, 2, 4, 1024, 128, dropout=0.0, attention_dropout=0.0)
    model = BertForPretraining(bert, ReadoutConfig())
    tokens = Tokens(*(np.ones((2, length), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    positions = np.ones((2, slots), np.int32)
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens, positions))
    forward = jax.jit(model.apply).lower(params, tokens, positions).compile().cost_analysis()["flops"]
    assert flops_per_sequence(bert, length, slots) == pytest.approx(3 * forward / 2, rel=0.06)


@pytest.mark.parametrize(
    ("kind", "tera"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("TPU7x", 1153.5),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("TPU v3", 61.5),
        ("TPU v4", 275),
        ("TPU v5 lite", 197),
        ("TPU v5", 459),
        ("TPU v6 lite", 918),
        ("cpu", None),
        ("TPU v4 lite", None),
        ("NVIDIA L40", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
    ],
)
def test_peaks_by_what_jax_calls_a_device(kind, tera):
    assert peak_flops(kind) == (None if tera is None else tera * 1e12)


def test_utilisation_is_of_all_devices_together():
    assert mfu(312e12, "NVIDIA A100-SXM4-40GB", 4) == 0.25
    assert mfu(1e12, "cpu", 1) is None


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self):
        return self.now


def test_rates_are_over_the_time_since_they_were_last_read():
    clock = Clock()
    meter = Meter("NVIDIA A100-SXM4-40GB", 2, clock)
    for _ in range(4):
        meter.count(sequences=8, tokens=500.0, flops=1e12)
    clock.now += 2
    rates = {"sequences_per_second": 16.0, "tokens_per_second": 1000.0, "waiting": 0.25, "mfu": 16 / 624}
    assert meter.read(waited=0.5) == pytest.approx(rates)
    meter.count(4, 10.0, 1e12)
    clock.now += 4
    assert meter.read(waited=0.7) == pytest.approx(
        {"sequences_per_second": 1.0, "tokens_per_second": 2.5, "waiting": 0.05, "mfu": 1 / 624}
    )


def test_what_is_done_while_it_is_stopped_takes_no_time():
    clock = Clock()
    meter = Meter("cpu", 1, clock)
    meter.count(10, 10.0, 1.0)
    clock.now += 1
    with meter.stopped():
        clock.now += 50
    clock.now += 1
    assert meter.read(0.0) == {"sequences_per_second": 5.0, "tokens_per_second": 5.0, "waiting": 0.0}
