"""The shared trainer: from a model, an objective and batches to trained parameters and their predictions.

It trains populations: runs of one program that differ in seed and learning rate. A single run is a population of one.
Fine-tuning and the training of sentence vectors add their data, their objective and their evaluation.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.checkpoints.own_pooler import with_trained_pooler
from bert_jax.config import BertConfig, FinetuneConfig, OptimConfig, Precision, ReadoutConfig, SiameseConfig
from bert_jax.parallel.devices import Devices
from bert_jax.parallel.population import (
    Layout,
    map_prediction,
    map_start,
    map_training,
    memory_limit,
    memory_needed,
)
from bert_jax.pretrained import Pretrained, init_all, init_without_encoder
from bert_jax.train.loop import Diverged, dispatch
from bert_jax.train.optim import make_optimizer
from bert_jax.train.step import Objective, freeze_diverged, make_predict_step, make_train_step, new_member
from bert_jax.types import Model, Params, Step, Tree

Outputs = dict[str, np.ndarray]
"""Outputs of a model [rows ...] by the name of their evaluation set; of a population [rows P ...]."""
Settings = TypeVar("Settings", FinetuneConfig, SiameseConfig)
"""Settings of a training that have an optimizer's."""
OnStep = Callable[[int, dict[str, np.ndarray]], None]
"""Called after each step with its number, from 1, and the metrics [P] of its runs."""


class Reader(Model, Protocol):
    """A model over tokens that has a readout, such as `SequenceClassifier`."""

    config: BertConfig
    readout: ReadoutConfig


class Trial(NamedTuple):
    """The differences between the runs of a population: the seed and the peak of the learning rate."""

    seed: int
    learning_rate: float


class Trained(NamedTuple):
    """A run that has finished: its predictions, and its parameters as NumPy arrays."""

    outputs: Outputs
    params: Params


class Program(NamedTuple):
    """The compiled steps of a population, shared by all runs that differ only in seed, learning rate or data order.

    model: the model in training. init: `params [P ...] -> members`. train_step: `(members, batch [P B ...], keys [P],
    rates [P]) -> (members, metrics [P])`. predict_step: `(params [P ...], tokens [B L]) -> [B P ...]`, of the model in
    evaluation.
    """

    model: Reader
    layout: Layout
    init: Step
    train_step: jax.stages.Wrapped
    predict_step: Step


def make_program(
    model: Reader,
    objective: Objective,
    optim: OptimConfig,
    steps: int,
    layout: Layout,
    evaluated: Reader | None = None,
    precision: Precision = "default",
) -> Program:
    """Map the steps of a model over a population; nothing is compiled before the first batch.

    Args:
        model: a model over tokens with a readout.
        objective: the objective to minimise.
        optim: settings of the optimizer; the learning rate is an argument of the step.
        steps: steps of a run, for the schedule of the learning rate.
        layout: of the population.
        evaluated: the model to evaluate with, if it is another one with the same parameters.
        precision: of float32 products in training.
    """
    optimizer = make_optimizer(optim, steps)
    predict_step = make_predict_step(model if evaluated is None else evaluated)
    return Program(
        model,
        layout,
        map_start(lambda params: new_member(params, optimizer), layout),
        map_training(freeze_diverged(make_train_step(objective, optimizer)), layout, precision),
        map_prediction(predict_step, layout, model.config.compute.evaluation_precision),
    )


def train(
    program: Program,
    params: Sequence[Params],
    batches: Iterable[Tree],
    keys: Sequence[jax.Array],
    rates: Sequence[float],
    evaluate: Callable[[Params], Outputs],
    on_step: OnStep,
) -> list[Trained | Diverged]:
    """Take a step for every batch, then return the predictions and parameters of each run, or why it has none.

    Args:
        program: from `make_program`.
        params: initial parameters of each run; they are copied.
        batches: one or more batches [P B ...].
        keys: of each run, for dropout, together with the step.
        rates: peak of the learning rate of each run.
        evaluate: function from the parameters [P ...] to predictions.
        on_step: called while any run goes on.
    """
    failed: dict[int, Diverged] = {}

    def arrived(step: int, metrics: dict[str, np.ndarray]) -> None:
        for place in np.flatnonzero(~np.isfinite(metrics["loss"])).tolist():
            failed.setdefault(place, Diverged(step, f"the loss is {metrics['loss'][place]}"))
        if len(failed) == len(params):
            raise failed[max(failed, key=lambda place: failed[place].step)]
        on_step(step, metrics)

    begin = program.init(program.layout.put(params))
    drawn = jnp.stack(keys), np.array(rates, np.float32)
    try:
        *_, (step, members, _) = dispatch(program.train_step, begin, batches, drawn, arrived)
    except Diverged:  # the last run that was left
        return [failed[place] for place in range(len(params))]
    outputs = evaluate(members.state.params)
    # The loss is computed before the update of its step, so that a finite loss does not imply finite weights.
    for place in range(len(params)):
        if not all(np.isfinite(rows[:, place]).all() for rows in outputs.values()):
            failed.setdefault(place, Diverged(step, "predictions are not finite after the update"))
    trained = jax.device_get(members.state.params)
    return [failed.get(place) or _of_run(place, outputs, trained) for place in range(len(params))]


def _of_run(place: int, outputs: Outputs, params: Params) -> Trained:
    rows = {name: found[:, place] for name, found in outputs.items()}
    return Trained(rows, jax.tree.map(lambda x: x[place], params))


def fitting(program: Program, params: Params, batch: Tree, devices: Devices) -> int:
    """The number of runs that fit into the memory of the devices, by the analysis of the compiled step of one run.

    1 on devices that do not tell their memory, such as CPUs, where populations gain nothing.

    Args:
        program: of a population of one, on one device.
        params: initial parameters of a run.
        batch: of the largest shape [B ...].
        devices: to train on.
    """
    limit = memory_limit(devices[0])
    if limit is None:
        return 1
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *jnp.shape(x)), x.dtype), (params, batch, jax.random.key(0)))
    members = jax.eval_shape(program.init, one[0])
    compiled = program.train_step.lower(members, *one[1:], np.ones(1, np.float32)).compile()
    return max(1, int(limit / memory_needed(compiled)) * len(devices))


def of_one(on_step: Callable[[int, dict[str, float]], None]) -> OnStep:
    """`on_step` for a population of one."""
    return lambda step, metrics: on_step(step, {name: float(values[0]) for name, values in metrics.items()})


def initial_params(pretrained: Pretrained, model: Reader, key: jax.Array, from_scratch: bool = False) -> Params:
    """The checkpoint's encoder with a fresh readout and heads, and its trained pooler if the readout needs it.

    With `from_scratch`, nothing is taken from the checkpoint.

    Raises:
        InputError: the readout needs weights that the checkpoint lacks.
    """
    if from_scratch:
        return init_all(model, key)
    fresh = init_without_encoder(model, key)
    reader = with_trained_pooler(fresh.pop("reader", {}), model.readout, pretrained.checkpoint)
    return {"encoder": pretrained.checkpoint.encoder} | fresh | ({"reader": reader} if reader else {})


def with_learning_rate(config: Settings, rate: float) -> Settings:
    """The settings with another peak learning rate."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, learning_rate=rate))


def for_all_rates(config: Settings) -> Settings:
    """The same settings whatever their learning rate, for programs that take the rate as data."""
    return with_learning_rate(config, 1.0)


def count_steps(rows: int, epochs: int, batch_size: int) -> int:
    """Optimizer steps of some epochs; the last batch of each epoch may be smaller.

    >>> count_steps(17, 2, 8)
    6
    """
    return epochs * -(-rows // batch_size)


def with_dropout(bert: BertConfig, rate: float | None) -> BertConfig:
    """The architecture with another dropout rate everywhere; None keeps its own rates."""
    return bert if rate is None else dataclasses.replace(bert, dropout=rate, attention_dropout=rate)
