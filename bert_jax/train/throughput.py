"""Speed of a pretraining, and its utilisation of the hardware."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bert_jax.config import BertConfig

PEAK_FLOPS = {
    r"TPU v2": 22.5e12,
    r"TPU v3": 61.5e12,
    r"TPU v4": 275e12,
    r"TPU v5 ?(lite|e)": 197e12,
    r"TPU v5p?": 459e12,
    r"TPU v6 ?(lite|e)": 918e12,
    r"TPU7x": 1153.5e12,
    r"NVIDIA A100.*": 312e12,
    r"NVIDIA H100 PCIe": 756e12,
    r"NVIDIA H100 NVL": 835e12,
    r"NVIDIA H100.*": 989e12,
    r"NVIDIA H200 NVL": 835e12,
    r"NVIDIA H200": 989e12,
    r"NVIDIA (B200|GB200).*": 2250e12,
    r"NVIDIA L40S": 362e12,
    r"NVIDIA L4": 121e12,
    r"NVIDIA GeForce RTX 4090": 165e12,
}
"""Pattern of JAX's device kind -> operations per second in dense bfloat16 matrix products (makers' data sheets).
A device of TPU v2, v3 and 7x is one of the two cores of a chip: a chip of TPU7x (cloud.google.com/tpu/docs/tpu7x) has
2307e12. The first matching pattern counts."""

TIMES = ("time", "sequences_per_second", "tokens_per_second", "mfu", "waiting")
"""Logged values that differ between runs of the same settings."""


def flops_per_sequence(bert: BertConfig, length: int, slots: int) -> float:
    """Floating-point operations of a training step for one sequence, matrix products only.

    Forward: N layers of (8 D^2 + 4 D F + 4 L D) for each of L positions, and (2 D^2 + 2 D V) for each slot to
    predict; backward twice as much. Padding counts, because it is computed; the recomputation of
    rematerialisation does not (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
    """
    d, f = bert.hidden_size, bert.intermediate_size
    position = bert.num_layers * (8 * d * d + 4 * d * f + 4 * length * d)
    return 3.0 * (length * position + slots * (2 * d * d + 2 * d * bert.vocab_size))


def peak_flops(kind: str) -> float | None:
    """Peak of a device of this kind (JAX's `device_kind`); None if unknown (a CPU, a slice of a GPU).

    >>> peak_flops("NVIDIA A100-SXM4-80GB") / 1e12
    312.0
    """
    if "MIG" in kind:
        return None
    return next((peak for pattern, peak in PEAK_FLOPS.items() if re.fullmatch(pattern, kind)), None)


def mfu(flops_per_second: float, kind: str, devices: int) -> float | None:
    """Model FLOPs utilisation: the share of all devices' peak in bfloat16; None if the peak is unknown."""
    peak = peak_flops(kind)
    return None if peak is None else flops_per_second / (peak * devices)


class Meter:
    """Count the work of the steps, and compute rates since the last `restart`.

    Args:
        kind: JAX's `device_kind` of the devices.
        devices: number of devices of all hosts together.
        clock: current time in seconds.
    """

    def __init__(self, kind: str, devices: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._kind, self._devices, self._clock = kind, devices, clock
        self.restart()

    def restart(self, waited: float = 0.0) -> None:
        """Reset the counts and the time.

        Args:
            waited: seconds spent waiting for data until now, since any fixed moment.
        """
        self._start, self._waited = self._clock(), waited
        self._sequences = self._tokens = self._flops = 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Exclude the time spent within this context."""
        start = self._clock()
        yield
        self._start += self._clock() - start

    def count(self, sequences: int, tokens: float, flops: float) -> None:
        """Count a step: its sequences, their real tokens, and the operations for one sequence."""
        self._sequences += sequences
        self._tokens += tokens
        self._flops += sequences * flops

    def read(self, waited: float) -> dict[str, float]:
        """Rates over all hosts since the last `restart`; waiting is the share of the time spent waiting for data.

        Args:
            waited: as for `restart`.
        """
        seconds = max(self._clock() - self._start, 1e-9)
        rates = {
            "sequences_per_second": self._sequences / seconds,
            "tokens_per_second": self._tokens / seconds,
            "waiting": (waited - self._waited) / seconds,
        }
        used = mfu(self._flops / seconds, self._kind, self._devices)
        self.restart(waited)
        return rates if used is None else rates | {"mfu": used}
