"""Grids of runs: list the runs of a grid and execute those missing from a run folder."""

import itertools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bert_jax.config import BertConfig, ReadoutConfig, Together
from bert_jax.files import Json, Settings
from bert_jax.parallel.devices import Devices
from bert_jax.parallel.population import local_devices
from bert_jax.pretrained import load
from bert_jax.study.evaluation_rows import note_examples
from bert_jax.study.kept import SCORES, TESTS, has_kept, write_kept
from bert_jax.study.plan import note_command, note_plan
from bert_jax.study.progress import duration, progress_bar
from bert_jax.study.regime import Bench, ModelOf, Regime
from bert_jax.study.regimes import REGIMES
from bert_jax.study.run import Blind, EncoderId, Run, identify_encoder
from bert_jax.study.sources import TaskSplits
from bert_jax.study.store import DATA, Absent, ResultStore, Row, read_rows
from bert_jax.tasks.task import Task
from bert_jax.train.trainer import with_learning_rate


@dataclass(frozen=True)
class Grid:
    """Regimes x tasks x readouts x seeds on one encoder, times learning rates for regimes that train."""

    out: Path
    """Run folder."""
    architecture: BertConfig
    """Architecture of the encoder, for checks before it is pretrained or loaded."""
    encoder: Callable[[], Path]
    """Returns the folder of the encoder, after pretraining it if necessary."""
    settings: Settings
    """Regime -> its settings, for the regimes of the grid, in order."""
    tasks: Sequence[Task]
    read: Callable[[Task], TaskSplits]
    """Returns the splits of a task."""
    readouts: Sequence[ReadoutConfig]
    seeds: Sequence[int] = (0,)
    learning_rates: Sequence[float] = ()
    """Learning rates of regimes that train; by default the one in their settings."""
    select: str = "evaluation"
    """Rows that choose among several rates: heldout, a tenth of the training rows, or evaluation, those scored on."""
    blinds: Sequence[Blind | None] = (None,)
    """Blocks in which [CLS] attends only to itself, one run each; None for the unchanged encoder."""
    name: str | None = None
    """Name of the encoder in tables; by default that of its folder."""
    labels: Settings = field(default_factory=dict)
    """Further entries of `run.LABELS` for rows and `experiment.json`."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Title -> reason, for requested tasks without data."""
    together: Together = "auto"
    """Largest number of runs that train as one program."""
    devices: Devices = field(default_factory=local_devices)
    """Devices to train on."""
    model_of: ModelOf = None
    """Folder for the model of a run, if models are kept; a run whose model is missing is repeated."""
    keep: Collection[str] = ()
    """Kinds of `kept.Kept` to keep; a run that lacks one is repeated."""
    command: str = ""
    """The command that asked for the grid, kept in the run folder; empty if there was none."""


def run_grid(grid: Grid) -> list[Run]:
    """Execute the missing runs of a grid and return all its runs. User errors are raised before any run.

    Raises:
        InputError: readouts, settings or data are invalid, or the run folder holds another experiment or cannot be
            written.
    """
    check_readouts(grid)
    splits = {task.name: grid.read(task) for task in grid.tasks if _regimes_for(grid, task)}
    folder = grid.encoder()
    for (name, settings), task in itertools.product(grid.settings.items(), grid.tasks):
        REGIMES[name].check_task(task, folder, settings)
    encoder = identify_encoder(folder, grid.name)
    runs = list(make_runs(grid, encoder, splits))
    store = ResultStore(grid.out, _experiment(grid, encoder, splits), [regime.settings for regime in REGIMES.values()])
    note_plan(grid.out, runs)
    note_command(grid.out, grid.command)
    note_examples(grid.out, splits)
    if absent := _absent(grid):
        store.note_absent(absent)
    run_missing(grid, store, folder, runs, splits)
    return runs


def check_readouts(grid: Grid) -> None:
    """Raise for readouts that the encoder cannot compute, or, if models are kept, whose models cannot be saved."""
    for (name, settings), readout in itertools.product(grid.settings.items(), grid.readouts):
        REGIMES[name].check(readout, grid.architecture, settings)
        if grid.model_of is not None:
            REGIMES[name].check_kept(readout, grid.architecture)


def make_runs(grid: Grid, encoder: EncoderId, splits: Mapping[str, TaskSplits]) -> Iterator[Run]:
    """All runs by regime, task, then seed, so that the readouts of one seed, which form pairs, finish together."""
    digests = {name: found.digests() for name, found in splits.items()}
    for task, regime in ((task, regime) for name in grid.settings for task in grid.tasks for regime in [REGIMES[name]]):
        if regime.why_not(task) is not None:
            continue
        seeds = grid.seeds if regime.has_seeds and regime.is_random(task) else grid.seeds[:1]
        for seed, settings, blind, readout in itertools.product(
            seeds, _with_rates(grid, regime), grid.blinds, grid.readouts
        ):
            yield Run(
                regime.name,
                task,
                readout,
                seed,
                settings,
                encoder,
                digests[task.name],
                regime.settings,
                settings.optim.learning_rate if regime.trains else None,
                blind,
                regime.holds_out and grid.select == "heldout" and len(grid.learning_rates) > 1,
                _labels(grid, splits[task.name]),
            )


def run_missing(
    grid: Grid, store: ResultStore, folder: Path, runs: Sequence[Run], splits: Mapping[str, TaskSplits]
) -> None:
    """Execute those of `runs` that are missing from the store, or whose model is to be kept and is missing."""
    finished = store.finished()
    pending = [
        run for run in runs if run.id not in finished or _lacks_model(grid, run) or _lacks_kept(grid, run, splits)
    ]
    if not pending:
        print(f"nothing to run: all {len(runs)} runs are in {grid.out}", file=sys.stderr)
        return
    print(_announce(pending, len(runs), read_rows(grid.out)), file=sys.stderr)
    pretrained = load(folder, encoder_only=True)
    print(f"{folder}: {pretrained.tokenizer.casing}", file=sys.stderr)
    for regime, readout in dict.fromkeys((run.regime, run.readout) for run in pending):
        REGIMES[regime].check_weights(pretrained, readout)
    with progress_bar() as bar:
        total = bar.add_task("runs", total=len(runs), completed=len(runs) - len(pending), note="")
        bench = Bench(pretrained, folder, bar, grid.out, grid.devices, grid.together, grid.model_of)
        for (name, task), alike in itertools.groupby(pending, key=lambda run: (run.regime, run.task.name)):
            for row, predictions, kept in REGIMES[name].run(bench, splits[task], list(alike)):
                write_kept(grid.out, row.id, {kind: kept[kind] for kind in grid.keep if kind in kept})
                if row.id not in finished:
                    store.append(row, predictions)
                bar.advance(total)
                bar.update(total, note=f"{row.title} {row.name} seed {row.seed}")


def _announce(pending: Sequence[Run], total: int, rows: Sequence[Row]) -> str:
    """The number of runs to do, and the time they take if there are rows like each of them."""
    seconds: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        seconds.setdefault((row.regime, row.task), []).append(row.seconds)
    known = [seconds.get((run.regime, run.task.name)) for run in pending]
    times = [sum(found) / len(found) for found in known if found]
    about = f", about {duration(sum(times))}" if len(times) == len(pending) else ""
    there = f" of {total}" if total > len(pending) else ""
    return f"{len(pending)}{there} runs to do{about}"


def _regimes_for(grid: Grid, task: Task) -> list[str]:
    return [name for name in grid.settings if REGIMES[name].why_not(task) is None]


def _with_rates(grid: Grid, regime: Regime) -> list[Any]:
    """The settings of a regime, once for each learning rate."""
    settings = grid.settings[regime.name]
    if not regime.trains:
        return [settings]
    rates = grid.learning_rates or (settings.optim.learning_rate,)
    return [with_learning_rate(settings, rate) for rate in rates]


def _labels(grid: Grid, splits: TaskSplits) -> Json:
    suite = {"suite": splits.task.suite} if splits.task.suite else {}
    return suite | {**grid.labels} | ({"train": splits.train_names} if splits.train_names else {})


def _experiment(grid: Grid, encoder: EncoderId, splits: Mapping[str, TaskSplits]) -> Json:
    """The contents of `experiment.json`. Tasks, seeds, readouts and regimes can be added to a run folder later."""
    # The suite is part of the key because suites share task names: STS-B is in GLUE and in the similarity sets.
    prefix = {name: f"{found.task.suite}/" if found.task.suite else "" for name, found in splits.items()}
    return {
        "encoder": encoder.name,
        "encoder_weights": encoder.weights,
        "tokenizer": encoder.tokenizer,
        "tuned_before": encoder.tuned_before,
        **grid.labels,
        DATA: {prefix[name] + name: found.digests() for name, found in splits.items()},
        **{REGIMES[name].settings: settings for name, settings in grid.settings.items()},
    }


def _absent(grid: Grid) -> Absent:
    """Regime -> title -> reason, for the tasks that get no row."""
    found: Absent = {}
    for name in grid.settings:
        reasons = {task.title: why for task in grid.tasks if (why := REGIMES[name].why_not(task))}
        if reasons | dict(grid.absent):
            found[name] = reasons | dict(grid.absent)
    return found


def _lacks_kept(grid: Grid, run: Run, splits: Mapping[str, TaskSplits]) -> bool:
    """True for a finished run that must be repeated for what it is to leave besides."""
    has = {TESTS: bool(splits[run.task.name].tests), SCORES: not run.task.is_regression}
    kinds = [kind for kind in grid.keep if has[kind] and kind in REGIMES[run.regime].keeps]
    return any(not has_kept(grid.out, run.id, kind) for kind in kinds) and _is_ok(grid, run)


def _is_ok(grid: Grid, run: Run) -> bool:
    return any(row.id == run.id and row.ok for row in read_rows(grid.out))


def _lacks_model(grid: Grid, run: Run) -> bool:
    """True for a finished run that must be repeated for its model. Diverged runs have none and would diverge again."""
    if grid.model_of is None or not REGIMES[run.regime].trains or grid.model_of(run).exists():
        return False
    return _is_ok(grid, run)
