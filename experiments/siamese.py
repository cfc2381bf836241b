"""Train sentence vectors on pairs of sentences (Sentence-BERT, SimCSE) with several readouts, and compare them.

Ends with a table of the Spearman correlation of the cosine with human scores, and paired differences between readouts.
An interrupted run goes on where it was when the same command is given again.
"""

import dataclasses
import hashlib
import itertools
import re
import time
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.checkpoints.provenance import read_history, tunings, write_history
from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.evaluate import metrics
from bert_jax.files import plain, write_folder
from bert_jax.model.readout import check
from bert_jax.parallel.devices import check_batch_sizes, prepare_process
from bert_jax.pretrained import Pretrained, load
from bert_jax.study.progress import progress_bar
from bert_jax.study.store import ResultStore, Row, run_id
from bert_jax.tasks import glue, sts, synthetic
from bert_jax.tasks.nli import CLASSES, read_nli
from bert_jax.tasks.task import Split, Task
from bert_jax.tasks.tsv import read_lines
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
from experiments.cli import named, run
from experiments.settings import SiameseRun
from experiments.sources import describe_encoder

MODELS = "models"
SYNTHETIC = "synthetic"
_SYNTHETIC_TASKS = {"nli": "entailment", "sts": "similarity"}


class Run(NamedTuple):
    """A readout and a seed. settings: everything that decides the run, as plain JSON."""

    readout: ReadoutConfig
    seed: int
    settings: dict[str, Any]

    @property
    def id(self) -> str:
        """The same settings give the same id."""
        return run_id(self.settings)

    def model(self, out: Path) -> Path:
        """Where its encoder is saved."""
        name = re.sub(r"[^\w.+-]+", "-", str(self.readout))
        return out / MODELS / f"{name}-seed{self.seed}"


def main(config: SiameseRun) -> None:
    """Run what is missing of the grid, then report."""
    run_missing(config, range(config.seeds))
    write_report(config.out)


def run_missing(config: SiameseRun, seeds: Iterable[int]) -> None:
    """Run what is missing of readouts x seeds. What can be wrong is found before anything is trained."""
    prepare_process()
    _check(config)
    train, num_classes = read_training(config)
    experiment = _experiment(config, train)
    grid = [
        Run(readout, seed, plain(experiment | {"readout": readout, "seed": seed}))
        for seed, readout in itertools.product(seeds, config.readouts())
    ]
    store = ResultStore(config.out, experiment)
    pending = [run for run in grid if not _is_done(run, config, store)]
    if not pending:
        return
    task, evaluations = read_evaluations(config.sts_dir, config.objective)
    pretrained = load(_encoder_dir(config), encoder_only=True)
    limit = min(config.siamese.max_length, pretrained.config.max_length)
    settings = dataclasses.replace(config.siamese, max_length=limit)
    data = prepare_pairs(pretrained.tokenizer, train, evaluations, settings, num_classes)
    with progress_bar() as bar:
        total = bar.add_task("runs", total=len(grid), completed=len(grid) - len(pending), note="")
        for run in pending:
            row, cosines, trained = _train(config, pretrained, data, task, run, bar)
            if config.save and trained is not None:
                _save(config, pretrained, trained, run)
            if run.id not in store.finished():
                store.append(row, cosines)
            bar.advance(total)


def _check(config: SiameseRun) -> None:
    check_batch_sizes(config.siamese, "--siamese.")
    bert = read_config(_encoder_dir(config))
    for readout in config.readouts():
        check(readout, bert)
        check(training_readout(readout, config.siamese), bert)
        if config.save:
            check_saveable(readout, bert)


def _is_done(run: Run, config: SiameseRun, store: ResultStore) -> bool:
    return run.id in store.finished() and (not config.save or run.model(config.out).exists())


def _train(
    config: SiameseRun, pretrained: Pretrained, data: PairData, task: Task, run: Run, bar: Progress
) -> tuple[Row, dict[str, tuple[np.ndarray, np.ndarray]], Trained | None]:
    """One run as a row, its cosines and what it made. A run that diverges is a row too."""
    line = bar.add_task(
        f"{config.objective} {run.readout} seed {run.seed}", total=num_steps(data, config.siamese), note=""
    )
    failed, trained = None, None
    start = time.perf_counter()

    def on_step(step: int, values: dict[str, float]) -> None:
        bar.update(line, completed=step, note=f"loss {values['loss']:.3f}")

    try:
        settings = (config.objective, run.readout, config.siamese, run.seed)
        trained = train_pairs(pretrained, data, *settings, on_step=on_step)
    except Diverged as error:
        failed = error.step
    finally:
        bar.remove_task(line)
    gold = {name: pairs.labels for name, pairs in data.evaluations.items()}
    cosines = {} if trained is None else {name: (rows, gold[name]) for name, rows in trained.cosines.items()}
    row = Row(
        id=run.id,
        task=task.name,
        title=task.title,
        metric=task.metrics[0],
        is_regression=True,
        readout=str(run.readout),
        learning_rate=config.siamese.optim.learning_rate,
        seed=run.seed,
        status="ok" if failed is None else "failed",
        failed_step=failed,
        seconds=round(time.perf_counter() - start, 3),
        train_examples=len(data.train.first),
        evaluation_examples={name: len(labels) for name, labels in gold.items()},
        metrics={name: metrics.score(task, *pair) for name, pair in cosines.items()},
        majority={name: metrics.majority(task, labels) for name, labels in gold.items()},
        config=run.settings,
        regime="siamese",
        protocol=_protocol(config),
    )
    return row, cosines, trained


def _protocol(config: SiameseRun) -> str:
    """What was done, in a phrase."""
    settings, names = config.siamese, ", ".join(Path(name).name for name in config.train)
    extra = f", {settings.training_projection} in training only" if settings.training_projection else ""
    epochs = "1 epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    return f"{config.objective} on {names}, {epochs}, batch size {settings.batch_size}{extra}, scored by cosine"


def _save(config: SiameseRun, pretrained: Pretrained, trained: Trained, run: Run) -> None:
    """Write the model directory, which appears only when it is complete."""
    folder = run.model(config.out)
    names = [Path(name).name for name in config.train]
    entry = {"objective": config.objective, "train": names, "settings": run.settings}

    def write(partial: Path) -> None:
        trained_model(pretrained, trained, run.readout).save(partial)
        write_history(partial, [*_history(_encoder_dir(config)), entry])

    write_folder(folder, write, replace=True)


def _history(folder: Path) -> list[dict[str, Any]]:
    """What the encoder was tuned on before, as it is recorded or as far as it can be told."""
    return read_history(folder) or [{"objective": "tuned", "train": [what]} for what in tunings(folder)]


def _experiment(config: SiameseRun, train: Split) -> dict[str, Any]:
    """What all rows share. Seeds and readouts are not in it: a run folder can grow by them."""
    folder = _encoder_dir(config)
    text = "\n".join(itertools.chain(train.a, train.b or ()))
    digest = hashlib.sha256(text.encode() + train.gold.tobytes()).hexdigest()[:12]
    return plain(
        {
            "objective": config.objective,
            "train": {"names": [Path(name).name for name in config.train], "rows": len(train.a), "sha256": digest},
            "scored_on": SYNTHETIC if config.sts_dir is None else "STSBenchmark",
            "siamese": config.siamese,
            "tuned_before": tunings(folder),
        }
        | describe_encoder(config.encoder)
    )


@lru_cache
def _encoder_dir(config: SiameseRun) -> Path:
    return resolve(config.encoder)


def read_evaluations(folder: Path | None, objective: str) -> tuple[Task, dict[str, Split]]:
    """The similarity set that cosines are scored on, as a task named after the objective: the STS benchmark's
    development and test sets, or the synthetic one's."""
    if folder is None:
        task = dataclasses.replace(synthetic.TASKS["similarity"], name=objective, metrics=("spearman", "pearson"))
        return task, {"validation": synthetic.read(synthetic.TASKS["similarity"], "validation")}
    task = dataclasses.replace(sts.SETS["stsb"], name=objective, metrics=("spearman", "pearson"))
    return task, {name: _read_stsb(folder, name) for name in ("validation", "test")}


def _read_stsb(folder: Path | None, split: str) -> Split:
    if folder is None:
        raise InputError("--train stsb needs --sts-dir, the folder that holds STSBenchmark/")
    home = sts.find_set(sts.SETS["stsb"], folder)
    if home is None:
        raise InputError(f"{folder}: no STSBenchmark/ in it; give --sts-dir the folder that holds it")
    (pairs,) = sts.read_sts(home, split).values()
    return pairs


def read_training(config: SiameseRun) -> tuple[Split, int]:
    """What is trained on, and its number of classes (0 where there are none).

    Raises:
        InputError: a source is not there, is not of the kind that the objective needs, or does not fit another.
    """
    found = [_read_source(config, name) for name in config.train]
    if config.objective == "simcse":
        texts = dict.fromkeys(text for split, _ in found for side in (split.a, split.b or ()) for text in side)
        sentences = list(texts)[: config.train_rows]
        return Split(sentences, None, np.zeros(len(sentences), np.int32)), 0
    classes = {number for _, number in found}
    if len(classes) > 1:
        raise InputError(f"--train {' '.join(config.train)}: their classes differ, so they cannot be joined")
    first = [text for split, _ in found for text in split.a]
    second = [text for split, _ in found for text in split.b or ()]
    joined = Split(first, second, np.concatenate([split.gold for split, _ in found]))
    return joined.head(config.train_rows or len(joined.a)), classes.pop()


def _read_source(config: SiameseRun, name: str) -> tuple[Split, int]:
    """One source and its number of classes."""
    kind = "nli" if config.objective == "simcse" else config.objective
    if name == SYNTHETIC:
        task = synthetic.TASKS[_SYNTHETIC_TASKS[kind]]
        return synthetic.read(task, "train"), len(task.classes)
    if name == "stsb" and config.objective != "nli":
        return _read_stsb(config.sts_dir, "train"), 0
    if config.objective == "sts":
        raise InputError(f"--train {name}: the objective sts learns from scores, of stsb or synthetic")
    if name == "mnli":
        return _read_mnli(config), len(CLASSES)
    path = Path(name)
    if config.objective == "simcse" and path.suffix == ".txt":
        return Split([line for line in read_lines(path) if line.strip()], None, None), 0
    if not path.exists():
        raise InputError(f"--train {name}: no such file; it takes files of pairs, mnli, stsb or synthetic")
    return read_nli(path), len(CLASSES)


def _read_mnli(config: SiameseRun) -> Split:
    task = glue.TASKS["mnli"]
    if config.glue_dir is not None:
        return glue.read_tsv(task, config.glue_dir, "train")
    from bert_jax.tasks import tfds  # slow to import, and not needed for published TSV folders

    return tfds.read(tfds.glue_builder(task), task, "train")


if __name__ == "__main__":
    run(main, named(SiameseRun))
