"""Populations: runs that train side by side as one program, with an axis P of runs in front of all their arrays.

The devices form a grid: each group of them trains some of the runs, and the devices of a group share the rows of a
batch. Several runs have a group for each device, and need no communication; a single run has all devices in one group.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from bert_jax.config import Precision
from bert_jax.parallel.devices import AXIS, Absent, Devices, Mapped, grid, with_precision
from bert_jax.types import Step, Tree

RUNS = "runs"
"""Name of the axis of groups of devices."""
T = TypeVar("T")


class Layout(NamedTuple):
    """Distribution of the runs of a population over devices.

    devices: those in use, group by group. groups: number of groups of them. places: runs in the program, a multiple of
    the number of groups.
    """

    devices: Devices
    groups: int = 1
    places: int = 1

    @property
    def mesh(self) -> Mesh | AbstractMesh:
        """The grid of devices [groups, devices of a group]."""
        return grid(self.devices, (self.groups,), (RUNS, AXIS))

    def fill(self, runs: Sequence[T]) -> list[T]:
        """The runs, and the last one again in the places that are left."""
        return [*runs, *[runs[-1]] * (self.places - len(runs))]

    def put(self, trees: Sequence[Tree]) -> Tree:
        """The arrays of all runs, stacked to [P ...], on the devices that train them."""
        return jax.device_put(stack(trees), NamedSharding(self.mesh, PartitionSpec(RUNS)))


def local_devices() -> Devices:
    """All devices of this host."""
    return tuple(jax.local_devices())


def lay_out(devices: Devices, runs: int, largest: int) -> Layout:
    """Lay a population of `runs` runs out, where populations have up to `largest` runs.

    With a largest size of one, all devices share the rows of the one run. Otherwise each run has one device, so that
    its result does not depend on the number of runs.
    """
    if largest == 1:
        return Layout(devices)
    each = -(-runs // len(devices))
    groups = -(-runs // each)
    return Layout(devices[:groups], groups, groups * each)


def runs_alike(runs: int, devices: int, others: int) -> int:
    """The runs of a population on `others` devices, each of which has as many as with `runs` on `devices`.

    >>> runs_alike(16, 8, 4), runs_alike(3, 8, 4), runs_alike(1, 8, 4)
    (8, 3, 1)
    """
    return runs if runs == 1 else -(-runs // devices) * min(runs, others)


def memory_limit(device: jax.Device | Absent) -> float | None:
    """Bytes of a device's memory that programs may use, with a tenth to spare; None if it does not tell."""
    stats = {} if isinstance(device, Absent) else device.memory_stats() or {}
    return 0.9 * stats["bytes_limit"] if "bytes_limit" in stats else None


def memory_needed(compiled: jax.stages.Compiled) -> int:
    """Bytes on one device while a compiled program runs: arguments, results and intermediates."""
    found: Any = compiled.memory_analysis()
    kept = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return int(kept + found.temp_size_in_bytes + found.generated_code_size_in_bytes)


def stack(trees: Sequence[Tree]) -> Tree:
    """NumPy arrays [P ...] of P trees."""
    return jax.tree.map(lambda *leaves: np.stack(jax.device_get(leaves)), *trees)


def side_by_side(streams: Iterable[Iterable[Tree]]) -> Iterator[Tree]:
    """Batches [P B ...] from the batches [B ...] of P runs, which must have equal shapes."""
    return map(stack, zip(*streams, strict=True))


def map_start(start: Step, layout: Layout) -> Step:
    """A function of one run's arrays to the same over a population."""
    program: Step = jax.jit(jax.vmap(start), out_shardings=NamedSharding(layout.mesh, PartitionSpec(RUNS)))
    return program


def map_training(step: Step, layout: Layout, precision: Precision = "default") -> jax.stages.Wrapped:
    """`step(state, batch, key, rate) -> (state, metrics)` of one run to the same over a population.

    Every argument and result has an axis P in front. The state is donated.
    """
    return _map(with_precision(step, precision), layout, (0, 0, 0, 0), batch=1, donate=(0,))


def map_prediction(step: Step, layout: Layout, precision: Precision = "highest") -> Mapped:
    """`step(params, batch) -> rows` of one run to `(params [P ...], batch [B ...]) -> rows [B P ...]`.

    The rows are `PendingRows`.
    """
    return Mapped(_map(with_precision(step, precision), layout, (0, None), batch=1), None, PendingRows)


class PendingRows:
    """Rows [B P ...] that the devices are computing. `np.asarray` waits for them."""

    def __init__(self, rows: jax.Array) -> None:
        self._rows = rows

    def __array__(self, dtype: np.dtype | type | None = None, copy: bool | None = None) -> np.ndarray:
        return np.array(np.asarray(self._rows).swapaxes(0, 1), dtype, copy=copy)


def _map(
    step: Step, layout: Layout, runs: tuple[int | None, ...], batch: int, donate: tuple[int, ...] = ()
) -> jax.stages.Wrapped:
    """Map a step over a population.

    Args:
        step: of one run, over one device's part of its batch.
        layout: of the population.
        runs: for each argument 0 if it has the axis of runs in front, None if all runs have the same.
        batch: the argument that is a batch.
        donate: arguments to donate.
    """
    each = layout.places // layout.groups
    specs = [PartitionSpec() if axis is None else PartitionSpec(RUNS) for axis in runs]
    specs[batch] = PartitionSpec(AXIS) if runs[batch] is None else PartitionSpec(RUNS, AXIS)
    shared = runs[batch] is None
    mapped = jax.shard_map(
        _over_runs(step, each, runs),
        mesh=layout.mesh,
        in_specs=tuple(specs),
        out_specs=PartitionSpec(RUNS, AXIS) if shared else PartitionSpec(RUNS),
        check_vma=False,
    )
    shardings = tuple(NamedSharding(layout.mesh, spec) for spec in specs)
    program: jax.stages.Wrapped = jax.jit(mapped, in_shardings=shardings, donate_argnums=donate)
    return program


def _over_runs(step: Step, number: int, runs: tuple[int | None, ...]) -> Step:
    """`jax.vmap` over the runs of a device; a single one needs no axis, with which XLA multiplies matrices slower."""
    if number > 1:
        return jax.vmap(step, runs)

    def alone(*args: Tree) -> Tree:
        own = (arg if axis is None else jax.tree.map(lambda x: x[0], arg) for arg, axis in zip(args, runs, strict=True))
        return jax.tree.map(lambda x: x[None], step(*own))

    return alone
