"""The programs of a training or an encoder for devices that are not here, with the shapes of their arguments.

They are the steps that a run takes, and need neither data nor weights: to be lowered or compiled, not to be run.
"""

from typing import NamedTuple

import jax
import numpy as np

from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig
from bert_jax.data.objectives import make_objectives
from bert_jax.model.bert import BertForPretraining, SentenceEncoder, SequenceClassifier
from bert_jax.parallel.devices import Devices, map_predict_step, map_train_step
from bert_jax.parallel.population import Layout, lay_out, map_training
from bert_jax.pretrain_config import PretrainConfig
from bert_jax.pretrained import embed_step
from bert_jax.train.finetune import compile_program
from bert_jax.train.pretrain import make_training
from bert_jax.train.step import freeze_diverged, new_member
from bert_jax.types import Model, Params, PretrainBatch, TaskBatch, Tokens, Tree


class Program(NamedTuple):
    """A mapped step, and the shapes of its arguments, all devices together."""

    step: jax.stages.Wrapped
    shapes: tuple[Tree, ...]

    @property
    def state_bytes(self) -> int:
        """Bytes of the first argument."""
        return sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(self.shapes[0]))

    def lower(self, platform: str) -> jax.stages.Lowered:
        """The program before XLA's compiler, for "tpu", "gpu" or "cpu"; no device is needed."""
        traced = self.step.trace(*self.shapes)
        lowered: jax.stages.Lowered = traced.lower(lowering_platforms=("cuda" if platform == "gpu" else platform,))
        return lowered


def pretraining(
    config: PretrainConfig, bert: BertConfig, devices: Devices, rows: int, length: int, runs: int = 1
) -> Program:
    """A step of a pretraining, or of a population of `runs` pretrainings.

    Args:
        config: settings of the run.
        bert: its architecture.
        devices: all devices of the run.
        rows: examples in a step of one run.
        length: tokens in an example.
        runs: number of runs in one program.
    """
    _, optimizer, step = make_training(config, bert, devices)
    model = BertForPretraining(bert, config.nsp_readout)
    batch = pretrain_batch(rows, length, make_objectives(config.objective)[0].num_slots(length))
    member = jax.eval_shape(lambda p: new_member(p, optimizer), _params(model, batch.tokens, batch.masked_positions))
    if runs == 1:
        mapped = map_train_step(step, config.compute.precision, devices)
        return Program(mapped.program, (member.state, batch, _key()))
    layout = lay_out(devices, runs, runs)
    program = map_training(freeze_diverged(step), layout, config.compute.precision)
    shapes = _stacked((member, batch, _key(), _shape((), np.float32)), layout.places)
    return Program(program, shapes)


def finetuning(
    config: FinetuneConfig,
    bert: BertConfig,
    readout: ReadoutConfig,
    num_outputs: int,
    layout: Layout,
    length: int,
    steps: int,
) -> Program:
    """A step of a population of fine-tunings, each with batches of `length` tokens, that takes some steps."""
    found = compile_program(bert, readout, num_outputs, config, steps, layout)
    rows = config.batch_size
    batch = TaskBatch(tokens(rows, length), _shape((rows,), np.int32), _shape((rows,), np.float32))
    params, batch, key, rate = _stacked(
        (_params(SequenceClassifier(bert, readout, num_outputs), batch.tokens), batch, _key(), _shape((), np.float32)),
        layout.places,
    )
    return Program(found.train_step, (jax.eval_shape(found.init, params), batch, key, rate))


def embedding(bert: BertConfig, readout: ReadoutConfig, devices: Devices, rows: int, length: int) -> Program:
    """A step of an encoder that embeds `rows` texts of `length` tokens."""
    step = map_predict_step(embed_step(bert, readout, devices), bert.compute.evaluation_precision, devices)
    inputs = tokens(rows, length)
    return Program(step.program, (_params(SentenceEncoder(bert, readout), inputs), inputs))


def pretrain_batch(rows: int, length: int, slots: int) -> PretrainBatch:
    """Shapes of a batch of `data.examples.PretrainData`."""
    positions, ids, weights = (_shape((rows, slots), dtype) for dtype in (np.int32, np.int32, np.float32))
    is_next, of_rows = _shape((rows,), np.int32), _shape((rows,), np.float32)
    return PretrainBatch(tokens(rows, length), positions, ids, weights, is_next, of_rows)


def tokens(rows: int, length: int) -> Tokens:
    """Shapes of the inputs of an encoder."""
    return Tokens(*(_shape((rows, length), dtype) for dtype in (np.int32, np.int32, bool, bool)))


def _params(model: Model, *inputs: Tree) -> Params:
    """Shapes of a model's parameters; they do not depend on the devices that it is made for."""
    params: Params = jax.eval_shape(lambda key, *inputs: model.init(key, *inputs)["params"], _key(), *inputs)
    return params


def _stacked(tree: Tree, places: int) -> Tree:
    return jax.tree.map(lambda x: _shape((places, *x.shape), x.dtype), tree)


def _shape(shape: tuple[int, ...], dtype: Tree) -> Tree:
    return jax.ShapeDtypeStruct(shape, dtype)


def _key() -> Tree:
    return jax.eval_shape(lambda: jax.random.key(0))
