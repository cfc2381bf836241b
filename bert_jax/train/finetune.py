"""Fine-tuning: from an encoder, a task, a readout, seeds and learning rates to predictions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.export import Tuned
from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig
from bert_jax.data.batching import Examples, Plan, choose_buckets, encode_split, task_batch, task_batches
from bert_jax.data.one_segment import check_segments
from bert_jax.model.bert import SequenceClassifier
from bert_jax.parallel.devices import Devices, target
from bert_jax.parallel.inference import predict_rows
from bert_jax.parallel.population import Layout, local_devices, side_by_side
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.train.loop import Diverged
from bert_jax.train.step import task_objective
from bert_jax.train.trainer import (
    OnStep,
    Outputs,
    Program,
    Trained,
    Trial,
    count_steps,
    fitting,
    for_all_rates,
    initial_params,
    make_program,
    of_one,
    train,
    with_dropout,
)
from bert_jax.types import Params


class TaskData(NamedTuple):
    """A task, tokenised. evaluations: by name, in the task's order. buckets: lengths that fit every row of these.

    tests, test_buckets: further rows to predict, which must not decide the lengths that training rows are padded to.
    """

    task: Task
    train: Examples
    evaluations: dict[str, Examples]
    buckets: tuple[int, ...]
    tests: dict[str, Examples] = {}  # noqa: RUF012 - never written to
    test_buckets: tuple[int, ...] = ()


def prepare_task(
    task: Task,
    tokenizer: Tokenizer,
    train: Split,
    evaluations: Mapping[str, Split],
    config: FinetuneConfig,
    tests: Mapping[str, Split] = MappingProxyType({}),
) -> TaskData:
    """Tokenise a task and choose its bucket lengths."""

    def encode(splits: Mapping[str, Split]) -> dict[str, Examples]:
        found = splits.items()
        return {k: encode_split(tokenizer, split, config.max_length, f"{task.title}, {k}") for k, split in found}

    def buckets(examples: Iterable[Examples]) -> tuple[int, ...]:
        lengths = np.concatenate([np.zeros(0, int), *(e.lengths for e in examples)])
        return choose_buckets(lengths, config.num_buckets, config.max_length) if len(lengths) else ()

    examples = encode_split(tokenizer, train, config.max_length, f"{task.title}, {task.train}")
    scored, unscored = encode(evaluations), encode(tests)
    own = buckets([examples, *scored.values()])
    return TaskData(task, examples, scored, own, unscored, buckets(unscored.values()))


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

    Raises:
        Diverged: the loss of a step, or a prediction of the trained model, is not finite.
        InputError: the readout needs weights that the checkpoint lacks; pairs for an encoder of one segment.
    """
    trials, layout = [Trial(seed, config.optim.learning_rate)], Layout(local_devices())
    (run,) = finetune_together(pretrained, data, readout, config, trials, layout, of_one(on_step))
    if isinstance(run, Diverged):
        raise run
    on_trained(tuned(pretrained, data.task, readout, run.params))
    return run.outputs


def finetune_together(
    pretrained: Pretrained,
    data: TaskData,
    readout: ReadoutConfig,
    config: FinetuneConfig,
    trials: Sequence[Trial],
    layout: Layout,
    on_step: OnStep = lambda step, metrics: None,
) -> list[Trained | Diverged]:
    """Fine-tune all weights on a task, once for each trial, as one program; outputs are logits [rows C] of all sets.

    A seed determines the fresh weights, the rows of each batch and the dropout. At each step all seeds have batches of
    one length. Two readouts with the same seed get the same batches in the same order. A run has the same result, up to
    rounding, in any population.

    Raises:
        InputError: the readout needs weights that the checkpoint lacks; pairs for an encoder of one segment.
    """
    for examples in (data.train, *data.evaluations.values(), *data.tests.values()):
        check_segments(pretrained.config, examples.encodings)
    program = _program(pretrained, data, readout, config, layout)
    filled = layout.fill(trials)
    split = [jax.random.split(jax.random.key(trial.seed)) for trial in filled]
    params = [initial_params(pretrained, program.model, key, config.from_scratch) for key, _ in split]
    batches = side_by_side(
        task_batches(data.train, data.buckets, config.batch_size, trial.seed, config.epochs) for trial in filled
    )

    def evaluate(params: Params) -> Outputs:
        return {
            name: predict_rows(program.predict_step, params, e.encodings, e.special, config.eval_batch_size, buckets)
            for sets, buckets in ((data.evaluations, data.buckets), (data.tests, data.test_buckets))
            for name, e in sets.items()
        }

    rates = [trial.learning_rate for trial in filled]
    runs = train(program, params, batches, [key for _, key in split], rates, evaluate, on_step)
    return runs[: len(trials)]


def fitting_runs(
    pretrained: Pretrained, data: TaskData, readout: ReadoutConfig, config: FinetuneConfig, devices: Devices
) -> int:
    """The number of runs that fit into the memory of the devices; see `trainer.fitting`."""
    program = _program(pretrained, data, readout, config, Layout(devices[:1]))
    params = initial_params(pretrained, program.model, jax.random.key(0), config.from_scratch)
    batch = task_batch(data.train, Plan(np.zeros(0, int), data.buckets[-1]), config.batch_size)
    return fitting(program, params, batch, devices)


def tuned(pretrained: Pretrained, task: Task, readout: ReadoutConfig, params: Params) -> Tuned:
    """The trained model in a form that can be saved."""
    checkpoint = Checkpoint(pretrained.config, params["encoder"], carried=pretrained.checkpoint.carried)
    return Tuned(checkpoint, readout, params.get("reader", {}), params["classifier"], task.classes)


def _program(
    pretrained: Pretrained, data: TaskData, readout: ReadoutConfig, config: FinetuneConfig, layout: Layout
) -> Program:
    outputs, steps = data.task.num_outputs, num_steps(data, config)
    return compile_program(pretrained.config, readout, outputs, for_all_rates(config), steps, layout)


@lru_cache(maxsize=64)
def compile_program(
    bert: BertConfig, readout: ReadoutConfig, num_outputs: int, config: FinetuneConfig, steps: int, layout: Layout
) -> Program:
    """The mapped steps of a classifier; the same arguments return the same, already compiled steps."""
    model = SequenceClassifier(with_dropout(bert, config.dropout), readout, num_outputs, target(layout.devices))
    return make_program(model, task_objective(model), config.optim, steps, layout, precision=config.precision)
