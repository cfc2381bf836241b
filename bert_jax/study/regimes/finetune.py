"""Fine-tuning: all weights are trained on a task."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from bert_jax.checkpoints.exchange import save_tuned
from bert_jax.checkpoints.export import target_of
from bert_jax.config import FinetuneConfig
from bert_jax.evaluate import metrics
from bert_jax.files import Json
from bert_jax.parallel.population import Layout
from bert_jax.study.cards import finetuning_card
from bert_jax.study.kept import SCORES, TESTS
from bert_jax.study.populations import Train, train_runs
from bert_jax.study.regime import (
    Bench,
    Made,
    Outcome,
    Regime,
    check_nothing,
    joins_all_pairs,
    lacks_training,
    make_row,
)
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import HELD_OUT
from bert_jax.tasks.task import Split, Task, hold_out
from bert_jax.train.finetune import TaskData, finetune_together, fitting_runs, num_steps, prepare_task, tuned
from bert_jax.train.loop import Diverged
from bert_jax.train.trainer import OnStep, Trained, Trial


def _why_not(task: Task) -> str | None:
    return "fine-tuning needs a split of its own to score" if task.folds else lacks_training(task)


def _run(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    """Fine-tune population by population. Diverged runs give rows too. A run's model is written before its row."""
    assert splits.train is not None, "fine-tuning needs training rows"
    limit = min(runs[0].settings.max_length, bench.pretrained.config.max_length)
    config = dataclasses.replace(runs[0].settings, max_length=limit)
    for held_out, alike in itertools.groupby(runs, key=lambda run: run.held_out):
        train, held = hold_out(splits.train) if held_out else (splits.train, None)
        used = splits._replace(train=train)
        scored = splits.evaluations | ({HELD_OUT: held} if held else {})
        data = prepare_task(splits.task, bench.pretrained.tokenizer, train, scored, config, splits.tests)
        steps, fitting, trained = num_steps(data, config), *_trainer(bench, data, config)
        for run, found, seconds in train_runs(bench, splits.task.title, steps, list(alike), fitting, trained):
            yield _finish(bench, used, held, run, found, seconds, limit)


def _trainer(bench: Bench, data: TaskData, config: FinetuneConfig) -> tuple[Callable[[Run], int], Train]:
    """The arguments `fitting` and `train` of `train_runs`."""

    def fitting(run: Run) -> int:
        return fitting_runs(bench.pretrained, data, run.readout, config, bench.devices)

    def train(runs: Sequence[Run], trials: list[Trial], layout: Layout, on_step: OnStep) -> list[Trained | Diverged]:
        return finetune_together(bench.pretrained, data, runs[0].readout, config, trials, layout, on_step)

    return fitting, train


def _finish(
    bench: Bench,
    splits: TaskSplits,
    held: Split | None,
    run: Run,
    found: Trained | Diverged,
    seconds: float,
    max_length: int,
) -> Outcome:
    """Make the row of a run, and write its model if models are kept."""
    predictions: dict[str, np.ndarray] = {}
    details: Json = {}
    if isinstance(found, Trained):
        predictions = {name: metrics.predict(rows, splits.task) for name, rows in found.outputs.items()}
        if held is not None:
            details[HELD_OUT] = metrics.score(splits.task, predictions.pop(HELD_OUT), held.gold)
    failed = found.step if isinstance(found, Diverged) else None
    protocol = _protocol(dataclasses.replace(run.settings, max_length=max_length))
    logits = found.outputs if isinstance(found, Trained) else {}
    made = make_row(run, splits, predictions, seconds, failed, logits, protocol=protocol, details=details)
    if bench.model_of is not None and isinstance(found, Trained):
        card = partial(finetuning_card, f"{run.task.name}-{run.id}", config=bench.pretrained.config, row=made[0])
        model = tuned(bench.pretrained, splits.task, run.readout, found.params)
        save_tuned(bench.model_of(run), model, bench.pretrained.tokenizer, max_length, card)
    return made


def _protocol(config: FinetuneConfig) -> str:
    """Describe the recipe in a phrase."""
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    drawn = ", all weights drawn at random" if config.from_scratch else ""
    return f"{epochs}, batch size {config.batch_size}, at most {config.max_length} tokens{drawn}"


regime = Regime(
    "finetune",
    "Fine-tuned",
    FinetuneConfig,
    _run,
    _why_not,
    trains=True,
    holds_out=True,
    offered=True,
    keeps=(TESTS, SCORES),
    joins_pairs=joins_all_pairs,
    check_kept=target_of,
    check_weights=check_nothing,
)
