"""Trained sentence vectors: all weights are trained on pairs, then cosines are scored (Sentence-BERT, SimCSE)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from bert_jax.checkpoints.provenance import read_history, tunings, write_history
from bert_jax.config import BertConfig, ReadoutConfig, SiameseConfig
from bert_jax.files import write_folder
from bert_jax.model.readout import check
from bert_jax.parallel.population import Layout
from bert_jax.study.pair_sources import OBJECTIVES
from bert_jax.study.populations import train_runs
from bert_jax.study.regime import Bench, Made, Regime, check_nothing, make_row
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits
from bert_jax.tasks.task import Task
from bert_jax.train.loop import Diverged
from bert_jax.train.siamese import (
    check_saveable,
    fitting_runs,
    num_steps,
    prepare_pairs,
    train_pairs_together,
    trained_model,
    training_readout,
)
from bert_jax.train.trainer import OnStep, Trained, Trial


def _why_not(task: Task) -> str | None:
    return None if task.name in OBJECTIVES else "sentence vectors are trained on pairs: nli, sts or simcse"


def _run(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    """Train population by population. Diverged runs give rows too. A run's model is written before its row."""
    assert splits.train is not None, "sentence vectors are trained on pairs"
    limit = min(runs[0].settings.max_length, bench.pretrained.config.max_length)
    config = dataclasses.replace(runs[0].settings, max_length=limit)
    pretrained, objective = bench.pretrained, splits.task.name
    data = prepare_pairs(pretrained.tokenizer, splits.train, splits.evaluations, config, splits.num_classes)

    def fitting(run: Run) -> int:
        return fitting_runs(pretrained, data, objective, run.readout, config, bench.devices)

    def train(runs: Sequence[Run], trials: list[Trial], layout: Layout, on_step: OnStep) -> list[Trained | Diverged]:
        return train_pairs_together(pretrained, data, objective, runs[0].readout, config, trials, layout, on_step)

    steps, protocol = num_steps(data, config), _protocol(splits, config)
    for run, found, seconds in train_runs(bench, objective, steps, runs, fitting, train):
        cosines, failed = ({}, found.step) if isinstance(found, Diverged) else (found.outputs, None)
        made = make_row(run, splits, cosines, seconds, failed_step=failed, protocol=protocol)
        if bench.model_of is not None and isinstance(found, Trained):
            _save(bench, splits, run, found)
        yield made


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
