"""The cells of a table: the runs that they need, and their results from the rows of run folders."""

import dataclasses
import itertools
import math
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.analysis.comparison import Cell, grid
from bert_jax.analysis.estimates import DEFAULT, Estimate, Key, Method, estimate
from bert_jax.analysis.statistics import RESAMPLED
from bert_jax.checkpoints.directory import read_config, resolve
from bert_jax.checkpoints.provenance import tunings
from bert_jax.config import preset
from bert_jax.errors import InputError
from bert_jax.files import digest
from bert_jax.model.readout import has_layers
from bert_jax.study.grid import Grid, run_grid
from bert_jax.study.regime import Regime
from bert_jax.study.regimes import REGIMES
from bert_jax.study.store import Row, read_rows
from bert_jax.tasks.task import Task
from bert_jax.train.log import read_log
from experiments.cli import command
from experiments.columns import missing, read_column, stand_in
from experiments.pretrain import pretrain_encoder
from experiments.scales import Reproduce, change, is_pretrained_here, place, pretraining
from experiments.settings.pretraining import PretrainRun
from experiments.tables.table import SEED, Column, Encoder, Line, Table


class Job(NamedTuple):
    """Runs that start from one encoder: lines and columns of a table, the model directory and the run folder."""

    config: Reproduce
    lines: tuple[Line, ...]
    columns: tuple[Column, ...]
    encoder: Path
    out: Path
    seeds: tuple[int, ...]


class Measured(NamedTuple):
    """The measurement of a cell. rows: the runs that finished, by pretraining and seed; folders: run folder of each row
    by its id; values: the metric x 100 by seed; no seed occurs in two pretrainings.

    reason: the reason for an empty cell.
    """

    values: dict[int, float] = {}  # noqa: RUF012 - never written to
    rows: dict[Key, Row] = {}  # noqa: RUF012
    folders: dict[str, Path] = {}  # noqa: RUF012
    degenerate: int = 0
    failed: int = 0
    reason: str = ""

    @property
    def mean(self) -> float:
        """Over the seeds that finished; NaN without any."""
        return float(np.mean(list(self.values.values()))) if self.values else math.nan

    @property
    def says_nothing(self) -> bool:
        """True if all finished runs are degenerate: a difference to this cell is not judged."""
        return 0 < len(self.values) == self.degenerate

    @property
    def trained(self) -> dict[Key, Row]:
        """The runs that are better than the majority baseline on their task's first evaluation set."""
        return {key: row for key, row in self.rows.items() if not row.is_degenerate(next(iter(row.majority)))}


# Running.


def run_table(table: Table, config: Reproduce) -> None:
    """Run the missing parts of a table: encoder by encoder, first the pretraining and then the cells."""
    for encoder, seed in itertools.product(used(table, config), range(config.pretrain_seeds)):
        for job in jobs(table, config, encoder, seed):
            for regime in dict.fromkeys(column.regime for column in job.columns):
                if regime in REGIMES:
                    of_regime = tuple(column for column in job.columns if column.regime == regime)
                    _run_columns(job._replace(columns=of_regime), REGIMES[regime])


def used(table: Table, config: Reproduce) -> list[Encoder]:
    """The encoders that the chosen lines start from."""
    names = [line.encoder for line in chosen_lines(table, config) if not absence(table, config, line)]
    return [encoder for encoder in table.encoders if encoder.name in names]


def chosen_lines(table: Table, config: Reproduce) -> list[Line]:
    """The lines that were asked for, without those of layers that their encoder lacks."""
    asked = [line for line in table.lines if not config.rows or line.title in config.rows]
    return [line for line in asked if _fits_encoder(table, config, line)]


def _fits_encoder(table: Table, config: Reproduce, line: Line) -> bool:
    if absence(table, config, line) or has_layers(line.readout, 1):
        return True
    encoder = table.encoder(line)
    if is_pretrained_here(encoder, config):
        return has_layers(line.readout, preset(pretraining(encoder, config).preset).num_layers)
    return has_layers(line.readout, _num_layers(place(encoder, config)))


@lru_cache(maxsize=64)
def _num_layers(encoder: str) -> int:
    return read_config(resolve(encoder)).num_layers


def absence(table: Table, config: Reproduce, line: Line) -> str:
    """The reason why a line is not measured; empty if it is."""
    if line.absent:
        return line.absent
    encoder = table.encoder(line)
    if is_pretrained_here(encoder, config) or place(encoder, config):
        return ""
    return f"{encoder.published} is not pretrained at this scale; name it with --encoder {encoder.name}=DIR_OR_HUB_ID"


def chosen_columns(table: Table, config: Reproduce) -> list[Column]:
    """The columns that were asked for."""
    return [column for column in table.columns if not config.columns or column.title in config.columns]


def jobs(table: Table, config: Reproduce, encoder: Encoder, seed: int) -> Iterator[Job]:
    """The runs that start from one encoder, with a job for each group of lines that share their settings."""
    chosen = [line for line in chosen_lines(table, config) if line.encoder == encoder.name]
    lines = [line for line in chosen if not absence(table, config, line)]
    seeds = tuple(range(seed, config.seeds, config.pretrain_seeds))
    folder = table_encoder(table, config, encoder, seed)
    for _, alike in itertools.groupby(lines, key=lambda line: repr(line.changes)):
        of_job = tuple(alike)
        changed = change(config, of_job[0].changes)
        columns = tuple(column for column in chosen_columns(table, config) if not missing(column, changed))
        yield Job(changed, of_job, columns, folder, _out(table, config, of_job[0], seed), seeds)


def _out(table: Table, config: Reproduce, line: Line, seed: int) -> Path:
    """Run folder of a line. Lines that share an encoder and its settings share the folder of the first of them."""
    shares = (line.encoder, repr(line.changes))
    first = next(other for other in table.lines if (other.encoder, repr(other.changes)) == shares)
    parts = [line.encoder, *([first.title] if line.changes else [])]
    parts += [f"pretraining{seed}"] if config.pretrain_seeds > 1 else []
    return config.out / "-".join(re.sub(r"\W+", "-", part).strip("-") for part in parts)


def pretraining_run(config: Reproduce, encoder: Encoder, seed: int) -> PretrainRun:
    """The pretraining of an encoder; tables that need the same one share its folder.

    Raises:
        InputError: there is no text to pretrain on.
    """
    settings = pretraining(encoder, config, seed)
    if config.scale != "tiny" and config.corpus is None:
        raise InputError(f"--corpus is needed to pretrain {encoder.name}: a folder written by prepare_corpus")
    text = config.corpus.resolve().name if config.corpus else {"documents": config.documents, "vocab": config.vocab}
    name = f"{settings.preset.replace('/', '-')}-{digest({'pretrain': settings, 'text': text})[:8]}"
    every = min(500 if config.scale == "tiny" else 5000, settings.steps)
    return PretrainRun(
        out=(config.pretrained or config.out / "pretrained") / name,
        corpus=config.corpus,
        documents=config.documents,
        vocab=config.vocab,
        pretrain=settings,
        log_every=min(100, settings.steps),
        eval_every=every,
        save_every=every,
    )


def check_encoders(table: Table, config: Reproduce) -> None:
    """Check the encoders that are not pretrained here, before anything runs.

    Raises:
        InputError: see `table_encoder`; an encoder cannot read the pairs of a column; or one checkpoint would stand for
            several pretrainings.
    """
    given = [encoder for encoder in used(table, config) if not is_pretrained_here(encoder, config)]
    for encoder in given:
        places = [place(encoder, config, seed) for seed in range(config.pretrain_seeds)]
        if len(set(places)) < len(places):
            raise InputError(
                f"--pretrain-seeds {len(places)}: {encoder.name} is one checkpoint, {places[0]}; write {SEED} where "
                "its name has the number of the pretraining, or --pretrain-seeds 1"
            )
    for encoder, seed in itertools.product(given, range(config.pretrain_seeds)):
        folder = _given_encoder(table, config, encoder, seed)
        for column in chosen_columns(table, config):
            measured = stand_in(column, config)
            if column.regime in REGIMES and measured is not None and not missing(column, config):
                regime = REGIMES[column.regime]
                regime.check_task(read_column(measured, config).task, folder, getattr(config, regime.settings))


def table_encoder(table: Table, config: Reproduce, encoder: Encoder, seed: int) -> Path:
    """The model directory of an encoder, which is pretrained if need be.

    Raises:
        InputError: the directory is missing, or its encoder was fine-tuned while the source's was not.
    """
    if is_pretrained_here(encoder, config):
        return pretrain_encoder(pretraining_run(config, encoder, seed))
    return _given_encoder(table, config, encoder, seed)


def _given_encoder(table: Table, config: Reproduce, encoder: Encoder, seed: int) -> Path:
    folder = resolve(place(encoder, config, seed))
    before = tunings(folder)
    if table.plain and before:
        raise InputError(
            f"{folder} was tuned on {'; '.join(before)}, but {table.name} starts from plain encoders: name one that "
            "was only pretrained with --encoder"
        )
    return folder


def _run_columns(job: Job, regime: Regime) -> None:
    """Run the cells of one regime, suite by suite."""
    for _, columns in itertools.groupby(_tasks(job), key=lambda column: column.source()):
        found = [read_column(column, job.config) for column in columns]
        splits = {one.task.name: one for one in found}
        bert = read_config(job.encoder)
        grid = Grid(
            out=job.out,
            architecture=bert,
            encoder=lambda: job.encoder,
            settings={regime.name: getattr(job.config, regime.settings)},
            tasks=[found.task for found in splits.values()],
            read=lambda task, splits=splits: splits[task.name],  # type: ignore[misc]
            readouts=list(dict.fromkeys(line.readout for line in job.lines)),
            seeds=job.seeds,
            learning_rates=job.config.learning_rates,
            select=job.config.select,
            labels={"train_rows": job.config.train_rows},
            together=job.config.together,
            command=command(),
        )
        run_grid(grid)


def _tasks(job: Job) -> list[Column]:
    """The columns that are measured, each task once."""
    measured = [stand_in(column, job.config) for column in job.columns]
    return list({(column.source(), column.task): column for column in measured if column is not None}.values())


# Results.


def measure(table: Table, config: Reproduce, line: Line, column: Column) -> Measured:
    """Collect the results of a cell from the run folders."""
    config = change(config, line.changes)
    reason = absence(table, config, line) or missing(column, config)
    if reason:
        return Measured(reason=reason)
    if column.regime == "pretraining":
        return _perplexity(table, config, line)
    measured = stand_in(column, config)
    assert measured is not None, "`missing` gives the reason if no task replaces it"
    task = read_column(measured, config).task
    rows: list[Row] = []
    folders: dict[str, Path] = {}
    for seed in range(config.pretrain_seeds):
        folder = _out(table, config, line, seed)
        its_own = [row for row in read_rows(folder) if _fits(row, measured, task, line)] if folder.is_dir() else []
        rows += [dataclasses.replace(row, pretraining=seed) for row in its_own]
        folders |= {row.id: folder for row in its_own}
    if not rows:
        return Measured(reason="not run yet")
    cell = next(iter(grid(rows).values()))[str(line.readout)]
    return _measured(cell, measured, folders)


def _fits(row: Row, column: Column, task: Task, line: Line) -> bool:
    same = (row.regime, row.task, row.readout) == (column.regime, task.name, str(line.readout))
    suite = task.suite or column.source()
    return same and row.config.get("suite", suite) == suite


def _measured(cell: Cell, column: Column, folders: dict[str, Path]) -> Measured:
    evaluation = column.evaluation or next(iter(cell.rows[0].majority))
    metric = column.metric or cell.rows[0].metric
    values = {seed: 100 * row.metrics[evaluation][metric] for (_, seed), row in cell.ok.items()}
    degenerate = sum(row.is_degenerate(evaluation) for row in cell.ok.values())
    return Measured(values, cell.ok, folders, degenerate, len(cell.rows) - len(cell.ok))


def _perplexity(table: Table, config: Reproduce, line: Line) -> Measured:
    """Perplexity of each pretraining: exp of the last held-out loss over masked tokens."""
    encoder, values = table.encoder(line), {}
    if not is_pretrained_here(encoder, config):
        return Measured(reason="the encoder was not pretrained here")
    for seed in range(config.pretrain_seeds):
        folder = pretraining_run(config, encoder, seed).out
        lines = read_log(folder) if (folder / "metrics.jsonl").exists() else []
        losses = [entry["mlm_loss"] for entry in lines if entry["split"] == "heldout" and "mlm_loss" in entry]
        if losses:
            values[seed] = math.exp(losses[-1])
    return Measured(values, reason="" if values else "not run yet")


class Gap(NamedTuple):
    """The difference of two cells: over all runs that both have, and without pairs that have a degenerate run."""

    every: Estimate
    kept: Estimate | None
    verdict: bool
    """False if all runs of a side are degenerate: such a difference is not judged."""

    @property
    def has_degenerate(self) -> bool:
        """True if a run was left out as degenerate."""
        return self.kept is None or self.kept.runs < self.every.runs


def difference(reference: Measured, other: Measured, column: Column, method: Method = DEFAULT) -> Gap | None:
    """Difference of a line to a reference, paired by pretraining and seed; None if they share no run."""
    if not reference.rows:
        return None
    first = next(iter(reference.rows.values()))
    metric, evaluation = column.metric or first.metric, column.evaluation or next(iter(first.majority))
    if metric.partition("_")[0] not in RESAMPLED:
        return None
    where = reference.folders | other.folders
    every, kept = (
        estimate(sides, evaluation, where, method, metric=metric)
        for sides in ((reference.rows, other.rows), (reference.trained, other.trained))
    )
    verdict = not (reference.says_nothing or other.says_nothing)
    return None if every is None else Gap(every, kept, verdict)
