"""Populations of runs: those that one program can train together."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from rich.progress import TaskID

from bert_jax.config import ReadoutConfig
from bert_jax.parallel.population import Layout, lay_out
from bert_jax.study.regime import Bench
from bert_jax.study.run import Run
from bert_jax.train.loop import Diverged
from bert_jax.train.trainer import OnStep, Trained, Trial

Train = Callable[[Sequence[Run], list[Trial], Layout, OnStep], list[Trained | Diverged]]
"""`(runs, trials, layout, on_step)` to the result of each run, in their order."""


def train_runs(
    bench: Bench, title: str, steps: int, runs: Sequence[Run], fitting: Callable[[Run], int], train: Train
) -> Iterator[tuple[Run, Trained | Diverged, float]]:
    """Train runs that differ in readout, seed and learning rate; yield each with its result and its seconds.

    The runs of a population finish together. Each gets an equal share of their time.

    Args:
        bench: resources, among them the devices and the largest population.
        title: name of the task in the progress bar.
        steps: steps of a run.
        runs: runs of one task that differ in nothing else.
        fitting: the number of runs like a given one that fit into the memory of the devices.
        train: trains a population.
    """
    limit_of = fitting if bench.together == "auto" else partial(_limited, bench.together)
    for alike, size, limit in populations(runs, limit_of):
        line = bench.bar.add_task(f"{title} {name(alike)}", total=steps, note="")
        start = time.perf_counter()
        try:
            trials = [Trial(run.seed, run.settings.optim.learning_rate) for run in alike]
            layout = lay_out(bench.devices, size, limit)
            found = train(alike, trials, layout, partial(_show, bench, line))
        finally:
            bench.bar.remove_task(line)
        seconds = (time.perf_counter() - start) / len(alike)
        yield from ((run, result, seconds) for run, result in zip(alike, found, strict=True))


class Population(NamedTuple):
    """Runs of one readout. size: of its largest population. limit: the largest size that fits into memory."""

    runs: list[Run]
    size: int
    limit: int


def populations(runs: Sequence[Run], limit_of: Callable[[Run], int]) -> Iterator[Population]:
    """Divide runs into populations of equal size, but for the last of each readout; with a limit of 1, in their order.

    Args:
        runs: runs that differ only in readout, seed and learning rate.
        limit_of: largest population of runs like a given one.
    """
    left, sizes = list(runs), dict[ReadoutConfig, tuple[int, int]]()
    while left:
        readout = left[0].readout
        alike = [run for run in left if run.readout == readout]
        if readout not in sizes:
            limit = limit_of(left[0])
            sizes[readout] = -(-len(alike) // -(-len(alike) // limit)), limit
        size, limit = sizes[readout]
        yield Population(alike[:size], size, limit)
        left = [run for run in left if run not in alike[:size]]


def name(runs: Sequence[Run]) -> str:
    """Readout, seeds and, where there are several, learning rates, as in progress bars."""
    seeds, rates = (
        list(dict.fromkeys(values)) for values in zip(*((r.seed, r.learning_rate) for r in runs), strict=True)
    )
    shown = f"{runs[0].readout} seed {', '.join(map(str, seeds))}"
    return shown + (f" rate {', '.join(map(str, rates))}" if len(rates) > 1 else "")


def _limited(limit: int, run: Run) -> int:
    return limit


def _show(bench: Bench, line: TaskID, step: int, metrics: dict[str, np.ndarray]) -> None:
    losses = metrics["loss"]
    bench.bar.update(line, completed=step, note=f"loss {losses[np.isfinite(losses)].mean():.3f}")
