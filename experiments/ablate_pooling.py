"""Ablate the readout: fine-tune one encoder with several readouts on several tasks over several seeds.

Ends with a table of every readout on every task, the paired differences with 95% intervals, and a figure.
An interrupted run goes on where it was when the same command is given again.
"""

import dataclasses
import hashlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.progress import Progress

from bert_jax.config import FinetuneConfig, ReadoutConfig
from bert_jax.data import controlled, glue
from bert_jax.data.tasks import Split, Task
from bert_jax.errors import InputError
from bert_jax.model.huggingface import resolve
from bert_jax.model.readout import check
from bert_jax.pretrained import Pretrained, load
from bert_jax.report import write_report
from bert_jax.results import ResultStore, Row, plain, run_id
from bert_jax.train import metrics
from bert_jax.train.finetune import TaskData, finetune, num_steps, prepare_task, with_learning_rate
from bert_jax.train.loop import Diverged
from bert_jax.train.parallel import cache_compilations, check_batch_size
from configs import named
from experiments.cli import run
from experiments.pretrain import pretrain_encoder
from experiments.progress import progress_bar
from experiments.settings import SUITES, Ablation


def main(config: Ablation) -> None:
    """Run what is missing of the grid, then report."""
    cache_compilations()
    for field in ("batch_size", "eval_batch_size"):
        check_batch_size(getattr(config.finetune, field), f"--finetune.{field.replace('_', '-')}")
    encoder_dir = _encoder_dir(config)
    pretrained = load(encoder_dir)
    for readout in config.readouts():
        check(readout, pretrained.config)
    experiment = _experiment(config, encoder_dir)
    store = ResultStore(config.out, experiment)
    with progress_bar() as bar:
        runs = bar.add_task("runs", total=len(config.tasks) * len(list(_grid(config))), note="")
        for name in config.tasks:
            _run_task(config, SUITES[config.suite][name], pretrained, experiment, store, bar, runs)
    write_report(config.out)


def _run_task(
    config: Ablation,
    task: Task,
    pretrained: Pretrained,
    experiment: dict[str, Any],
    store: ResultStore,
    bar: Progress,
    runs: Any,
) -> None:
    """The runs of one task that are not finished yet. The task is not even read where there are none."""
    data = None
    for readout, rate, seed in _grid(config):
        settings = plain(experiment | {"task": task.name, "readout": readout, "learning_rate": rate, "seed": seed})
        if run_id(settings) not in store.finished():
            data = data or _read_task(config, task, pretrained)
            cell = f"{task.title} {readout} seed {seed}"
            at_rate = with_learning_rate(config.finetune, rate)
            row, predictions = _run(pretrained, data, readout, at_rate, seed, bar, cell)
            row = dataclasses.replace(row, id=run_id(settings), config=settings)
            store.append(row, predictions)
        bar.advance(runs)


def _run(
    pretrained: Pretrained,
    data: TaskData,
    readout: ReadoutConfig,
    config: FinetuneConfig,
    seed: int,
    bar: Progress,
    cell: str,
) -> tuple[Row, dict[str, Any]]:
    """One run as a row and its predictions. A run that diverges is a row too."""
    task = data.task
    labels = {name: examples.labels for name, examples in data.evaluations.items()}
    line = bar.add_task(cell, total=num_steps(data, config), note="")
    failed, predictions = None, {}
    start = time.perf_counter()
    try:
        logits = finetune(
            pretrained,
            data,
            readout,
            config,
            seed,
            lambda step, values: bar.update(line, completed=step, note=f"loss {values['loss']:.3f}"),
        )
        predictions = {name: (metrics.predict(rows, task), labels[name]) for name, rows in logits.items()}
    except Diverged as error:
        failed = error.step
    finally:
        bar.remove_task(line)
    row = Row(
        id="",
        task=task.name,
        title=task.title,
        metric=task.metrics[0],
        is_regression=task.is_regression,
        readout=str(readout),
        learning_rate=config.optim.learning_rate,
        seed=seed,
        status="ok" if failed is None else "failed",
        failed_step=failed,
        seconds=round(time.perf_counter() - start, 3),
        train_examples=len(data.train.encodings),
        evaluation_examples={name: len(values) for name, values in labels.items()},
        metrics={name: metrics.score(task, *pair) for name, pair in predictions.items()},
        majority={name: metrics.majority(task, values) for name, values in labels.items()},
        config={},
    )
    return row, predictions


def _grid(config: Ablation) -> Iterator[tuple[ReadoutConfig, float, int]]:
    """Readout, learning rate and seed of each run of a task; seeds vary slowest, so that pairs finish together."""
    rates = config.learning_rates or (config.finetune.optim.learning_rate,)
    for seed, rate, readout in itertools.product(range(config.seeds), rates, config.readouts()):
        yield readout, rate, seed


def _experiment(config: Ablation, encoder_dir: Path) -> dict[str, Any]:
    """What all rows share. Seeds, tasks and readouts are not in it: a run folder can grow by them."""
    weights = hashlib.sha256((encoder_dir / "model.safetensors").read_bytes()).hexdigest()[:12]
    name = config.encoder if config.encoder and not Path(config.encoder).exists() else encoder_dir.resolve().name
    own = {"pretrain": config.pretrain, "documents": config.documents} if config.encoder is None else {}
    shared = {"suite": config.suite, "encoder": name, "encoder_weights": weights, "train_rows": config.train_rows}
    return plain(shared | {"finetune": config.finetune} | own)


def _encoder_dir(config: Ablation) -> Path:
    if config.encoder is not None:
        return resolve(config.encoder)
    if config.suite != "embedded":
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    folder = config.out / "encoder"
    if not folder.exists():
        pretrain_encoder(config.pretrain, controlled.documents(config.documents, config.pretrain.seed), folder)
    return folder


def _read_task(config: Ablation, task: Task, pretrained: Pretrained) -> TaskData:
    source = SUITES[config.suite][task.trained_on or task.name]
    train = _read_split(config, source, source.train)
    if config.train_rows is not None:
        train = train.head(config.train_rows)
    evaluations = {name: _read_split(config, task, name) for name in task.evaluations}
    limit = min(config.finetune.max_length, pretrained.config.max_length)
    return prepare_task(
        task, pretrained.tokenizer, train, evaluations, dataclasses.replace(config.finetune, max_length=limit)
    )


def _read_split(config: Ablation, task: Task, name: str) -> Split:
    split = _find_split(config, task, name)
    if split.labels is None:
        raise InputError(f"{task.title}: the labels of its {name} split are not published here, so it cannot be scored")
    return split


def _find_split(config: Ablation, task: Task, name: str) -> Split:
    if config.suite == "glue" and config.glue_dir is not None:
        return glue.read_tsv(task, config.glue_dir, name)
    from bert_jax.data import tfds  # slow to import, and not needed for published TSV folders
    from bert_jax.data.controlled.builder import prepared

    if config.suite == "glue":
        return tfds.read(tfds.glue_builder(task), task, name)
    return tfds.read(prepared(task, config.out / "data"), task, name)


if __name__ == "__main__":
    run(main, named(Ablation))
