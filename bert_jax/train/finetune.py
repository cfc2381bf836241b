"""One fine-tuning run: an encoder, a task, a readout and a seed to predictions."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.export import Tuned
from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig
from bert_jax.data.batching import Examples, choose_buckets, encode_split, task_batches
from bert_jax.model.bert import SequenceClassifier
from bert_jax.parallel.devices import map_predict_step, map_train_step
from bert_jax.parallel.inference import predict_rows
from bert_jax.pretrained import Pretrained, check_segments, init_all, init_without_encoder, with_trained_pooler
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.train.loop import Diverged, fit
from bert_jax.train.optim import make_optimizer
from bert_jax.train.step import init_state, make_predict_step, make_train_step, task_objective
from bert_jax.types import Params


class TaskData(NamedTuple):
    """A task, tokenised. evaluations: by name, in the task's order. buckets: lengths that fit every row."""

    task: Task
    train: Examples
    evaluations: dict[str, Examples]
    buckets: tuple[int, ...]


class Program(NamedTuple):
    """What is compiled for a model, shared by all runs that differ in seed or data order only."""

    model: SequenceClassifier
    optimizer: optax.GradientTransformation
    train_step: Callable[..., Any]
    predict_step: Callable[..., Any]


def prepare_task(
    task: Task, tokenizer: Tokenizer, train: Split, evaluations: dict[str, Split], config: FinetuneConfig
) -> TaskData:
    """Tokenise a task and choose its bucket lengths."""
    limit = config.max_length
    encoded = {k: encode_split(tokenizer, split, limit, f"{task.title}, {k}") for k, split in evaluations.items()}
    examples = encode_split(tokenizer, train, limit, f"{task.title}, {task.train}")
    lengths = np.concatenate([examples.lengths, *(e.lengths for e in encoded.values())])
    return TaskData(task, examples, encoded, choose_buckets(lengths, config.num_buckets, config.max_length))


def num_steps(data: TaskData, config: FinetuneConfig) -> int:
    """Optimizer steps of a run."""
    return config.epochs * -(-len(data.train.encodings) // config.batch_size)


def finetune(
    pretrained: Pretrained,
    data: TaskData,
    readout: ReadoutConfig,
    config: FinetuneConfig,
    seed: int,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    on_trained: Callable[[Tuned], None] = lambda tuned: None,
) -> dict[str, np.ndarray]:
    """Fine-tune all weights on a task; gives the logits [rows C] of each evaluation set.

    `on_step` is told of every step, `on_trained` of the model that gave these logits.

    The seed decides the fresh weights, the order of the examples and the dropout. Two readouts with one
    seed see the same batches in the same order.

    Raises:
        Diverged: the loss of a step, or what the trained model predicts, is not finite.
        InputError: the readout needs weights that the checkpoint lacks; pairs for an encoder of one segment.
    """
    for examples in (data.train, *data.evaluations.values()):
        check_segments(pretrained.config, examples.encodings)
    program = compile_program(pretrained.config, readout, data.task.num_outputs, config, num_steps(data, config))
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    state = init_state(initial_params(pretrained, program.model, init_key, config.from_scratch), program.optimizer)
    batches = task_batches(data.train, data.buckets, config.batch_size, seed, config.epochs)
    for step, trained, metrics in fit(program.train_step, state, batches, dropout_key):
        on_step(step, metrics)
    logits = {
        name: predict_rows(
            program.predict_step, trained.params, e.encodings, e.special, config.eval_batch_size, data.buckets
        )
        for name, e in data.evaluations.items()
    }
    # A finite loss says nothing of the weights that its own step made.
    if not all(np.isfinite(rows).all() for rows in logits.values()):
        raise Diverged(step, "predictions are not finite after the update")
    on_trained(_tuned(pretrained, data.task, readout, trained.params))
    return logits


def _tuned(pretrained: Pretrained, task: Task, readout: ReadoutConfig, params: Params) -> Tuned:
    params = jax.device_get(params)
    checkpoint = Checkpoint(pretrained.config, params["encoder"], carried=pretrained.checkpoint.carried)
    return Tuned(checkpoint, readout, params.get("reader", {}), params["classifier"], task.classes)


def initial_params(
    pretrained: Pretrained, model: SequenceClassifier, key: jax.Array, from_scratch: bool = False
) -> Params:
    """The checkpoint's encoder, and a fresh readout and classifier; its trained pooler where the readout asks.

    From scratch, nothing of the checkpoint is taken.
    """
    if from_scratch:
        return init_all(model, key)
    fresh = init_without_encoder(model, key)
    reader = with_trained_pooler(fresh.get("reader", {}), model.readout, pretrained.checkpoint)
    return {"encoder": pretrained.checkpoint.encoder, "classifier": fresh["classifier"]} | (
        {"reader": reader} if reader else {}
    )


@lru_cache(maxsize=64)
def compile_program(
    bert: BertConfig, readout: ReadoutConfig, num_outputs: int, config: FinetuneConfig, steps: int
) -> Program:
    """The mapped steps of a classifier; the same arguments give the same, already compiled ones."""
    if config.dropout is not None:
        bert = dataclasses.replace(bert, dropout=config.dropout, attention_dropout=config.dropout)
    model = SequenceClassifier(bert, readout, num_outputs)
    optimizer = make_optimizer(config.optim, steps)
    train_step = map_train_step(make_train_step(task_objective(model), optimizer), config.precision)
    predict_step = map_predict_step(make_predict_step(model), bert.compute.evaluation_precision)
    return Program(model, optimizer, train_step, predict_step)


def with_learning_rate(config: FinetuneConfig, rate: float) -> FinetuneConfig:
    """The same run at another peak learning rate."""
    return dataclasses.replace(config, optim=dataclasses.replace(config.optim, learning_rate=rate))
