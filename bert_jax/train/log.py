"""Log of a run's measurements: a line of JSON for each, and the same in TensorBoard."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from bert_jax.errors import InputError
from bert_jax.files import Json, Settings, plain, write_whole, writing

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"

LogLine = Json
"""step (int), split ("train" or "heldout"), time (seconds since 1970) and the measured values (float)."""


class Log:
    """The measurements in a run folder, open for writing.

    A run that resumes from a checkpoint removes the lines logged after it, so that the final file equals that of an
    uninterrupted run.

    Args:
        folder: the run folder.
        after: the step that the run resumes from; later lines are cut off.
        wandb_project: Weights & Biases project that gets the same measurements; None for none.
        settings: settings of the run, sent to Weights & Biases.

    Raises:
        InputError: the folder cannot be written, its log is damaged, or wandb is not installed.
    """

    def __init__(
        self, folder: Path, after: int = 0, wandb_project: str | None = None, settings: Settings | None = None
    ) -> None:
        self.folder = Path(folder)
        self._wandb = None if wandb_project is None else _wandb_run(wandb_project, self.folder, settings or {})
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            _cut(self.folder / METRICS, after)
            self._board = _Board(self.folder / TENSORBOARD, after + 1)

    def write(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """Append the measurements of a step; they are in the file when this returns."""
        line = {"step": step, "split": split, **plain(dict(values)), "time": round(time.time(), 3)}
        with writing(self.folder):
            with open(self.folder / METRICS, "a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")
            self._board.write(step, {f"{name}/{split}": value for name, value in values.items()})
        if self._wandb is not None:
            self._wandb.log({f"{split}/{name}": value for name, value in values.items()}, step=step)

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        try:
            with writing(self.folder):
                self._board.close()
        except InputError:
            if error is None:  # otherwise the earlier error is the one to report
                raise
        finally:
            if self._wandb is not None:
                self._wandb.finish()


class _Board:
    """An event file for TensorBoard, which hides the events of earlier files from `step` on.

    tensorboardX's own writer is not used: its thread ends when the disk is full, and then the run would hang.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter  # slow: it imports torch where that is installed
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        folder.mkdir(parents=True, exist_ok=True)
        self._events, self._event = EventsWriter(str(folder / "events")), Event
        self._add(step, session_log=SessionLog(status=SessionLog.START))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write values; they are in the file when this returns."""
        from tensorboardX.summary import scalar

        for name, value in values.items():
            self._add(step, summary=scalar(name, value))
        self._events.flush()

    def close(self) -> None:
        self._events.close()

    def _add(self, step: int, **content: object) -> None:
        self._events.write_event(self._event(wall_time=time.time(), step=step, **content))


def read_log(folder: Path) -> list[LogLine]:
    """The lines of a run folder's log; an incomplete last line is left out.

    Raises:
        InputError: the log is missing or damaged.
    """
    path = Path(folder) / METRICS
    try:
        rows = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; is this the folder of a pretraining?") from None
    return [_parse(row, f"{path}, line {number}") for number, row in enumerate(rows, start=1)]


def _parse(row: bytes, where: str) -> LogLine:
    try:
        line = json.loads(row)
        return {**line, "step": int(line["step"]), "split": str(line["split"])}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{where} is not a measurement ({error}); correct or delete that line") from None


def _cut(path: Path, after: int) -> None:
    """Keep the lines up to a step. A missing log is created, because a short run may not have logged anything."""
    lines = read_log(path.parent) if path.exists() else []
    text = "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= after)
    write_whole(path, lambda file: file.write(text.encode()))


def _wandb_run(project: str, folder: Path, settings: Settings) -> Any:
    """Start a run of Weights & Biases, or resume it: its id is the folder's name."""
    try:
        import wandb
    except ImportError:
        raise InputError("--wandb-project: wandb is not installed; pip install wandb, or leave the flag out") from None
    return wandb.init(project=project, id=folder.name, name=folder.name, resume="allow", config=dict(settings))
