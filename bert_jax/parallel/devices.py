"""All code that depends on devices and hosts: per-device functions mapped over all of them by `jax.pmap`.

A mapped function sets the precision of its products of float32 matrices; JAX's own default on accelerators is less than
float32.

A mapped step takes a whole batch [B ...] and gives whole results: the axis of devices is added and removed here. State
has no such axis: it goes in and comes out replicated (`in_axes=None`, `out_axes=None`). A batch is cut into equal
parts, one for each device. With several hosts, each runs the same program: it holds the state on its own devices and
gives them its own rows of a batch, and sums inside a step go over the devices of all.
"""

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from bert_jax.config import Precision
from bert_jax.errors import InputError
from bert_jax.parallel import memory
from bert_jax.types import Step, Target, Tree

AXIS = "data"
"""Name of the device axis, for `psum` and `axis_index` inside a step."""
HEARTBEAT = 30
"""Seconds without a sign of life after which a host counts as lost. Then JAX ends the processes of all others, which
would wait for it forever, with an error that has its number. JAX's own default is 100."""


class Absent(NamedTuple):
    """A device that is not here, nor is a compiler for it: programs for it can be lowered and no more.

    The fields are named as those of `jax.Device`; platform: "tpu" or "gpu".
    """

    id: int
    platform: str
    device_kind: str
    compute_capability: str = ""


Devices = tuple[jax.Device | Absent, ...]
"""Devices that share a program: all here, or all of one topology that is elsewhere."""


def grid(devices: Devices, groups: tuple[int, ...] = (), names: tuple[str, ...] = (AXIS,)) -> Mesh | AbstractMesh:
    """The devices as a grid [*groups, devices of a group] with named axes."""
    shape = np.array([device.id for device in devices]).reshape(*groups, -1).shape
    automatic = (AxisType.Auto,) * len(names)  # not the default of every JAX
    if isinstance(devices[0], Absent):
        return AbstractMesh(shape, names, axis_types=automatic)
    return Mesh(np.array(devices).reshape(shape), names, axis_types=automatic)


class Mapped:
    """A step over a whole batch [B ...], which is cut into equal parts for the devices.

    Attributes:
        program: the same step over parts [devices B ...], from `jax.pmap`, to be lowered; over a whole batch if
            `batch_place` is None.
    """

    def __init__(self, program: Tree, batch_place: int | None, wrap: Step = lambda result: result) -> None:
        self.program = program
        self._place = batch_place
        self._wrap = wrap

    def __call__(self, *args: Tree) -> Tree:
        """The results of the step; arguments as the step's own."""
        return self._wrap(self.program(*self.split(*args)))

    def split(self, *args: Tree) -> tuple[Tree, ...]:
        """The arguments of `program`."""
        place = self._place
        if place is None:
            return args
        return (*args[:place], split_batch(args[place]), *args[place + 1 :])


def map_train_step(step: Step, precision: Precision = "default", elsewhere: Devices = ()) -> Mapped:
    """`step(state, batch, key) -> (state, metrics)` over a batch [B ...]. The state is donated.

    State and metrics must be equal on every device. With devices `elsewhere`, the program is for them, to be lowered.
    """
    step = with_precision(step, precision)
    if elsewhere:
        return Mapped(_map_elsewhere(step, elsewhere, 3, PartitionSpec(), donate=(0,)), None)
    program = jax.pmap(step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0)
    return Mapped(program, 1)


def map_eval_step(step: Step, precision: Precision = "highest") -> Mapped:
    """`step(params, batch) -> sums` over a batch [B ...]. The sums must be equal on every device."""
    return Mapped(jax.pmap(with_precision(step, precision), axis_name=AXIS, in_axes=(None, 0), out_axes=None), 1)


def map_predict_step(step: Step, precision: Precision = "highest", elsewhere: Devices = ()) -> Mapped:
    """`step(params, batch) -> rows` over a batch [B ...], as `PendingRows`: those of all devices here, in order.

    With devices `elsewhere`, the program is for them, to be lowered.
    """
    step = with_precision(step, precision)
    if elsewhere:
        return Mapped(_map_elsewhere(step, elsewhere, 2, PartitionSpec(AXIS)), None)
    return Mapped(jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=0), 1, PendingRows)


def _map_elsewhere(
    step: Step, devices: Devices, arguments: int, results: PartitionSpec, donate: tuple[int, ...] = ()
) -> jax.stages.Wrapped:
    """The program that `jax.pmap` makes of a step whose second argument is the batch, for devices that are not here."""
    specs = [PartitionSpec(AXIS) if number == 1 else PartitionSpec() for number in range(arguments)]
    mapped = jax.shard_map(step, mesh=grid(devices), in_specs=tuple(specs), out_specs=results, check_vma=False)
    program: jax.stages.Wrapped = jax.jit(mapped, donate_argnums=donate)
    return program


def with_precision(step: Step, precision: Precision) -> Step:
    """The same step, traced with this precision for products of float32 matrices.

    `default` leaves the step unchanged, so that JAX_DEFAULT_MATMUL_PRECISION applies.
    """
    if precision == "default":
        return step

    @functools.wraps(step)
    def traced(*args: Tree) -> Tree:
        with jax.default_matmul_precision(precision):
            return step(*args)

    return traced


class PendingRows:
    """Rows [B ...] that the devices are computing. `np.asarray` waits for them; nothing is copied between devices."""

    def __init__(self, parts: jax.Array) -> None:
        self._parts = parts

    def __array__(self, dtype: np.dtype | type | None = None, copy: bool | None = None) -> np.ndarray:
        parts = np.asarray(self._parts)
        return np.array(parts.reshape(-1, *parts.shape[2:]), dtype, copy=copy)


def replicate(tree: Tree) -> Tree:
    """A copy on every device, laid out as a step returns it, so that the second step reuses the first one's program."""
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(jax.tree.map(jnp.array, tree), NamedSharding(mesh, PartitionSpec()))


def add_devices(tree: Tree, dtype: str | None = None) -> Tree:
    """The sum over all devices, inside a step. With one device nothing is copied, which XLA's all-reduce would do.

    With a `dtype`, numbers are rounded to it, and added and sent in it.
    """
    if jax.lax.axis_size(AXIS) == 1:
        return tree
    if dtype is None:
        return jax.lax.psum(tree, AXIS)
    total = jax.lax.psum(jax.tree.map(lambda x: x.astype(dtype), tree), AXIS)
    return jax.tree.map(lambda x, like: x.astype(like.dtype), total, tree)


def device_index() -> jax.Array:
    """This device's number among those that share a batch, inside a step."""
    return jax.lax.axis_index(AXIS)


def gather_devices(tree: Tree) -> tuple[Tree, Tree]:
    """The rows [B ...] of all devices one after the other, inside a step, and the number of this device's first one."""
    if jax.lax.axis_size(AXIS) == 1:
        return tree, 0
    rows = jax.tree.leaves(tree)[0].shape[0]
    return jax.lax.all_gather(tree, AXIS, tiled=True), jax.lax.axis_index(AXIS) * rows


def split_batch(batch: Tree) -> Tree:
    """A leading axis [B ...] to [devices B/devices ...] in every array of a batch; views of NumPy's arrays."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, x.shape[0] // devices, *x.shape[1:]), batch)


def check_batch_size(batch_size: int, field: str, pieces: int = 1, elsewhere: Devices = ()) -> None:
    """Refuse a batch that the devices of all hosts, or others `elsewhere`, cannot share equally in `pieces` each.

    Raises:
        InputError: the batch cannot be shared; names the field and the nearest sizes that fit.
    """
    if batch_size < 1:
        raise InputError(f"{field} must be at least 1, not {batch_size}")
    devices = len(elsewhere) or jax.device_count()
    share = devices * pieces
    if batch_size % share:
        below = batch_size // share * share
        times = f" times {pieces} pieces" if pieces > 1 else ""
        raise InputError(
            f"{field} {batch_size} does not divide by the {devices} devices{times}; "
            f"use {f'{below} or ' if below else ''}{below + share}"
        )


def check_batch_sizes(settings: object, prefix: str = "--") -> None:
    """Apply `check_batch_size` to the batch sizes among the settings, by the names of their flags."""
    for field in ("batch_size", "eval_batch_size"):
        if hasattr(settings, field):
            check_batch_size(getattr(settings, field), prefix + field.replace("_", "-"))


def least_batch() -> int:
    """Rows of the smallest batch that the devices here can share: one each."""
    return jax.local_device_count()


def device_kind() -> tuple[str, int]:
    """The kind of the devices ("NVIDIA A100-SXM4-80GB"), and their number over all hosts."""
    return jax.devices()[0].device_kind, jax.device_count()


def target(devices: Devices = ()) -> Target:
    """The properties of the devices, by default those here, that a model's program depends on."""
    device = (devices or jax.local_devices())[0]
    return Target(device.platform, str(getattr(device, "compute_capability", "")))


def prepare_process() -> None:
    """Set up a script's process before it computes, so that compiled programs and memory are reused across steps.

    Programs are kept on disk between processes, in JAX_COMPILATION_CACHE_DIR or the user's cache.
    """
    config: Any = jax.config  # whose types do not have its settings
    if config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bert_jax" / "compiled"
        config.update("jax_compilation_cache_dir", str(cache))
    config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    memory.keep_freed()


def join_hosts(coordinator: str | None, num_hosts: int | None, host: int | None) -> None:
    """Make this process one of several; call it before any other use of devices. See `HEARTBEAT` for lost hosts.

    Args:
        coordinator: address:port of host 0, the same on every host. None detects everything from the cluster
            (TPU pods, SLURM, Open MPI, Kubernetes).
        num_hosts: total number of processes.
        host: number of this process, from 0.

    Raises:
        InputError: the other processes cannot be found.
    """
    try:
        jax.distributed.initialize(coordinator, num_hosts, host, heartbeat_timeout_seconds=HEARTBEAT)
    except (RuntimeError, ValueError) as error:
        where = f"the hosts at {coordinator}" if coordinator else "a cluster (--distributed auto)"
        raise InputError(f"cannot join {where}: {str(error).splitlines()[0]}") from None


def has_peers() -> bool:
    """True with more than one host."""
    hosts: int = jax.process_count()
    return hosts > 1


def this_host() -> tuple[int, int]:
    """This host's number, and how many there are."""
    return jax.process_index(), jax.process_count()


def rows_of_this_host(batch_size: int) -> slice:
    """This host's rows of a batch that all hosts share."""
    host, hosts = this_host()
    return slice(batch_size * host // hosts, batch_size * (host + 1) // hosts)


def is_first_host() -> bool:
    """True on the one host that writes files and prints."""
    return jax.process_index() == 0


def first_host_says(answer: bool) -> bool:
    """The first host's answer, on every host."""
    return bool(multihost_utils.broadcast_one_to_all(np.array(answer))) if has_peers() else answer


def from_first_host(tree: Tree, like: Tree) -> Tree:
    """The first host's arrays, or its None, on every host.

    Args:
        tree: the arrays, or None; ignored on the other hosts.
        like: arrays of the same shapes and types.
    """
    if not has_peers() or not first_host_says(tree is not None):
        return tree if is_first_host() else None
    arrays = tree if is_first_host() else jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
    return multihost_utils.broadcast_one_to_all(arrays)


@contextmanager
def together() -> Iterator[None]:
    """Raise on every host if any host raises within this context, so that none is left waiting. Also synchronises them.

    Raises:
        InputError: this host's own error, or one that names the host that raised.
    """
    failure = None
    try:
        yield
    except InputError as error:
        failure = error
    if has_peers():
        failed = np.flatnonzero(multihost_utils.process_allgather(np.array(failure is not None)))
        if failed.size and failure is None:
            raise InputError(f"host {failed[0]} cannot go on; see what it says")
    if failure is not None:
        raise failure


def told_to_stop(step: int) -> bool:
    """True after the one step at which all hosts stop because one of them was sent SIGTERM; call it after every step.

    Always False with a single host, whose signals Python can handle.
    """
    return has_peers() and multihost_utils.reached_preemption_sync_point(step)
