"""Storage of results: one row per finished run, written once and safe against interruption.

A run folder holds `experiment.json` (the settings that all its rows share), `results.jsonl` (a `Row` per
line), `absent.json` (the reasons for missing rows) and `predictions/ID.npz` (predictions and labels of every example).
"""

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from bert_jax.errors import InputError
from bert_jax.evaluate.metrics import is_degenerate
from bert_jax.files import (
    RESTORE,
    Json,
    Settings,
    hold,
    parse_json,
    plain,
    read_json,
    require_same,
    write_settings,
    write_whole,
    writing,
)

Scores = dict[str, dict[str, float]]
"""Evaluation -> metric -> value, evaluations in the task's order."""
Predictions = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Evaluation -> (predictions [N], labels [N]): classes, or scores of a regression task."""

Absent = dict[str, dict[str, str]]
"""Regime -> title of a task -> reason why it has no row."""

EXPERIMENT, RESULTS, PREDICTIONS, ABSENT = "experiment.json", "results.jsonl", "predictions", "absent.json"
LABELS = ("encoder", "suite", "train", "train_rows", "tuned_before")
"""Entries of a run's config that do not enter its id: the digests already cover what they describe."""
SEEDLESS = "seedless"
"""Entry in the details of a row whose result no seed can change, although its regime has seeds."""
HELD_OUT = "heldout"
"""Training rows that choose a learning rate: as an evaluation set, and in the details of a row."""
DATA = "data"
"""Entry of an experiment: task -> split -> digest. Tasks may be added; existing ones must not change."""


@dataclass(frozen=True)
class Row:
    """A finished run, with everything that reports need. Values are plain JSON; metrics are fractions, not percent."""

    id: str
    """`bert_jax.study.run.config_id` of the config."""
    task: str
    """Name on the command line, such as mnli."""
    title: str
    """Name in tables, such as MNLI."""
    metric: str
    """The headline metric."""
    is_regression: bool
    """True if predictions and labels are scores, not classes."""
    readout: str
    """layers/pooling/projection, for `ReadoutConfig.parse`."""
    learning_rate: float | None
    """Peak learning rate; None if nothing is trained by steps."""
    seed: int
    """Runs of two readouts with the same seed are a pair."""
    status: Literal["ok", "failed"]
    """A run fails if its loss is not finite; it then has no metrics and no predictions."""
    failed_step: int | None
    """The step at which it failed."""
    seconds: float
    """Wall time of the run."""
    train_examples: int
    """Size of the training set."""
    evaluation_examples: dict[str, int]
    """Size of each evaluation set, in the task's order."""
    metrics: Scores
    """Scores of the run; empty if it failed."""
    majority: Scores
    """Scores of the best constant prediction (0 for a correlation), for failed runs too."""
    config: Json
    """Everything that decides the run."""
    regime: str = "finetune"
    """Name of the regime: finetune, probe, sts ..."""
    blind: tuple[int, int] | None = None
    """First and last of the blocks in which [CLS] attended only to itself; None for the unchanged encoder."""
    protocol: str = ""
    """Details of the regime, as a phrase for the report."""
    details: Json = dataclasses.field(default_factory=dict)
    """Further results. `subsets`: name -> number of examples, in order, for an evaluation set with subsets.
    `anisotropy`: mean cosine of two vectors. `c`: the C of each head of a probe. `probability`: for the next-sentence
    head, kind of pair -> histogram of probabilities in ten bins. `duplicates`: evaluation -> number of rows whose texts
    are in the training split too. `seedless`: true if no seed changes the result. `heldout`: metric -> value on
    training rows that were held out to choose a rate."""
    pretraining: int = 0
    """Index of the pretraining among several of one kind; pairs of runs share it and the seed."""

    @property
    def name(self) -> str:
        """The readout, and the blocks in which [CLS] attended only to itself: the name of the row in comparisons."""
        return self.readout if self.blind is None else f"{self.readout} blind({self.blind[0]},{self.blind[1]})"

    @property
    def ok(self) -> bool:
        """True if the run finished with finite losses."""
        return self.status == "ok"

    def score(self, evaluation: str) -> float:
        """The headline metric on one evaluation set; for a failed run, that of the majority baseline."""
        return (self.metrics if self.ok else self.majority)[evaluation][self.metric]

    def groups(self) -> np.ndarray | None:
        """Index of each example's subset [N], or None if the evaluation set has no subsets."""
        sizes = list(self.details.get("subsets", {}).values())
        return np.repeat(np.arange(len(sizes)), sizes) if sizes else None

    def is_degenerate(self, evaluation: str) -> bool:
        """True if the run finished but scores no better than the majority baseline."""
        return self.ok and is_degenerate(self.score(evaluation), self.majority[evaluation][self.metric])


class ResultStore:
    """A run folder, open for writing. An interruption at any moment loses no finished row.

    Args:
        folder: created if missing; otherwise the experiment in it is continued.
        experiment: the settings that all rows share. A folder with other settings raises an error. The report's
            heading uses `encoder` and `finetune` if present.
        sections: names in the experiment that only some rows need; they may be added later or be missing.

    Raises:
        InputError: the folder holds another experiment, is damaged, in use by another process, or cannot be written.
    """

    def __init__(self, folder: Path, experiment: object, sections: Collection[str] = ()) -> None:
        self.folder = Path(folder)
        with writing(self.folder):
            self._lock = hold(self.folder)  # held for the lifetime of the store
            (self.folder / PREDICTIONS).mkdir(parents=True, exist_ok=True)
            _claim(self.folder, plain(experiment), sections)
            # A folder that cannot be written must be found now; found at the first row, it would cost a run.
            with open(self.folder / RESULTS, "ab"):
                pass
        self._finished = {row.id for row in read_rows(self.folder)}

    def finished(self) -> set[str]:
        """Ids of the runs that need not be repeated, including failed ones, which would fail again."""
        return set(self._finished)

    def note_absent(self, absent: Absent) -> None:
        """Add tasks without a row, and the reasons, to those noted in the folder, for the report.

        Raises:
            InputError: the folder cannot be written.
        """
        kept = read_absent(self.folder)
        merged = {regime: kept.get(regime, {}) | absent.get(regime, {}) for regime in dict.fromkeys([*kept, *absent])}
        text = json.dumps(merged, indent=2)
        with writing(self.folder):
            write_whole(self.folder / ABSENT, lambda file: file.write(f"{text}\n".encode()))

    def append(self, row: Row, predictions: Predictions) -> None:
        """Write the predictions, then the row; both are on the disk when this returns.

        Raises:
            InputError: a metric or prediction is not finite, or the folder cannot be written.
            ValueError: the row exists already, or its predictions do not match its metrics.
        """
        if row.id in self._finished:
            raise ValueError(f"row {row.id} is in {self.folder / RESULTS} already")
        if list(predictions) != list(row.metrics):
            raise ValueError(f"predictions for {list(predictions)}, metrics for {list(row.metrics)}")
        _require_finite(row, predictions)
        line = _line(row)
        with writing(self.folder):
            if predictions:
                write_whole(_predictions_path(self.folder, row.id), lambda file: _savez(file, predictions))
            _append_line(self.folder / RESULTS, line)
        self._finished.add(row.id)


def read_experiment(folder: Path) -> Json:
    """Read the settings that all rows of a run folder share.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    path = Path(folder) / EXPERIMENT
    settings: Json = parse_json(_read(path), str(path), remedy=RESTORE)
    return settings


def read_absent(folder: Path) -> Absent:
    """Read the requested tasks without a row, and the reasons. Tasks that have got a row since are left out.

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(folder) / ABSENT
    if not path.exists():
        return {}
    again = "delete it, and give the command again"
    noted = read_json(path, remedy=again)
    there = {(row.regime, row.title) for row in read_rows(folder)}
    try:
        return {
            regime: {title: reason for title, reason in tasks.items() if (regime, title) not in there}
            for regime, tasks in noted.items()
        }
    except AttributeError as error:
        raise InputError(f"cannot read {path} ({error}); {again}") from None


def read_rows(folder: Path) -> list[Row]:
    """Read the rows of a run folder in the order in which they finished.

    A truncated last line is dropped with a warning. Of two rows with the same id, written by two processes to one
    folder, the later counts.

    Raises:
        InputError: the file is missing, or damaged before its last line.
    """
    path = Path(folder) / RESULTS
    whole, tail = _split_tail(_read(path))
    rows = [_parse(line, f"{path}, line {number}") for number, line in enumerate(whole, start=1)]
    if tail:
        warnings.warn(f"{path}: the last line was cut off; its run will be done again", stacklevel=2)
    return list({row.id: row for row in rows}.values())


def read_predictions(folder: Path, row: Row) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read evaluation -> (predictions [N], labels [N]) of a run that is ok.

    Raises:
        InputError: the file is missing, damaged, or of another length than the row's.
    """
    path = _predictions_path(Path(folder), row.id)
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            loaded = {name: (arrays[f"{name}/predictions"], arrays[f"{name}/labels"]) for name in row.metrics}
    except Exception as error:  # a damaged archive raises errors of zipfile, zlib or NumPy
        raise InputError(f"cannot read {path} ({error}); delete its line from {RESULTS} to run it again") from None
    for name, arrays in loaded.items():
        shapes = {array.shape for array in arrays}
        if shapes != {(row.evaluation_examples[name],)}:
            raise InputError(f"{path}: {name} has shapes {shapes}, but {row.evaluation_examples[name]} examples")
    return loaded


def _predictions_path(folder: Path, row: str) -> Path:
    return folder / PREDICTIONS / f"{row}.npz"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; is this the folder of a run?") from None


def without_labels(config: Settings) -> Json:
    """The entries of a config that decide a result."""
    return {key: value for key, value in config.items() if key not in LABELS}


def _claim(folder: Path, experiment: Json, sections: Collection[str]) -> None:
    path = folder / EXPERIMENT
    if not path.exists():
        if (folder / RESULTS).exists() and (folder / RESULTS).stat().st_size:
            raise InputError(f"{folder} has {RESULTS} but no {EXPERIMENT}: restore it, or use another --out")
        write_settings(path, experiment)
        return
    old = read_experiment(folder)
    if DATA in experiment and DATA not in old and (folder / RESULTS).exists() and (folder / RESULTS).stat().st_size:
        raise InputError(
            f"{folder} was written by an older version, whose rows lack digests of their data. It can still be "
            "reported; for new runs use another --out"
        )
    optional = {name for name in sections if (name in old) != (name in experiment)}
    before, now = ({k: v for k, v in settings.items() if k not in optional} for settings in (old, experiment))
    tasks = before.get(DATA, {}).keys() & now.get(DATA, {}).keys()
    for settings in (before, now):
        if DATA in settings:
            settings[DATA] = {task: digests for task, digests in settings[DATA].items() if task in tasks}
    if without_labels(before) != without_labels(now):
        require_same(folder, "experiment", before, now)
    merged = experiment | old | ({DATA: old[DATA] | experiment[DATA]} if DATA in experiment else {})
    if merged != old:
        write_settings(path, merged)


def _require_finite(row: Row, predictions: Predictions) -> None:
    values: list[tuple[str, Any]] = [
        (f"{name} on {evaluation}", value) for evaluation, name, value in _flat(row.metrics)
    ]
    values += [(f"a prediction on {name}", np.asarray(found)) for name, (found, _) in predictions.items()]
    for name, value in values:
        if not np.isfinite(value).all():
            raise InputError(f"{row.title}, {row.name}, seed {row.seed}: {name} is not finite, so the run is not kept")


def _savez(file: IO[bytes], predictions: Predictions) -> None:
    arrays: dict[str, Any] = {}
    for name, (answers, labels) in predictions.items():
        arrays |= {f"{name}/predictions": np.asarray(answers), f"{name}/labels": np.asarray(labels)}
    np.savez_compressed(file, **arrays)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows to a new file of results, whole or not at all."""
    write_whole(path, lambda file: file.writelines(map(_line, rows)))


def _line(row: Row) -> bytes:
    return json.dumps(plain(row), allow_nan=False).encode() + b"\n"


def _append_line(path: Path, line: bytes) -> None:
    content = path.read_bytes()
    _, tail = _split_tail(content)
    with open(path, "ab") as file:
        if tail:
            file.truncate(len(content) - len(tail))
        elif content and not content.endswith(b"\n"):
            file.write(b"\n")
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _split_tail(content: bytes) -> tuple[list[bytes], bytes]:
    """Split into complete lines and the rest of a truncated last line.

    A last line that lacks only its newline is complete: an editor may have removed it.
    """
    *lines, tail = content.split(b"\n")
    try:
        json.loads(tail)
    except ValueError:
        return lines, tail
    return [*lines, tail], b""


def _parse(line: bytes, where: str) -> Row:
    try:
        row = Row(**json.loads(line))
        blind = None if row.blind is None else (int(row.blind[0]), int(row.blind[1]))
        for evaluation, name, value in (*_flat(row.metrics), *_flat(row.majority)):
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError(f"{name} on {evaluation} is {json.dumps(value)}, not a finite number")
        return dataclasses.replace(row, blind=blind)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{where} is not a result ({error}); correct or delete that line") from None


def _flat(scores: Scores) -> list[tuple[str, str, float]]:
    return [(evaluation, name, value) for evaluation, metrics in scores.items() for name, value in metrics.items()]
