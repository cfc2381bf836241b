"""One fine-tuning run: from an encoder, a task, a readout and a seed to predictions."""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.export import Tuned
from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig
from bert_jax.data.batching import Examples, choose_buckets, encode_split, task_batches
from bert_jax.model.bert import SequenceClassifier
from bert_jax.parallel.devices import target
from bert_jax.parallel.inference import predict_rows
from bert_jax.pretrained import Pretrained, check_segments
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.train.step import task_objective
from bert_jax.train.trainer import (
    Outputs,
    Program,
    count_steps,
    for_all_rates,
    initial_params,
    make_program,
    train,
    with_dropout,
)
from bert_jax.types import Params


class TaskData(NamedTuple):
    """A task, tokenised. evaluations: by name, in the task's order. buckets: lengths that fit every row."""

    task: Task
    train: Examples
    evaluations: dict[str, Examples]
    buckets: tuple[int, ...]


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
    return count_steps(len(data.train.encodings), config.epochs, config.batch_size)


def finetune(
    pretrained: Pretrained,
    data: TaskData,
    readout: ReadoutConfig,
    config: FinetuneConfig,
    seed: int,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
    on_trained: Callable[[Tuned], None] = lambda tuned: None,
) -> dict[str, np.ndarray]:
    """Fine-tune all weights on a task and return the logits [rows C] of each evaluation set.

    `on_step` is called after every step, `on_trained` with the trained model that computed these logits.

    The seed determines the fresh weights, the order of the examples and the dropout. Two readouts with the
    same seed get the same batches in the same order.

    Raises:
        Diverged: the loss of a step, or a prediction of the trained model, is not finite.
        InputError: the readout needs weights that the checkpoint lacks; pairs for an encoder of one segment.
    """
    for examples in (data.train, *data.evaluations.values()):
        check_segments(pretrained.config, examples.encodings)
    shared, steps = for_all_rates(config), num_steps(data, config)
    program = compile_program(pretrained.config, readout, data.task.num_outputs, shared, steps)
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    params = initial_params(pretrained, program.model, init_key, config.from_scratch)
    batches = task_batches(data.train, data.buckets, config.batch_size, seed, config.epochs)

    def evaluate(params: Params) -> Outputs:
        return {
            name: predict_rows(
                program.predict_step, params, e.encodings, e.special, config.eval_batch_size, data.buckets
            )
            for name, e in data.evaluations.items()
        }

    rate = config.optim.learning_rate
    logits, params = train(program, params, batches, dropout_key, rate, evaluate, on_step)
    on_trained(_tuned(pretrained, data.task, readout, params))
    return logits


def _tuned(pretrained: Pretrained, task: Task, readout: ReadoutConfig, params: Params) -> Tuned:
    params = jax.device_get(params)
    checkpoint = Checkpoint(pretrained.config, params["encoder"], carried=pretrained.checkpoint.carried)
    return Tuned(checkpoint, readout, params.get("reader", {}), params["classifier"], task.classes)


@lru_cache(maxsize=64)
def compile_program(
    bert: BertConfig, readout: ReadoutConfig, num_outputs: int, config: FinetuneConfig, steps: int
) -> Program:
    """The mapped steps of a classifier; the same arguments return the same, already compiled steps."""
    model = SequenceClassifier(with_dropout(bert, config.dropout), readout, num_outputs, target())
    return make_program(model, task_objective(model), config.optim, steps, precision=config.precision)
