"""Regimes: ways of getting predictions from an encoder, such as fine-tuning, a linear probe or cosines.

Each regime is a file in `bert_jax/study/regimes/` that defines `regime`.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

from bert_jax.config import BertConfig, ReadoutConfig, Together
from bert_jax.data.one_segment import check_pairs
from bert_jax.evaluate import metrics
from bert_jax.evaluate.features import Features, extract_features
from bert_jax.files import Json
from bert_jax.model.readout import check
from bert_jax.parallel.devices import Devices
from bert_jax.pretrained import Pretrained
from bert_jax.study.kept import SCORES, TESTS, Kept
from bert_jax.study.run import Blind, Run
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import Predictions, Row
from bert_jax.tasks.task import Task
from bert_jax.tokenizers.template import Encoding

Outcome = tuple[Row, Predictions, Kept]
Made = Iterator[Outcome]
"""Rows of finished runs with their predictions, and what can be kept besides."""
ModelOf = Callable[[Run], Path] | None
"""Function from a run to the folder for its model; None if models are not kept."""


class Bench(NamedTuple):
    """Resources shared by runs: the encoder and its folder, the progress bar, a folder for temporary files, devices."""

    pretrained: Pretrained
    encoder: Path
    bar: Progress
    scratch: Path
    devices: Devices
    together: Together = 1
    model_of: ModelOf = None


def _fits_every_task(task: Task) -> str | None:
    return None


def lacks_training(task: Task) -> str | None:
    """Reason why a regime that learns from a task's rows does not apply to it, or None."""
    return None if task.train or task.trained_on else "it has no training rows"


def _joins_no_pairs(settings: object) -> bool:
    return False


def joins_all_pairs(settings: object) -> bool:
    """Every pair is read together, whatever the settings."""
    return True


def _always(task: Task) -> bool:
    return True


def _check(readout: ReadoutConfig, bert: BertConfig, settings: object) -> None:
    check(readout, bert)


def check_nothing(*_: object) -> None:
    """Accept everything."""


@dataclass(frozen=True)
class Regime:
    """An entry of the registry.

    Args:
        name: name on the command line, in rows and in `experiment.json`.
        title: name in tables and figures.
        config: class of the settings, a frozen dataclass with defaults.
        run: `(bench, splits, runs)` to rows. All runs are of one task.
        why_not: `task` to the reason why the regime does not apply to it, or None.
        has_seeds: False if nothing is random, so that each cell has one run.
        is_random: `task` to False if nothing is random there, although the regime has seeds.
        trains: True if weights are trained by steps: the regime has learning rates, and models that can be kept.
        holds_out: True if it can hold a tenth of the training rows out to choose a learning rate.
        suite: default suite of its tasks in tables.
        offered: True if ablations offer it.
        keeps: `kept.TESTS` if it predicts test sets, `kept.SCORES` if it has logits.
        section: name of its settings, if it shares those of another regime.
        joins_pairs: settings to True if the encoder reads the two texts of a pair together.
        check: raises InputError for a readout that the encoder cannot compute with given settings.
        check_kept: raises InputError for a readout whose model cannot be saved.
        check_weights: raises InputError for a readout with untrained weights, if the regime does not train them.
    """

    name: str
    title: str
    config: type
    run: Callable[[Bench, TaskSplits, Sequence[Run]], Made]
    why_not: Callable[[Task], str | None] = _fits_every_task
    has_seeds: bool = True
    is_random: Callable[[Task], bool] = _always
    trains: bool = False
    holds_out: bool = False
    suite: str = "glue"
    offered: bool = False
    keeps: tuple[str, ...] = ()
    section: str = ""
    joins_pairs: Callable[[Any], bool] = _joins_no_pairs
    check: Callable[[ReadoutConfig, BertConfig, Any], None] = _check
    check_kept: Callable[[ReadoutConfig, BertConfig], object] = check_nothing
    check_weights: Callable[[Pretrained, ReadoutConfig], object] = Pretrained.reader_params

    @property
    def settings(self) -> str:
        """Name of its settings."""
        return self.section or self.name

    def check_task(self, task: Task, encoder: Path, settings: Any) -> None:
        """Raise if the regime applies to a task of pairs that the encoder in a folder cannot read.

        Raises:
            InputError: see `check_pairs`; only if the regime reads pairs together.
        """
        if len(task.texts) == 2 and self.why_not(task) is None and self.joins_pairs(settings):
            check_pairs(encoder, task.title)


def read_once(
    bench: Bench,
    title: str,
    encodings: Sequence[Encoding],
    readouts: Sequence[ReadoutConfig],
    batch_size: int,
    blind: Blind | None = None,
) -> tuple[Features, float]:
    """Sentence vectors by all readouts from one pass of the encoder, and the seconds that it took."""
    mask = None if blind is None else blind.mask(bench.pretrained.config.num_layers)
    start = time.perf_counter()
    line = bench.bar.add_task(f"{title}: reading", total=len(encodings), note=f"{len(readouts)} readouts")
    try:
        found = extract_features(
            bench.pretrained,
            encodings,
            readouts,
            batch_size,
            bench.scratch,
            lambda rows: bench.bar.advance(line, rows),
            mask,
        )
    finally:
        bench.bar.remove_task(line)
    return found, time.perf_counter() - start


def make_row(
    run: Run,
    splits: TaskSplits,
    answers: dict[str, np.ndarray],
    seconds: float,
    failed_step: int | None = None,
    logits: Mapping[str, np.ndarray] = MappingProxyType({}),
    **more: Any,
) -> Outcome:
    """Make the row of a finished run, its predictions with the labels, and what can be kept besides.

    Args:
        run: the run.
        splits: splits of its task.
        answers: evaluation or test set -> predictions [N]; empty if the run failed.
        seconds: wall time.
        failed_step: the step at which the loss was not finite, if any.
        logits: evaluation -> logits [N C], for a regime that has them.
        **more: fields of the row that do not follow from the task.
    """
    task = splits.task
    labels = {name: split.gold for name, split in splits.evaluations.items()}
    predictions = {name: (answers[name], gold) for name, gold in labels.items() if name in answers}
    tests = {name: answers[name] for name in splits.tests if name in answers}
    scores = {name: logits[name] for name in labels if name in logits and not task.is_regression}
    fields: Json = {
        "metric": task.metrics[0],
        "metrics": {name: metrics.score(task, *pair) for name, pair in predictions.items()},
        "train_examples": 0 if splits.train is None else len(splits.train.a),
    }
    if duplicates := {name: count for name, count in splits.duplicates.items() if count}:
        more["details"] = more.get("details", {}) | {"duplicates": duplicates}
    if "majority" not in more:
        fields["majority"] = {name: metrics.majority(task, values) for name, values in labels.items()}
    row = Row(
        id=run.id,
        task=task.name,
        title=task.title,
        is_regression=task.is_regression,
        readout=str(run.readout),
        blind=run.blind,
        learning_rate=run.learning_rate,
        seed=run.seed,
        status="ok" if failed_step is None else "failed",
        failed_step=failed_step,
        seconds=round(seconds, 3),
        evaluation_examples={name: len(split.a) for name, split in splits.evaluations.items()},
        config=run.config,
        regime=run.regime,
        **(fields | more),
    )
    return row, predictions, {kind: found for kind, found in ((TESTS, tests), (SCORES, scores)) if found}
