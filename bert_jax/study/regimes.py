"""Three answers to which readout is better: after fine-tuning, under a linear probe, and without any training.

A regime is a field of a run: a function from an encoder, a task and its runs to their rows and predictions.
"""

import dataclasses
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import Progress

from bert_jax.analysis.report import write_report
from bert_jax.checkpoints.card import finetuning_card
from bert_jax.checkpoints.exchange import save_tuned
from bert_jax.checkpoints.export import Tuned
from bert_jax.config import FinetuneConfig, ProbeConfig, ReadoutConfig, StsConfig
from bert_jax.data.batching import encode_texts
from bert_jax.evaluate import metrics
from bert_jax.evaluate.features import Features, extract_features
from bert_jax.evaluate.nsp_head import count_probabilities, follow_probability
from bert_jax.evaluate.probe import describe, prepare_probe, probe
from bert_jax.evaluate.similarity import (
    agreement,
    anisotropy,
    cosines,
    prepare_similarity,
    split_whitening,
    whiten,
)
from bert_jax.pretrained import Pretrained
from bert_jax.study.progress import progress_bar
from bert_jax.study.store import (
    Absent,
    Predictions,
    ResultStore,
    Row,
    read_rows,
    run_id,
)
from bert_jax.tasks.task import Task
from bert_jax.tokenizers.tokenizer import Encoding
from bert_jax.train.finetune import finetune, num_steps, prepare_task, with_learning_rate
from bert_jax.train.loop import Diverged
from experiments.encoders import load_encoder
from experiments.sources import TaskSplits

Made = Iterator[tuple[Row, Predictions]]


class Blind(NamedTuple):
    """The blocks, counted from 1, in which [CLS] attends to nothing but itself: `first` to `last`."""

    first: int
    last: int

    def mask(self, num_layers: int) -> np.ndarray:
        """[N] True for those blocks."""
        block = np.arange(1, num_layers + 1)
        return (self.first <= block) & (block <= self.last)


class Run(NamedTuple):
    """A cell of the grid and a seed. settings: everything that decides the run, as plain JSON. blind: where attention
    is taken from [CLS]; nowhere by default."""

    regime: str
    task: Task
    readout: ReadoutConfig
    learning_rate: float | None
    seed: int
    settings: dict[str, Any]
    blind: Blind | None = None

    @property
    def name(self) -> str:
        """What is compared, as a row has it: the readout, and what was taken from the encoder."""
        return (
            str(self.readout) if self.blind is None else f"{self.readout} blind({self.blind.first},{self.blind.last})"
        )

    @property
    def id(self) -> str:
        """The same settings give the same id."""
        return run_id(self.settings)


class Settings(NamedTuple):
    """What each regime does, apart from readouts, tasks and seeds."""

    finetune: FinetuneConfig = FinetuneConfig()
    probe: ProbeConfig = ProbeConfig()
    sts: StsConfig = StsConfig()


ModelOf = Callable[[Run], Path] | None
"""Where the model of a fine-tuning is kept; None if it is not."""


class Bench(NamedTuple):
    """An encoder at work: where its progress is shown, a folder for temporary files, and where models are kept."""

    pretrained: Pretrained
    bar: Progress
    scratch: Path
    model_of: ModelOf = None


def why_not(regime: str, task: Task) -> str | None:
    """Why a regime has nothing to say of a task, or None."""
    if regime == "sts" and not (task.is_regression and len(task.texts) == 2):
        return "zero-shot similarity needs pairs with scores"
    if regime == "finetune" and task.folds:
        return "fine-tuning needs a split of its own to score"
    return None


def run_grid(
    out: Path,
    store: ResultStore,
    grid: Sequence[Run],
    read: Callable[[str, Task], TaskSplits],
    encoder: Callable[[], Path],
    settings: Settings,
) -> None:
    """Run what is missing of a grid, then report; arguments as `run_missing`."""
    run_missing(out, store, grid, read, encoder, settings)
    write_report(out)


def run_missing(
    out: Path,
    store: ResultStore,
    grid: Sequence[Run],
    read: Callable[[str, Task], TaskSplits],
    encoder: Callable[[], Path],
    settings: Settings,
    model_of: ModelOf = None,
) -> None:
    """Run what is missing of a grid. What can be wrong with the data is found before anything is run.

    Args:
        out: the run folder that `store` writes to.
        grid: runs, those of one regime and task one after the other.
        read: the splits of a task for a regime.
        encoder: gives the encoder's folder; not called where nothing is missing.
        settings: of the regimes.
        model_of: where the models of fine-tunings are kept; a run without its model is run again.
    """
    finished = store.finished()
    pending = [run for run in grid if run.id not in finished or _lacks_model(out, run, model_of)]
    groups = [
        (key, list(runs)) for key, runs in itertools.groupby(pending, key=lambda run: (run.regime, run.task.name))
    ]
    splits = {key: read(runs[0].regime, runs[0].task) for key, runs in groups}
    if pending:
        pretrained = load_encoder(encoder())
        for readout in dict.fromkeys(run.readout for run in pending if run.regime != "finetune"):
            pretrained.reader_params(split_whitening(readout)[0])
        with progress_bar() as bar:
            total = bar.add_task("runs", total=len(grid), completed=len(grid) - len(pending), note="")
            for key, runs in groups:
                for made in _REGIMES[key[0]](Bench(pretrained, bar, out, model_of), splits[key], runs, settings):
                    if made[0].id not in finished:
                        store.append(*made)
                    bar.advance(total)


def _lacks_model(out: Path, run: Run, model_of: ModelOf) -> bool:
    """Whether a finished run is to be run again for its model. One that diverged has none, and would diverge again."""
    if model_of is None or run.regime != "finetune" or model_of(run).exists():
        return False
    return any(row.id == run.id and row.ok for row in read_rows(out))


def _finetune(bench: Bench, splits: TaskSplits, runs: Sequence[Run], settings: Settings) -> Made:
    """Fine-tuning runs of one task. A run that diverges is a row too. A model is written before its row."""
    assert splits.train is not None, "fine-tuning needs training rows"
    limit = min(settings.finetune.max_length, bench.pretrained.config.max_length)
    config = dataclasses.replace(settings.finetune, max_length=limit)
    data = prepare_task(splits.task, bench.pretrained.tokenizer, splits.train, splits.evaluations, config)
    for run in runs:
        tuned = config if run.learning_rate is None else with_learning_rate(config, run.learning_rate)
        name = f"{splits.task.title} {run.readout} seed {run.seed}"
        line = bench.bar.add_task(name, total=num_steps(data, tuned), note="")
        trained: list[Tuned] = []
        failed, predictions, start = None, {}, time.perf_counter()

        def on_step(step: int, values: dict[str, float], line: Any = line) -> None:
            bench.bar.update(line, completed=step, note=f"loss {values['loss']:.3f}")

        try:
            logits = finetune(bench.pretrained, data, run.readout, tuned, run.seed, on_step, trained.append)
            predictions = {name: metrics.predict(rows, splits.task) for name, rows in logits.items()}
        except Diverged as error:
            failed = error.step
        finally:
            bench.bar.remove_task(line)
        made = _row(run, splits, predictions, time.perf_counter() - start, failed_step=failed)
        if bench.model_of is not None and trained:
            card = partial(finetuning_card, f"{run.task.name}-{run.id}", config=bench.pretrained.config, row=made[0])
            save_tuned(bench.model_of(run), trained[0], bench.pretrained.tokenizer, limit, card)
        yield made


def _probe(bench: Bench, splits: TaskSplits, runs: Sequence[Run], settings: Settings) -> Made:
    """Probes of one task: the encoder reads every text once for all readouts, then a head is fitted on each.

    Where attention is taken from [CLS], it reads them once for each way of doing so.
    """
    assert splits.train is not None, "a probe needs training rows"
    config = settings.probe
    limit = min(config.max_length, bench.pretrained.config.max_length)
    tokenizer, task = bench.pretrained.tokenizer, splits.task
    data = prepare_probe(task, tokenizer, splits.train, splits.validation, splits.evaluations, config, limit)
    for blind in dict.fromkeys(run.blind for run in runs):
        alike = [run for run in runs if run.blind == blind]
        readouts = list(dict.fromkeys(run.readout for run in alike))
        features, share = _read_once(bench, task.title, data.encodings, readouts, config.batch_size, blind)
        for run in alike:
            start = time.perf_counter()
            found = probe(data, features, run.readout, config, run.seed)
            seconds = time.perf_counter() - start + share / len(alike)
            details = {"c": found.chosen}
            yield _row(run, splits, found.predictions, seconds, protocol=describe(task, config), details=details)


def _head(bench: Bench, splits: TaskSplits, runs: Sequence[Run], settings: Settings) -> Made:
    """What the checkpoint's own head for pairs says of them, reading [CLS] as in its training, or something else."""
    ((name, pairs),) = splits.evaluations.items()
    assert pairs.labels is not None, "pairs that do not say whether B follows A cannot be scored"
    checkpoint, limit = bench.pretrained.checkpoint, min(settings.probe.max_length, bench.pretrained.config.max_length)
    encodings = encode_texts(bench.pretrained.tokenizer, pairs.a, pairs.b, limit, f"{splits.task.title}, {name}")
    readouts = list(dict.fromkeys(run.readout for run in runs))
    features, share = _read_once(bench, splits.task.title, encodings, readouts, settings.probe.batch_size)
    for run in runs:
        found = follow_probability(checkpoint, features[run.readout])
        answers = {name: (found > 0.5).astype(np.int32)}
        details = {"probability": count_probabilities(found, pairs.labels)}
        protocol = "the head that the encoder was pretrained with"
        yield _row(run, splits, answers, share / len(runs), protocol=protocol, details=details)


def _sts(bench: Bench, splits: TaskSplits, runs: Sequence[Run], settings: Settings) -> Made:
    """Cosines of one set of scored pairs, by every readout."""
    ((name, pairs),) = splits.evaluations.items()
    config, subsets = settings.sts, list(splits.subsets.values())
    limit = min(config.max_length, bench.pretrained.config.max_length)
    data = prepare_similarity(bench.pretrained.tokenizer, pairs, limit, splits.task.title)
    plain = list(dict.fromkeys(split_whitening(run.readout)[0] for run in runs))
    features, share = _read_once(bench, splits.task.title, data.encodings, plain, config.batch_size)
    metric = "spearman" if config.aggregation == "all" else f"spearman_{config.aggregation}"
    for run in runs:
        start = time.perf_counter()
        readout, whitened, size = split_whitening(run.readout)
        vectors = features[readout]
        vectors = whiten(vectors, size) if whitened else vectors
        found = cosines(vectors[data.a], vectors[data.b])
        score = agreement(found, data.scores, subsets, config.aggregation)
        row, _ = _row(
            run,
            splits,
            {},
            time.perf_counter() - start + share / len(runs),
            protocol=_describe_sts(config, whitened),
            details={"anisotropy": anisotropy(vectors)} | ({"subsets": splits.subsets} if subsets else {}),
            metric=metric,
            metrics={name: {metric: score}},
            majority={name: {metric: 0.0}},
        )
        yield row, {name: (found, data.scores)}


_REGIMES: dict[str, Callable[[Bench, TaskSplits, Sequence[Run], Settings], Made]] = {
    "finetune": _finetune,
    "probe": _probe,
    "knockout": _probe,
    "head": _head,
    "sts": _sts,
}


def _read_once(
    bench: Bench,
    title: str,
    encodings: Sequence[Encoding],
    readouts: Sequence[ReadoutConfig],
    batch_size: int,
    blind: Blind | None = None,
) -> tuple[Features, float]:
    """The texts' vectors by all readouts, and the seconds that they took."""
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


def _describe_sts(config: StsConfig, whitened: bool) -> str:
    over = {
        "all": "over all pairs of a set (aggregation all)",
        "mean": "averaged over subsets (aggregation mean, not comparable with all)",
        "wmean": "averaged over subsets by their pairs (aggregation wmean, not comparable with all)",
    }[config.aggregation]
    fitted = ", whitened on the texts of the set itself, without their scores" if whitened else ""
    return f"Spearman of cosines {over}{fitted}"


def _row(
    run: Run,
    splits: TaskSplits,
    answers: dict[str, np.ndarray],
    seconds: float,
    failed_step: int | None = None,
    **more: Any,
) -> tuple[Row, Predictions]:
    """A finished run as a row, and its predictions beside the labels. more: fields that are not those of the task."""
    task = splits.task
    labels = {name: split.gold for name, split in splits.evaluations.items()}
    predictions = {name: (found, labels[name]) for name, found in answers.items()}
    fields: dict[str, Any] = {
        "metric": task.metrics[0],
        "metrics": {name: metrics.score(task, *pair) for name, pair in predictions.items()},
    }
    if "majority" not in more:
        fields["majority"] = {name: metrics.majority(task, values) for name, values in labels.items()}
    row = Row(
        id=run.id,
        task=task.name,
        title=task.title,
        is_regression=task.is_regression,
        readout=run.name,
        learning_rate=run.learning_rate,
        seed=run.seed,
        status="ok" if failed_step is None else "failed",
        failed_step=failed_step,
        seconds=round(seconds, 3),
        train_examples=0 if splits.train is None or run.regime == "sts" else len(splits.train.a),
        evaluation_examples={name: len(split.a) for name, split in splits.evaluations.items()},
        config=run.settings,
        regime=run.regime,
        **(fields | more),
    )
    return row, predictions


def open_store(
    out: Path, shared: dict[str, Any], settings: Settings, regimes: Collection[str], absent: Absent
) -> ResultStore:
    """The run folder of some regimes. It can grow by others later; each brings its own settings."""
    experiment = shared | {regime: getattr(settings, regime) for regime in regimes}
    store = ResultStore(out, experiment, Settings._fields)
    if absent:
        store.note_absent(absent)
    return store
