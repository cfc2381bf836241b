"""Ablate the readout: fine-tune one encoder with several readouts on several tasks over several seeds.

Ends with a table of every readout on every task, the paired differences with 95% intervals, and a figure.
An interrupted run goes on where it was when the same command is given again.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.progress import Progress

from bert_jax.card import finetuning_card
from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig
from bert_jax.data import glue
from bert_jax.data.tasks import Split, Task
from bert_jax.errors import InputError
from bert_jax.exchange import save_tuned
from bert_jax.model.export import Tuned, target_of
from bert_jax.model.huggingface import fingerprint, read_config, resolve
from bert_jax.model.readout import check
from bert_jax.pretrained import Pretrained, load
from bert_jax.report import write_report
from bert_jax.results import ResultStore, Row, plain, read_rows, run_id
from bert_jax.train import metrics
from bert_jax.train.finetune import TaskData, finetune, num_steps, prepare_task, with_learning_rate
from bert_jax.train.loop import Diverged
from bert_jax.train.parallel import cache_compilations, check_batch_size
from bert_jax.train.pretrain import bert_config
from configs import named
from experiments.cli import run
from experiments.pretrain import pretrain_encoder
from experiments.progress import progress_bar
from experiments.settings import SUITES, Ablation, PretrainRun

MODELS = "models"


class Run(NamedTuple):
    """A cell of the grid and a seed. settings: everything that decides the run, as plain JSON."""

    task: Task
    readout: ReadoutConfig
    learning_rate: float
    seed: int
    settings: dict[str, Any]

    @property
    def id(self) -> str:
        """The same settings give the same id."""
        return run_id(self.settings)


def main(config: Ablation) -> None:
    """Run the grid, then report."""
    run_grid(config, list(_grid(config)), lambda run: config.out / MODELS / run.id)
    write_report(config.out)


def run_grid(config: Ablation, grid: list[Run], model_of: Callable[[Run], Path]) -> None:
    """Run what is missing of some runs. What can be wrong is found before anything is trained.

    Args:
        config: what they share.
        grid: the runs.
        model_of: where the model of each is kept, if models are.

    Raises:
        InputError: whatever is wrong.
    """
    cache_compilations()
    for field in ("batch_size", "eval_batch_size"):
        check_batch_size(getattr(config.finetune, field), f"--finetune.{field.replace('_', '-')}")
    for readout in config.readouts():
        check(readout, _architecture(config))
        if config.save_models:
            target_of(readout, _architecture(config))
    store = ResultStore(config.out, _experiment(config))
    # A run that diverged has no model, and would diverge again.
    trained = {row.id for row in read_rows(config.out) if row.ok and config.save_models}
    done = store.finished()
    pending = [run for run in grid if run.id not in done or (run.id in trained and not model_of(run).exists())]
    splits = {run.task.name: _read_task(config, run.task) for run in {run.task.name: run for run in pending}.values()}
    if pending:
        pretrained = load(_encoder_dir(config))
        with progress_bar() as bar:
            total = bar.add_task("runs", total=len(grid), completed=len(grid) - len(pending), note="")
            for name, runs in itertools.groupby(pending, key=lambda run: run.task.name):
                data = _tokenize(config, pretrained, *splits[name])
                for run in runs:
                    model = model_of(run) if config.save_models else None
                    row, predictions = _finetune(pretrained, data, run, config.finetune, bar, model)
                    if row.id not in store.finished():
                        store.append(row, predictions)
                    bar.advance(total)


def _finetune(
    pretrained: Pretrained, data: TaskData, run: Run, config: FinetuneConfig, bar: Progress, model: Path | None
) -> tuple[Row, dict[str, Any]]:
    """One run as a row and its predictions. A run that diverges is a row too. The model is written first, if it is
    wanted: where there is a row, there is its model.
    """
    task, config = run.task, with_learning_rate(config, run.learning_rate)
    labels = {name: examples.labels for name, examples in data.evaluations.items()}
    line = bar.add_task(f"{task.title} {run.readout} seed {run.seed}", total=num_steps(data, config), note="")
    failed, predictions = None, {}
    trained: list[Tuned] = []
    start = time.perf_counter()

    def on_step(step: int, values: dict[str, float]) -> None:
        bar.update(line, completed=step, note=f"loss {values['loss']:.3f}")

    try:
        logits = finetune(pretrained, data, run.readout, config, run.seed, on_step, trained.append)
        predictions = {name: (metrics.predict(rows, task), labels[name]) for name, rows in logits.items()}
    except Diverged as error:
        failed = error.step
    finally:
        bar.remove_task(line)
    row = Row(
        id=run.id,
        task=task.name,
        title=task.title,
        metric=task.metrics[0],
        is_regression=task.is_regression,
        readout=str(run.readout),
        learning_rate=run.learning_rate,
        seed=run.seed,
        status="ok" if failed is None else "failed",
        failed_step=failed,
        seconds=round(time.perf_counter() - start, 3),
        train_examples=len(data.train.encodings),
        evaluation_examples={name: len(values) for name, values in labels.items()},
        metrics={name: metrics.score(task, *pair) for name, pair in predictions.items()},
        majority={name: metrics.majority(task, values) for name, values in labels.items()},
        config=run.settings,
    )
    if model is not None:
        for tuned in trained:
            limit = min(config.max_length, pretrained.config.max_length)
            card = partial(finetuning_card, f"{task.name}-{run.id}", config=pretrained.config, row=row)
            save_tuned(model, tuned, pretrained.tokenizer, limit, card)
    return row, predictions


def _grid(config: Ablation) -> Iterator[Run]:
    """All runs, task by task; within one, seeds vary slowest, so that pairs finish together."""
    rates = config.learning_rates or (config.finetune.optim.learning_rate,)
    tasks = [SUITES[config.suite][name] for name in config.tasks]
    for task, seed, rate, readout in itertools.product(tasks, range(config.seeds), rates, config.readouts()):
        yield cell(config, task, readout, rate, seed)


def cell(config: Ablation, task: Task, readout: ReadoutConfig, rate: float, seed: int) -> Run:
    """One run of an ablation."""
    settings = {"task": task.name, "readout": readout, "learning_rate": rate, "seed": seed}
    return Run(task, readout, rate, seed, plain(_experiment(config) | settings))


@lru_cache
def _experiment(config: Ablation) -> dict[str, Any]:
    """What all rows share. Seeds, tasks and readouts are not in it: a run folder can grow by them."""
    shared = {"suite": config.suite, "train_rows": config.train_rows, "finetune": config.finetune}
    if config.encoder is None:
        own = f"{config.pretrain.preset} pretrained on {config.documents} embedded documents"
        corpus = {"documents": config.documents, "vocab": config.vocab}
        return plain(shared | {"encoder": own, "pretrain": config.pretrain} | corpus)
    folder = _encoder_dir(config)
    name = folder.resolve().name if Path(config.encoder).exists() else config.encoder
    return plain(shared | {"encoder": name, "encoder_weights": fingerprint(folder)})


def _architecture(config: Ablation) -> BertConfig:
    if config.encoder is not None or config.suite != "embedded":
        return read_config(_encoder_dir(config))
    return bert_config(config.pretrain, config.vocab.size)


@lru_cache
def _encoder_dir(config: Ablation) -> Path:
    """The encoder's folder; the embedded suite's own is pretrained if it is not there yet."""
    if config.encoder is not None:
        return resolve(config.encoder)
    if config.suite != "embedded":
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    out = config.out / "pretraining"
    return pretrain_encoder(PretrainRun(out, None, config.documents, config.vocab, config.pretrain))


def _read_task(config: Ablation, task: Task) -> tuple[Task, Split, dict[str, Split]]:
    source = SUITES[config.suite][task.trained_on or task.name]
    train = _read_split(config, source, source.train)
    if config.train_rows is not None:
        train = train.head(config.train_rows)
    return task, train, {name: _read_split(config, task, name) for name in task.evaluations}


def _tokenize(
    config: Ablation, pretrained: Pretrained, task: Task, train: Split, evaluations: dict[str, Split]
) -> TaskData:
    limit = min(config.finetune.max_length, pretrained.config.max_length)
    settings = dataclasses.replace(config.finetune, max_length=limit)
    return prepare_task(task, pretrained.tokenizer, train, evaluations, settings)


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
