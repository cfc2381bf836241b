"""How fast a pretraining runs, and how much of the hardware it uses."""

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
"""What JAX calls a device -> its operations per second in dense bfloat16 matrix products, from the makers' data sheets.
A device of TPU v2 and v3 is one of the two cores of a chip. The first that fits counts."""

TIMES = ("time", "sequences_per_second", "tokens_per_second", "mfu", "waiting")
"""What is logged of a step that another run of the same settings would not repeat."""


def flops_per_sequence(bert: BertConfig, length: int, slots: int) -> float:
    """Floating-point operations of a training step for one sequence, matrix products only.

    Forward: N layers of (8 D^2 + 4 D F + 4 L D) for each of L positions, and (2 D^2 + 2 D V) for each slot to
    predict; backward twice as much. Padding counts, because it is computed; what rematerialisation
    computes again does not (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
    """
    d, f = bert.hidden_size, bert.intermediate_size
    position = bert.num_layers * (8 * d * d + 4 * d * f + 4 * length * d)
    return 3.0 * (length * position + slots * (2 * d * d + 2 * d * bert.vocab_size))


def peak_flops(kind: str) -> float | None:
    """A device's peak from what JAX calls its kind; None where it is not known (a CPU, a slice of a GPU).

    >>> peak_flops("NVIDIA A100-SXM4-80GB") / 1e12
    312.0
    """
    if "MIG" in kind:
        return None
    return next((peak for pattern, peak in PEAK_FLOPS.items() if re.fullmatch(pattern, kind)), None)


def mfu(flops_per_second: float, kind: str, devices: int) -> float | None:
    """Model FLOPs utilisation: the share of all devices' peak in bfloat16; None where the peak is not known."""
    peak = peak_flops(kind)
    return None if peak is None else flops_per_second / (peak * devices)


class Meter:
    """Counts what the steps do, and gives rates since it was last read.

    Args:
        kind: what JAX calls the devices.
        devices: how many all hosts have together.
        clock: seconds.
    """

    def __init__(self, kind: str, devices: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._kind, self._devices, self._clock = kind, devices, clock
        self.restart()

    def restart(self, waited: float = 0.0) -> None:
        """Forget what was counted, and the time that it took.

        Args:
            waited: seconds for which data was waited for until now, since any moment.
        """
        self._start, self._waited = self._clock(), waited
        self._sequences = self._tokens = self._flops = 0.0

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """What is done within takes no time."""
        start = self._clock()
        yield
        self._start += self._clock() - start

    def count(self, sequences: int, tokens: float, flops: float) -> None:
        """A step: its sequences, their real tokens, and the operations for one sequence."""
        self._sequences += sequences
        self._tokens += tokens
        self._flops += sequences * flops

    def read(self, waited: float) -> dict[str, float]:
        """Rates over all hosts since the last `restart`; waiting is the share of the time that data was waited for.

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
