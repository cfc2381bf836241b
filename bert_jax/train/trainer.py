"""The shared trainer: from a model, an objective and batches to trained parameters and their predictions.

Fine-tuning and the training of sentence vectors add their data, their objective and their evaluation.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol, TypeVar

import jax
import numpy as np
import optax

from bert_jax.config import BertConfig, FinetuneConfig, OptimConfig, Precision, ReadoutConfig, SiameseConfig
from bert_jax.parallel.devices import map_predict_step, map_train_step
from bert_jax.pretrained import Pretrained, init_all, init_without_encoder, with_trained_pooler
from bert_jax.train.loop import Diverged, Metrics, fit
from bert_jax.train.optim import make_optimizer
from bert_jax.train.step import Objective, init_state, make_predict_step, make_train_step
from bert_jax.types import Model, Params, Step, Tree

Outputs = dict[str, np.ndarray]
"""Outputs of a model [rows ...] by the name of their evaluation set."""


Settings = TypeVar("Settings", FinetuneConfig, SiameseConfig)
"""Settings of a training that have an optimizer's."""


class Reader(Model, Protocol):
    """A model over tokens that has a readout, such as `SequenceClassifier`."""

    config: BertConfig
    readout: ReadoutConfig


class Program(NamedTuple):
    """The compiled steps of a model, shared by all runs that differ only in seed, learning rate or data order.

    model: the model in training. train_step: `(state, batch, (key, rate)) -> (state, metrics)`. predict_step:
    `(params, tokens) -> [B ...]`, of the model in evaluation.
    """

    model: Reader
    optimizer: optax.GradientTransformation
    train_step: Step
    predict_step: Step


def make_program(
    model: Reader,
    objective: Objective,
    optim: OptimConfig,
    steps: int,
    evaluated: Reader | None = None,
    precision: Precision = "default",
) -> Program:
    """Map the steps of a model over the devices; nothing is compiled before the first batch.

    Args:
        model: a model over tokens with a readout.
        objective: the objective to minimise.
        optim: settings of the optimizer.
        steps: steps of a run, for the schedule of the learning rate.
        evaluated: the model to evaluate with, if it is another one with the same parameters.
        precision: of float32 products in training.
    """
    optimizer = make_optimizer(optim, steps)
    step = make_train_step(objective, optimizer)
    train_step = map_train_step(lambda state, batch, drawn: step(state, batch, *drawn), precision)
    predict_step = make_predict_step(model if evaluated is None else evaluated)
    return Program(
        model, optimizer, train_step, map_predict_step(predict_step, model.config.compute.evaluation_precision)
    )


def train(
    program: Program,
    params: Params,
    batches: Iterable[Tree],
    key: jax.Array,
    rate: float,
    evaluate: Callable[[Params], Outputs],
    on_step: Callable[[int, Metrics], None],
) -> tuple[Outputs, Params]:
    """Take a step for every batch, then return predictions, and the trained parameters on the devices.

    Args:
        program: from `make_program`.
        params: initial parameters; they are copied.
        batches: one or more batches.
        key: for dropout, together with the step.
        rate: peak of the learning rate.
        evaluate: function from parameters to predictions.
        on_step: called after each step with its number, from 1, and its metrics.

    Raises:
        Diverged: the loss of a step, or a prediction, is not finite.
    """
    begin, drawn = init_state(params, program.optimizer), (key, np.float32(rate))
    for step, state, metrics in fit(program.train_step, begin, batches, drawn):
        on_step(step, metrics)
    outputs = evaluate(state.params)
    # The loss is computed before the update of its step, so that a finite loss does not imply finite weights.
    if not all(np.isfinite(rows).all() for rows in outputs.values()):
        raise Diverged(step, "predictions are not finite after the update")
    return outputs, state.params


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
