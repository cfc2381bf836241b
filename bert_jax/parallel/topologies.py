"""Slices of TPUs and machines of GPUs by name ("v5e:16x16", "h100:8"), none of which need be here."""

import importlib.util
import os
import re
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from bert_jax.errors import InputError, unknown
from bert_jax.parallel.devices import Absent, Devices


class Chip(NamedTuple):
    """A kind of accelerator, by the makers' data sheets.

    kind: JAX's name of a device. memory: bytes of a device that programs may use. clock: cycles per second, the peak
    divided by the operations of a cycle; 0 if unknown. link: bytes per second that a device sends and receives, over
    all its links to others. arguments: of libtpu, beside the name.
    """

    platform: str
    kind: str
    memory: float
    clock: float
    link: float
    arguments: tuple[tuple[str, str], ...] = ()


CHIPS = {
    "v4": Chip("tpu", "TPU v4", 32e9, 1.05e9, 300e9, (("chip_config_name", "megacore"),)),
    "v5e": Chip("tpu", "TPU v5 lite", 16e9, 1.5e9, 200e9),
    "v5p": Chip("tpu", "TPU v5", 95e9, 1.75e9, 600e9),
    "v6e": Chip("tpu", "TPU v6 lite", 32e9, 1.75e9, 448e9),
    "tpu7x": Chip("tpu", "TPU7x", 96e9, 0, 600e9),
    "h100": Chip("gpu", "NVIDIA H100 80GB HBM3", 0.75 * 80e9, 0, 900e9),
    "h200": Chip("gpu", "NVIDIA H200", 0.75 * 141e9, 0, 900e9),
    "b200": Chip("gpu", "NVIDIA B200", 0.75 * 180e9, 0, 1800e9),
}
"""Name -> chip. A device of tpu7x is one of the two halves of a chip. Of a GPU's memory JAX uses 75% by default."""
LIKE_A_GPU = "v5p:2x2x1"
"""TPUs of as much memory as a GPU, whose compiler stands in for that of GPUs to find the memory of a step."""


class Topology(NamedTuple):
    """Chips that are connected. devices: for GPUs, for which there is no compiler here, `Absent` ones."""

    name: str
    chip: Chip
    devices: Devices

    @property
    def compiles(self) -> bool:
        """True if XLA can compile for it here."""
        return not isinstance(self.devices[0], Absent)


def stay_on_cpu() -> None:
    """Keep this process from taking the accelerators of its machine; call it before any use of devices."""
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "TPU_STDERR_LOG_LEVEL": "3", "TPU_MIN_LOG_LEVEL": "3"}
    config: Any = jax.config  # whose types do not have its settings
    config.update("jax_platforms", "cpu")


def find_topology(name: str) -> Topology:
    """The chips of a name such as "v5e:16x16" or "h100:8".

    Raises:
        InputError: there is no such chip or slice, or libtpu, which knows the slices, is not installed.
    """
    chip_name, _, size = name.partition(":")
    if chip_name not in CHIPS:
        raise unknown("chip of --topology", chip_name, CHIPS)
    chip = CHIPS[chip_name]
    if chip.platform == "gpu":
        if not re.fullmatch(r"[1-9]\d{0,4}", size):
            raise InputError(f"--topology {name}: say how many GPUs there are, such as {chip_name}:8")
        return Topology(name, chip, tuple(Absent(number, "gpu", chip.kind) for number in range(int(size))))
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            f"--topology {name}: XLA's compiler for TPUs, libtpu, is not installed; from the checkout, "
            "pip install --editable '.[plan]'"
        )
    if not re.fullmatch(r"\d+x\d+(x\d+)?", size):
        raise InputError(f"--topology {name}: say how its chips are laid out, such as v5e:4x4 or v5p:4x4x4")
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=name, **dict(chip.arguments))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--topology {name}: libtpu knows no such slice: {reason}") from None
    return Topology(name, chip, tuple(found.devices))
