"""Statistics and tables that the benchmarks compute from their measurements."""

from benchmarks.pretrain import examples, utilisation
from bert_jax.config import PRESETS
from bert_jax.train.throughput import flops_per_sequence


def test_utilisation_is_of_the_peak_and_empty_where_that_is_not_known():
    slots = examples((2, 128), 1)[0].masked_ids.shape[1]
    assert 19 <= slots <= 24  # 15% of 128, and what rounds up
    expected = 100 * 1500 * flops_per_sequence(PRESETS["base"], 128, slots) / 989e12
    assert utilisation("base", (2, 128), 1500.0, "NVIDIA H100 80GB HBM3") == f"{expected:.1f}%"
    assert utilisation("base", (2, 128), 1500.0, "cpu") == ""
