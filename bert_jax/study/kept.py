"""Arrays that a run leaves beside its row and its predictions, if it is asked for them: `predictions/ID-KIND.npz`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bert_jax.errors import InputError
from bert_jax.files import write_whole, writing
from bert_jax.study.store import PREDICTIONS, Row

TESTS, SCORES = "test", "scores"
"""Kinds, which are also the names of their flags. TESTS: file of a GLUE submission -> predictions [N]. SCORES:
evaluation -> logits [N C]."""
Kept = Mapping[str, Mapping[str, np.ndarray]]
"""Kind -> set of rows -> array."""


def write_kept(folder: Path, run: str, kept: Kept) -> None:
    """Write what the run with an id leaves; before its row, so that no row lacks it.

    Raises:
        InputError: the folder cannot be written.
    """
    with writing(folder):
        for kind, arrays in kept.items():
            path = _path(folder, run, kind)
            write_whole(path, lambda file, arrays=arrays: np.savez_compressed(file, **arrays))  # type: ignore[misc]


def has_kept(folder: Path, run: str, kind: str) -> bool:
    """True if the run with an id has left something of a kind."""
    return _path(folder, run, kind).exists()


def read_kept(folder: Path, row: Row, kind: str) -> dict[str, np.ndarray]:
    """Read what a run left: set of rows -> array.

    Raises:
        InputError: the file is missing or damaged.
    """
    path = _path(Path(folder), row.id, kind)
    again = f"give the command that made this folder again, with --{kind}"
    if not path.exists():
        raise InputError(f"{path}: no such file; {again}")
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib or NumPy
        raise InputError(f"cannot read {path} ({error}); delete it, and {again}") from None


def _path(folder: Path, run: str, kind: str) -> Path:
    return folder / PREDICTIONS / f"{run}-{kind}.npz"
