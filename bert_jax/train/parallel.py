"""The only file that knows about devices: per-device functions mapped over all of them by `jax.pmap`.

State has no device axis: it goes in and comes out replicated (`in_axes=None`, `out_axes=None`). A batch
is cut into equal parts, one for each device.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bert_jax.errors import InputError

AXIS = "data"
"""Name of the device axis, for `psum` and `axis_index` inside a step."""


def map_train_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step(state, batch, key) -> (state, metrics)`, both equal on every device. The state is donated."""
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=0)


def map_predict_step(step: Callable[..., Any]) -> Callable[..., Any]:
    """`step(params, batch) -> rows`, with each device's rows stacked: [devices B ...]."""
    return jax.pmap(step, axis_name=AXIS, in_axes=(None, 0), out_axes=0)


def replicate(tree: Any) -> Any:
    """A copy on every device, laid out as a step returns it, so that the second step finds the first one's program."""
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(jax.tree.map(jnp.array, tree), NamedSharding(mesh, PartitionSpec()))


def add_devices(tree: Any) -> Any:
    """The sum over all devices, inside a step. With one device nothing is copied, which XLA's all-reduce would do."""
    return jax.lax.psum(tree, AXIS) if jax.lax.axis_size(AXIS) > 1 else tree


def split_batch(batch: Any) -> Any:
    """A leading axis [B ...] to [devices B/devices ...] in every array of a batch."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, x.shape[0] // devices, *x.shape[1:]), batch)


def check_batch_size(batch_size: int, field: str) -> None:
    """Refuse a batch that the devices cannot share equally.

    Raises:
        InputError: naming the field and the nearest sizes that fit.
    """
    devices = jax.local_device_count()
    if batch_size % devices:
        below = batch_size // devices * devices
        raise InputError(
            f"{field} {batch_size} does not divide by the {devices} devices; "
            f"use {f'{below} or ' if below else ''}{below + devices}"
        )


def cache_compilations() -> None:
    """Keep compiled programs on disk between processes, unless JAX_COMPILATION_CACHE_DIR says where already."""
    if jax.config.jax_compilation_cache_dir is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bert_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
