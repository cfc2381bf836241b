"""The weight files of a Hugging Face model directory: safetensors or torch, in one file or in shards."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from bert_jax.checkpoints.torch_file import read_torch_file, refuse_types
from bert_jax.errors import InputError
from bert_jax.files import PARTIAL, read_json

Tensors = dict[str, np.ndarray]

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Weight files of a model; the first that exists is read."""

_TYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}
"""Types of safetensors that NumPy supports, with ml_dtypes."""


def find_weights(folder: Path) -> Path | None:
    """Find the weight file of a folder, or the index of its shards; None if there is neither."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def weight_files(path: Path) -> list[Path]:
    """List all files of the weights that `find_weights` returned, the index first.

    Raises:
        InputError: the index is unreadable, or a file that it names is missing.
    """
    return [path, *sorted(set(_shards(path).values()))] if path.suffix == ".json" else [path]


def read_weights(path: Path) -> Tensors:
    """Read the tensors of the weights that `find_weights` returned, in their saved types.

    Raises:
        InputError: a file is missing or damaged, or the index and its files disagree.
    """
    if path.suffix != ".json":
        return _read(path)
    shards = _shards(path)
    tensors: Tensors = {}
    for file in sorted(set(shards.values())):
        tensors |= _read(file)
    lost = [f"{name} is not in {file.name}" for name, file in sorted(shards.items()) if name not in tensors]
    if lost:
        raise InputError(f"{path} names tensors that its files do not have:\n  " + "\n  ".join(lost))
    return tensors


def write_weights(path: Path, tensors: Tensors) -> None:
    """Write tensors to a safetensors file, whole or not at all.

    Raises:
        InputError: a number is not finite.
    """
    if strange := [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]:
        raise InputError(
            f"{path} is not written: {strange[0]} is not finite ({len(strange)} of {len(tensors)} tensors are such); "
            "train again with a lower learning rate"
        )
    partial = path.with_name(f"{path.name}{PARTIAL}")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(path)


def _read(path: Path) -> Tensors:
    reader: Callable[[Path], Tensors] = _read_safetensors if path.suffix == ".safetensors" else read_torch_file
    return reader(path)


def _read_safetensors(path: Path) -> Tensors:
    try:
        _check_types(path)
        return load_file(path)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is damaged or truncated ({error}); fetch or save it again") from error


def _check_types(path: Path) -> None:
    with safe_open(path, framework="np") as file:
        types = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - not a dict
    refuse_types(path, {name: dtype for name, dtype in types.items() if dtype not in _TYPES})


def _shards(index: Path) -> dict[str, Path]:
    """Map tensor names to the files that hold them."""
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index} has no weight_map, the table from tensor names to files")
    strange = sorted({str(name) for name in names.values() if Path(str(name)).name != name})
    if strange:
        raise InputError(f"{index} names files outside its folder: {', '.join(strange)}")
    missing = sorted({name for name in names.values() if not (index.parent / name).is_file()})
    if missing:
        raise InputError(f"{index.parent} lacks files that {index.name} names: {', '.join(missing)}")
    return {tensor: index.parent / name for tensor, name in names.items()}
