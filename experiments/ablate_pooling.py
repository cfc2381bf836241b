"""Ablate the readout: one encoder, several readouts and tasks; fine-tuned over several seeds, probed, or as it is.

Ends with a table of every readout on every task, the paired differences with 95% intervals, and a figure.
An interrupted run goes on where it was when the same command is given again.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.checkpoints.export import target_of
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.files import plain
from bert_jax.model.readout import check
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.study.regimes import (
    Run,
    Settings,
    open_store,
    run_missing,
    why_not,
)
from bert_jax.tasks.task import Task
from bert_jax.train.pretrain import bert_config
from experiments.cli import named, run
from experiments.pretrain import pretrain_encoder
from experiments.settings import SUITES, Ablation, PretrainRun
from experiments.sources import Source, TaskSplits, describe_encoder, read_task

MODELS = "models"


def main(config: Ablation) -> None:
    """Run what is missing of the grid, then report."""
    run_ablation(config, list(_grid(config)), lambda run: config.out / MODELS / run.id)
    write_report(config.out)


def run_ablation(config: Ablation, grid: Sequence[Run], model_of: Callable[[Run], Path]) -> None:
    """Run what is missing of some runs. What can be wrong is found before anything is trained.

    Args:
        config: what they share.
        grid: the runs.
        model_of: where the model of a fine-tuning is kept, if models are.

    Raises:
        InputError: whatever is wrong.
    """
    prepare_process()
    for regime in config.regimes:
        check_batch_sizes(getattr(config, regime), f"--{regime}.")
    for readout in config.readouts():
        check(readout, _architecture(config))
        if config.save_models:
            target_of(readout, _architecture(config))
    tasks = {name: SUITES[config.suite][name] for name in config.tasks}
    gaps = {regime: {task.title: why_not(regime, task) for task in tasks.values()} for regime in config.regimes}
    absent = {regime: {title: why for title, why in said.items() if why} for regime, said in gaps.items()}
    settings = Settings(config.finetune, config.probe, config.sts)
    store = open_store(config.out, _shared(config), settings, config.regimes, {k: v for k, v in absent.items() if v})
    read = partial(_read, config)
    keep = model_of if config.save_models else None
    run_missing(config.out, store, grid, read, partial(_encoder_dir, config), settings, keep)


def _grid(config: Ablation) -> Iterator[Run]:
    """All runs, regime by regime and task by task; within one, seeds vary slowest, so that pairs finish together."""
    tasks = [SUITES[config.suite][name] for name in config.tasks]
    for regime, task in itertools.product(config.regimes, tasks):
        if why_not(regime, task):
            continue
        seeds = range(1 if regime == "sts" else config.seeds)
        if regime != "finetune":
            its_own = _shared(config) | {regime: getattr(config, regime)}
            for seed, readout in itertools.product(seeds, config.readouts()):
                settings = {"regime": regime, "task": task.name, "readout": readout, "seed": seed}
                yield Run(regime, task, readout, None, seed, plain(its_own | settings))
            continue
        rates = config.learning_rates or (config.finetune.optim.learning_rate,)
        for seed, rate, readout in itertools.product(seeds, rates, config.readouts()):
            yield finetuning(config, task, readout, rate, seed)


def finetuning(config: Ablation, task: Task, readout: ReadoutConfig, rate: float, seed: int) -> Run:
    """One fine-tuning run of an ablation."""
    settings = {"task": task.name, "readout": readout, "learning_rate": rate, "seed": seed}
    shared = _shared(config) | {"finetune": config.finetune}
    return Run("finetune", task, readout, rate, seed, plain(shared | settings))


@lru_cache
def _shared(config: Ablation) -> dict[str, Any]:
    """What all rows share. Regimes, seeds, tasks and readouts are not in it: a run folder can grow by them."""
    shared = {"suite": config.suite, "train_rows": config.train_rows}
    if config.encoder is None:
        own = f"{config.pretrain.preset} pretrained on {config.documents} synthetic documents"
        corpus = {"documents": config.documents, "vocab": config.vocab}
        return plain(shared | {"encoder": own, "pretrain": config.pretrain} | corpus)
    return plain(shared | describe_encoder(config.encoder))


def _architecture(config: Ablation) -> BertConfig:
    if config.encoder is not None or config.suite != "synthetic":
        return read_config(_encoder_dir(config))
    return bert_config(config.pretrain, config.vocab.size)


@lru_cache
def _encoder_dir(config: Ablation) -> Path:
    """The encoder's folder; the synthetic suite's own is pretrained if it is not there yet."""
    if config.encoder is not None:
        return resolve(config.encoder)
    if config.suite != "synthetic":
        raise InputError("--encoder is needed: a model directory, or a hub id such as bert-base-uncased")
    out = config.out / "pretraining"
    return pretrain_encoder(PretrainRun(out, None, config.documents, config.vocab, config.pretrain))


def _read(config: Ablation, regime: str, task: Task) -> TaskSplits:
    source = Source(config.suite, config.out / "data", config.glue_dir, train_rows=config.train_rows)
    return read_task(source, task)


if __name__ == "__main__":
    run(main, named(Ablation), default="synthetic")
