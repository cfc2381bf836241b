"""Training state on disk, by Orbax, from which a run resumes bit for bit.

A checkpoint is a folder named by its step. It is written while training continues, appears once it is complete,
and holds a checksum of every array, because a flipped bit would otherwise go undetected. It is read into the
structure that the caller expects; nothing in it is executed. The position in the data is the step itself.
"""

import logging
import re
import shutil
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import AnyPreservationPolicy, EveryNSteps, LatestN

from bert_jax.errors import InputError
from bert_jax.files import remedy, writing
from bert_jax.train.step import TrainState
from bert_jax.types import Tree

DAMAGED = ".damaged"
"""Suffix for the name of a checkpoint that could not be read; it is kept, but not read again."""


class Checkpoints:
    """The checkpoints in a folder; as a context, it ends once the last one is on the disk.

    With several hosts, only the first one has checkpoints.

    Args:
        folder: folder of the checkpoints; created if missing.
        keep_last: number of the newest checkpoints to keep.
        keep_every: checkpoints whose step is a multiple of this are kept forever; 0 for none.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, keep_last: int = 3, keep_every: int = 0) -> None:
        self.folder = Path(folder).absolute()
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        kept = [LatestN(keep_last), *([EveryNSteps(keep_every)] if keep_every else [])]
        alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        options = ocp.CheckpointManagerOptions(
            create=False,
            preservation_policy=AnyPreservationPolicy(kept),
            cleanup_tmp_directories=True,
            multiprocessing_options=alone,
        )
        # Without a handler, Orbax derives the layout of all checkpoints from the newest, damaged or not.
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        # Orbax also logs the errors that it raises, and its repairs.
        _ignore_closed_loops()
        self._logger, self._level = logging.getLogger("absl"), logging.getLogger("absl").level
        self._logger.setLevel(logging.CRITICAL)
        self._saved: int | None = None
        try:
            with self._failing("look through"):
                _set_strangers_aside(self.folder)
                self._manager = ocp.CheckpointManager(self.folder, options=options, item_handlers=handler)
        except InputError:
            self._logger.setLevel(self._level)
            raise
        self._saved = max(self._manager.all_steps(), default=None)

    def save(self, step: int, state: TrainState) -> None:
        """Begin to write the state after `step`, unless it is there; the state may be donated once this returns.

        Raises:
            InputError: the disk is full or the folder cannot be written, now or for the checkpoint before.
        """
        self.wait()
        if step == self._saved:
            return
        # On a CPU, device_get returns the buffers themselves, which are donated to the next step.
        arrays = jax.tree.map(np.array, jax.device_get(state))
        with self._failing(f"write checkpoint {step} to"):
            self._manager.save(step, args=ocp.args.StandardSave(_with_checksums(arrays)), force=True)

    def wait(self) -> int | None:
        """Wait until the checkpoint being written is on the disk. Return the newest one's step, or None without any.

        Raises:
            InputError: the checkpoint cannot be written.
        """
        with self._failing("write a checkpoint to"):
            self._manager.wait_until_finished()
        self._saved = max(self._manager.all_steps(), default=None)
        return self._saved

    def restore(self, like: TrainState) -> TrainState | None:
        """The newest state that can be read, as NumPy arrays in the structure of `like`; None if nothing was saved.

        A checkpoint that cannot be read is set aside with a warning, and the one before it is used.

        Raises:
            InputError: there are checkpoints, but none can be read.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
        failures = []
        for step in steps:
            try:
                state = self._read(step, empty)
            except Exception as error:  # a damaged checkpoint raises any of Orbax's, TensorStore's and json's errors
                failures.append((step, _reason(error)))
                continue
            self._set_aside(failures, step)
            self._saved = step
            return state
        if failures:
            raise InputError(
                f"none of the checkpoints {', '.join(map(str, steps))} in {self.folder} can be read (the newest: "
                f"{failures[0][1]}). Delete the folder to begin anew, or use another --out"
            )
        return None

    def _read(self, step: int, empty: TrainState) -> TrainState:
        saved = self._manager.restore(step, args=ocp.args.StandardRestore(_with_checksums(empty)))
        if not np.array_equal(saved["checksums"], _checksums(saved["state"])):
            raise ValueError("an array does not have the checksum that it was saved with")
        shapes = [[(x.shape, x.dtype) for x in jax.tree.leaves(tree)] for tree in (saved["state"], empty)]
        if shapes[0] != shapes[1]:  # Orbax does not mind
            raise ValueError("an array has another shape than the model's: it is a checkpoint of another one")
        state: TrainState = saved["state"]
        return state

    def _set_aside(self, failures: list[tuple[int, str]], used: int) -> None:
        for step, reason in failures:
            aside = self.folder / f"{step}{DAMAGED}"
            warnings.warn(
                f"checkpoint {step} in {self.folder} is damaged ({reason}); going on from step {used}", stacklevel=3
            )
            with writing(self.folder):
                shutil.rmtree(aside, ignore_errors=True)
                (self.folder / str(step)).rename(aside)
        if failures:
            self._manager.reload()

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        """Explain errors of the disk raised within this context."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            last = "there is none before" if self._saved is None else f"the one of step {self._saved} is whole"
            raise InputError(
                f"cannot {what} {self.folder}: {_reason(error)}; {last}. {remedy(error).capitalize()}"
            ) from error

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        try:
            if kind is None or not issubclass(kind, InputError):
                self.wait()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._manager.close()
        except (OSError, ValueError, RuntimeError):
            pass  # reported already
        finally:
            self._logger.setLevel(self._level)


def _set_strangers_aside(folder: Path) -> None:
    """Rename files that would keep Orbax from listing a folder of checkpoints.

    These are files with the name of a checkpoint, and unreadable commit times of checkpoints, which are not needed.
    """
    for found in ocp.path.step.standard_name_format().find_all(folder):
        try:
            _ = found.commit_timestamp
        except Exception:  # any error of Orbax's or json's
            path = Path(found.path) / "_CHECKPOINT_METADATA"
            path.rename(path.with_name(path.name + DAMAGED))
    for path in folder.iterdir():
        if path.name.isdecimal() and not path.is_dir():
            path.rename(path.with_name(path.name + DAMAGED))


def _with_checksums(state: TrainState) -> dict[str, Tree]:
    return {"state": state, "checksums": _checksums(state)}


def _checksums(state: TrainState) -> np.ndarray:
    """CRC-32 of every array, in the tree's order."""
    arrays = (np.ascontiguousarray(x).view(np.uint8) for x in jax.tree.leaves(state))
    return np.array([zlib.crc32(x.data) for x in arrays], np.uint32)


def _reason(error: BaseException, width: int = 120) -> str:
    """The operating system's message within an error, or else the beginning of the error's text."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = re.search(r"([^:\[]+) \[os_error_code=", str(error))
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # which would quote it
    text = said[1].strip() if said else (text.splitlines() or [""])[0] or type(error).__name__
    return text if len(text) <= width else text[: width - 3] + "..."


def _ignore_closed_loops() -> None:
    """Keep Python from printing errors of further arrays that TensorStore reports to Orbax after Orbax has raised."""
    before = sys.unraisablehook
    if getattr(before, "ignores_closed_loops", False):
        return

    def hook(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            before(unraisable)

    hook.ignores_closed_loops = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook
