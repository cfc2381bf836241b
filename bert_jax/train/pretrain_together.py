"""Pretrainings that differ in their seed, as one program."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.errors import InputError
from bert_jax.parallel.population import lay_out, local_devices, map_training, side_by_side
from bert_jax.train.loop import Metrics, dispatch
from bert_jax.train.pretrain import Pretraining
from bert_jax.train.step import Member, TrainState, freeze_diverged
from bert_jax.types import PretrainBatch

StateOf = Callable[[int], TrainState]
"""Returns the state of a run by its number; valid until the next step."""
Arrived = Callable[[int, list[Metrics]], None]
"""Called for every step in order with the metrics of each run."""


class Pretrainings:
    """Several pretrainings, each with its own text, batches and weights. A single one may have several hosts.

    Raises:
        InputError: their networks differ, because their vocabularies have different sizes.
    """

    def __init__(self, jobs: Sequence[Pretraining]) -> None:
        self.jobs, self._layout = jobs, lay_out(local_devices(), len(jobs), len(jobs))
        self._filled = self._layout.fill(jobs)
        if len({job.bert for job in jobs}) > 1:
            sizes = ", ".join(str(job.bert.vocab_size) for job in jobs)
            raise InputError(
                f"--seeds: the runs have vocabularies of {sizes} tokens, and one program has one size. "
                "Prepare a corpus for all of them, and give --corpus"
            )

    def batches(self, first: int) -> Iterator[PretrainBatch]:
        """The batches of all steps from `first` on, counted from 0; for several runs [P B ...]."""
        streams = [job.batches(first) for job in self._filled]
        return streams[0] if len(streams) == 1 else side_by_side(streams)

    def fit(
        self, begin: Sequence[TrainState], batches: Iterable[PretrainBatch], pause: Callable[[int], bool], seen: Arrived
    ) -> Iterator[tuple[int, StateOf]]:
        """Take a step for every batch and yield as `loop.fit` does. Runs with non-finite losses are not stopped here.

        Args:
            begin: the state of each run, after the same number of steps.
            batches: from `batches`.
            pause: as for `loop.fit`.
            seen: called for every step; it may raise `Diverged`.
        """
        if len(self.jobs) == 1:
            yield from self._fit_alone(begin[0], batches, pause, seen)
            return
        job, layout, number = self.jobs[0], self._layout, len(self.jobs)
        step = map_training(freeze_diverged(job.step), layout, job.config.compute.precision)
        members = layout.put(layout.fill([Member(state, np.ones((), bool)) for state in begin]))
        rates = np.full(layout.places, job.config.optim.learning_rate, np.float32)
        drawn = jnp.stack([job.dropout_key for job in self._filled]), rates

        def arrived(step: int, metrics: dict[str, np.ndarray]) -> None:
            seen(step, [{name: float(values[run]) for name, values in metrics.items()} for run in range(number)])

        for count, after, _ in dispatch(step, members, batches, drawn, arrived, int(begin[0].step), pause):
            yield count, functools.partial(_one_of, functools.cache(functools.partial(jax.device_get, after.state)))

    def _fit_alone(
        self, begin: TrainState, batches: Iterable[PretrainBatch], pause: Callable[[int], bool], seen: Arrived
    ) -> Iterator[tuple[int, StateOf]]:
        steps = self.jobs[0].fit(begin, batches, pause, lambda step, metrics: seen(step, [metrics]))
        for step, state, _ in steps:
            yield step, functools.partial(_the_only, state)


def _one_of(fetch: Callable[[], TrainState], run: int) -> TrainState:
    """State of one run of a population, on a device."""
    state: TrainState = jax.device_put(jax.tree.map(lambda leaf: leaf[run], fetch()))
    return state


def _the_only(state: TrainState, run: int) -> TrainState:
    assert run == 0, run
    return state
