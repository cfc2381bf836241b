"""Fine-tuning: all weights are trained on a task."""

import dataclasses
import itertools
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from bert_jax.checkpoints.exchange import save_tuned
from bert_jax.checkpoints.export import Tuned, target_of
from bert_jax.config import FinetuneConfig
from bert_jax.evaluate import metrics
from bert_jax.files import Json
from bert_jax.study.cards import finetuning_card
from bert_jax.study.regime import Bench, Made, Regime, check_nothing, make_row
from bert_jax.study.run import Run
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import HELD_OUT, Predictions, Row
from bert_jax.tasks.task import Split, Task, hold_out
from bert_jax.train.finetune import TaskData, finetune, num_steps, prepare_task
from bert_jax.train.loop import Diverged


def _why_not(task: Task) -> str | None:
    return "fine-tuning needs a split of its own to score" if task.folds else None


def _run(bench: Bench, splits: TaskSplits, runs: Sequence[Run]) -> Made:
    """Fine-tune run by run. Diverged runs give rows too. A run's model is written before its row."""
    assert splits.train is not None, "fine-tuning needs training rows"
    limit = min(runs[0].settings.max_length, bench.pretrained.config.max_length)
    config = dataclasses.replace(runs[0].settings, max_length=limit)
    for held_out, alike in itertools.groupby(runs, key=lambda run: run.held_out):
        train, held = hold_out(splits.train) if held_out else (splits.train, None)
        used = splits._replace(train=train)
        scored = splits.evaluations | ({HELD_OUT: held} if held else {})
        data = prepare_task(splits.task, bench.pretrained.tokenizer, train, scored, config)
        for run in alike:
            yield _finetune(bench, used, held, data, run, dataclasses.replace(run.settings, max_length=limit))


def _finetune(
    bench: Bench, splits: TaskSplits, held: Split | None, data: TaskData, run: Run, config: FinetuneConfig
) -> tuple[Row, Predictions]:
    line = bench.bar.add_task(f"{splits.task.title} {run.name}", total=num_steps(data, config), note="")
    trained: list[Tuned] = []
    failed, start = None, time.perf_counter()
    predictions: dict[str, np.ndarray] = {}
    details: Json = {}

    def on_step(step: int, values: dict[str, float]) -> None:
        bench.bar.update(line, completed=step, note=f"loss {values['loss']:.3f}")

    try:
        logits = finetune(bench.pretrained, data, run.readout, config, run.seed, on_step, trained.append)
        predictions = {name: metrics.predict(rows, splits.task) for name, rows in logits.items()}
        if held is not None:
            details[HELD_OUT] = metrics.score(splits.task, predictions.pop(HELD_OUT), held.gold)
    except Diverged as error:
        failed = error.step
    finally:
        bench.bar.remove_task(line)
    seconds = time.perf_counter() - start
    protocol = _protocol(config)
    made = make_row(run, splits, predictions, seconds, failed_step=failed, protocol=protocol, details=details)
    if bench.model_of is not None and trained:
        card = partial(finetuning_card, f"{run.task.name}-{run.id}", config=bench.pretrained.config, row=made[0])
        save_tuned(bench.model_of(run), trained[0], bench.pretrained.tokenizer, config.max_length, card)
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
    check_kept=target_of,
    check_weights=check_nothing,
)
