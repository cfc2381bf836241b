"""Trained sentence vectors: all weights are trained on pairs, then cosines are scored (Sentence-BERT, SimCSE)."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bert_jax.checkpoints.provenance import read_history, tunings, write_history
from bert_jax.config import BertConfig, ReadoutConfig, SiameseConfig
from bert_jax.files import write_folder
from bert_jax.model.readout import check
from bert_jax.study.pair_sources import OBJECTIVES
from bert_jax.study.regime import Bench, Made, Regime, check_nothing, make_row
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import Predictions, Row
from bert_jax.tasks.task import Task
from bert_jax.train.loop import Diverged
from bert_jax.train.siamese import (
    PairData,
    Trained,
    check_saveable,
    num_steps,
    prepare_pairs,
    train_pairs,
    trained_model,
    training_readout,
)


def _why_not(task: Task) -> str | None:
    return None if task.name in OBJECTIVES else "sentence vectors are trained on pairs: nli, sts or simcse"


def _run(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    """Train run by run. Diverged runs give rows too. A run's model is written before its row."""
    assert splits.train is not None, "sentence vectors are trained on pairs"
    limit = min(runs[0].settings.max_length, bench.pretrained.config.max_length)
    config = dataclasses.replace(runs[0].settings, max_length=limit)
    data = prepare_pairs(bench.pretrained.tokenizer, splits.train, splits.evaluations, config, splits.num_classes)
    for run in runs:
        yield _train(bench, splits, data, run, dataclasses.replace(run.settings, max_length=limit))


def _train(
    bench: Bench, splits: TaskSplits, data: PairData, run: Run, config: SiameseConfig
) -> tuple[Row, Predictions]:
    line = bench.bar.add_task(f"{splits.task.name} {run.name}", total=num_steps(data, config), note="")
    failed, trained, start = None, None, time.perf_counter()

    def on_step(step: int, values: dict[str, float]) -> None:
        bench.bar.update(line, completed=step, note=f"loss {values['loss']:.3f}")

    try:
        objective: Any = splits.task.name
        trained = train_pairs(bench.pretrained, data, objective, run.readout, config, run.seed, on_step=on_step)
    except Diverged as error:
        failed = error.step
    finally:
        bench.bar.remove_task(line)
    cosines: dict[str, np.ndarray] = {} if trained is None else trained.cosines
    seconds = time.perf_counter() - start
    made = make_row(run, splits, cosines, seconds, failed_step=failed, protocol=_protocol(splits, config))
    if bench.model_of is not None and trained is not None:
        _save(bench, splits, run, trained)
    return made


def _protocol(splits: TaskSplits, config: SiameseConfig) -> str:
    """Describe the training in a phrase."""
    extra = f", {config.training_projection} in training only" if config.training_projection else ""
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    names = ", ".join(splits.train_names)
    return f"{splits.task.name} on {names}, {epochs}, batch size {config.batch_size}{extra}, scored by cosine"


def _save(bench: Bench, splits: TaskSplits, run: Run, trained: Trained) -> None:
    """Write the model directory with the history of its trainings."""
    assert bench.model_of is not None, "only called if models are kept"
    before = read_history(bench.encoder)
    before = before or [{"objective": "tuned", "train": [name]} for name in tunings(bench.encoder)]
    entry = {"objective": splits.task.name, "train": list(splits.train_names), "settings": run.config}
    model = trained_model(bench.pretrained, trained, run.readout)

    def write(folder: Path) -> None:
        model.save(folder)
        write_history(folder, [*before, entry])

    write_folder(bench.model_of(run), write, replace=True)


def _check(readout: ReadoutConfig, bert: BertConfig, config: SiameseConfig) -> None:
    check(readout, bert)
    check(training_readout(readout, config), bert)


regime = Regime(
    "siamese",
    "Trained vectors",
    SiameseConfig,
    _run,
    _why_not,
    trains=True,
    suite="",
    check=_check,
    check_kept=check_saveable,
    check_weights=check_nothing,
)
