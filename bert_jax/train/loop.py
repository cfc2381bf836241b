"""The training loop as a generator: the calling script decides when to log, evaluate and save."""

import math
import statistics
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import jax
import numpy as np

from bert_jax.train.step import TrainState
from bert_jax.types import Step, Tree

Metrics = dict[str, float]
Seen = TypeVar("Seen")

_AHEAD = 2
"""Steps dispatched to the devices beyond the last one whose metrics have arrived."""


_ENOUGH = 20
"""Number of losses from which their median is meaningful."""


class Diverged(ArithmeticError):
    """The loss of a step, or an output of the model after it, is not finite or far too large.

    Attributes:
        step: the step, from 1.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


def check_finite(step: int, metrics: Metrics) -> None:
    """Check the loss of a step.

    Raises:
        Diverged: it is not finite.
    """
    if not math.isfinite(metrics["loss"]):
        raise Diverged(step, f"the loss is {metrics['loss']}")


class Watch:
    """Stop a run whose loss jumps, or whose gradient is not finite; called for every step, see `fit`.

    Args:
        spike: largest loss, as a multiple of the median over the last 100 steps; 0 for no limit. The median needs 20
            losses: a run resumed from a checkpoint starts without any, and misses a jump in its first steps.
    """

    def __init__(self, spike: float) -> None:
        self._spike = spike
        self._losses: deque[float] = deque(maxlen=100)

    def __call__(self, step: int, metrics: Metrics) -> None:
        """Check the metrics of a step.

        Raises:
            Diverged: its loss jumped, or its gradient is not finite.
        """
        loss, norm = metrics["loss"], metrics["grad_norm"]
        check_finite(step, metrics)
        if not math.isfinite(norm):
            raise Diverged(step, f"the norm of the gradient is {norm}")
        median = statistics.median(self._losses) if len(self._losses) >= _ENOUGH else math.inf
        if self._spike and loss > self._spike * median:
            raise Diverged(step, f"the loss is {loss:.3g}, {loss / median:.1f} times its running median,")
        self._losses.append(loss)


def require_finite(step: int, evaluated: Metrics) -> None:
    """Check the metrics of held-out text: the update of a step can spoil the weights after its own loss.

    Raises:
        Diverged: one of them is not finite.
    """
    for name, value in evaluated.items():
        if not math.isfinite(value):
            raise Diverged(step, f"{name} of held-out text is {value} after the update")


def fit(
    train_step: Step,
    state: TrainState,
    batches: Iterable[Tree],
    key: jax.Array,
    pause: Callable[[int], bool] = lambda step: True,
    watch: Callable[[int, Metrics], None] = lambda step, metrics: None,
) -> Iterator[tuple[int, TrainState, Metrics]]:
    """Take a step for every batch and yield (step, state, metrics), steps counted from 1.

    The next batch is fetched while the devices work on the current one. A yielded state is donated to the
    next step: a caller that keeps it must copy it.

    Args:
        train_step: a step from `parallel.map_train_step`.
        state: initial state; its step is the number of steps taken before.
        batches: this host's part of each batch.
        key: for dropout, together with the step.
        pause: called once for each step; the loop yields after the steps for which it is true, and after the
            last one. In between, the devices get the next step before they have finished the previous one.
        watch: called for every step in order, before the yield; it may raise `Diverged`.

    Raises:
        Diverged: a step's loss is not finite.
    """

    def arrived(step: int, metrics: dict[str, np.ndarray]) -> Metrics:
        values = {name: float(value) for name, value in metrics.items()}
        check_finite(step, values)
        watch(step, values)
        return values

    yield from dispatch(train_step, state, batches, (key,), arrived, int(state.step), pause)


def dispatch(
    train_step: Step,
    state: Tree,
    batches: Iterable[Tree],
    drawn: tuple[Tree, ...],
    arrived: Callable[[int, dict[str, np.ndarray]], Seen],
    first: int = 0,
    pause: Callable[[int], bool] = lambda step: False,
) -> Iterator[tuple[int, Tree, Seen]]:
    """The loop of `fit`, for the state and the metrics of one run or of a population.

    Args:
        train_step: `(state, batch, *drawn) -> (state, metrics)`.
        state: initial state.
        batches: a batch for each step.
        drawn: further arguments of every step.
        arrived: called with each step and its metrics in order; its result is yielded.
        first: steps taken before.
        pause: as for `fit`.
    """
    step = first
    iterator = iter(batches)
    batch = next(iterator, None)
    running: deque[tuple[int, dict[str, jax.Array]]] = deque()
    while batch is not None:
        state, metrics = train_step(state, batch, *drawn)
        step += 1
        running.append((step, metrics))
        wanted = pause(step)
        batch = next(iterator, None)
        wanted |= batch is None
        while len(running) > (0 if wanted else _AHEAD):
            done, metrics = running.popleft()
            seen = arrived(done, jax.device_get(metrics))
        if wanted:
            yield step, state, seen
