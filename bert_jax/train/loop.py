"""The loop, as a generator: the script that consumes it logs, evaluates and saves as it likes."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from bert_jax.train.parallel import split_batch
from bert_jax.train.step import TrainState

Metrics = dict[str, float]


class Diverged(ArithmeticError):
    """The loss of a step, or what the model gives after it, is not finite.

    Attributes:
        step: the step, from 1.
    """

    def __init__(self, step: int, what: str) -> None:
        super().__init__(f"{what} at step {step}")
        self.step = step


def fit(
    train_step: Callable[..., Any], state: TrainState, batches: Iterable[Any], key: jax.Array
) -> Iterator[tuple[int, TrainState, Metrics]]:
    """Take a step for every batch and yield (step, state, metrics), steps counted from 1.

    The next batch is prepared while the devices work on this one. A yielded state is donated to the
    next step: whoever keeps it must copy it.

    Raises:
        Diverged: a step's loss is not finite.
    """
    step = int(state.step)
    iterator = iter(batches)
    batch = next(iterator, None)
    while batch is not None:
        state, metrics = train_step(state, split_batch(batch), key)
        batch = next(iterator, None)
        step += 1
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        if not math.isfinite(values["loss"]):
            raise Diverged(step, f"the loss is {values['loss']}")
        yield step, state, values
