"""Pretraining from random initialisation: the parts of a run. `experiments/pretrain.py` runs it."""

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax.checkpoints.checkpoint import Carried, Checkpoint
from bert_jax.config import BertConfig, ReadoutConfig, preset
from bert_jax.corpus.corpus import Corpus
from bert_jax.data.examples import PretrainData
from bert_jax.data.objectives import make_objectives
from bert_jax.errors import InputError
from bert_jax.model import readout as readouts
from bert_jax.model.bert import BertForPretraining
from bert_jax.parallel.devices import (
    Devices,
    add_devices,
    check_batch_size,
    map_eval_step,
    map_train_step,
    rows_of_this_host,
    target,
    this_host,
)
from bert_jax.pretrain_config import PretrainConfig
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.tokenizers.unknown import describe_unknown
from bert_jax.train.loop import Metrics, fit
from bert_jax.train.losses import Ratio, Terms
from bert_jax.train.optim import make_optimizer, schedule
from bert_jax.train.step import Objective, TrainState, init_state, make_train_step, pretrain_objective
from bert_jax.train.throughput import flops_per_sequence
from bert_jax.train.trainer import with_dropout
from bert_jax.types import Params, PretrainBatch, Step

_STAGE = 2
"""Folded into the seed, so that fine-tuning with the same seed does not draw this run's initial weights again."""


def bert_config(config: PretrainConfig, vocab_size: int) -> BertConfig:
    """The architecture that a pretraining config names, for a tokenizer's vocabulary."""
    return preset(
        config.preset,
        vocab_size=vocab_size,
        max_length=max(config.max_length, config.long.max_length if config.long.steps else 0, 128),
        dropout=config.dropout,
        attention_dropout=config.attention_dropout,
        causal=make_objectives(config.objective)[0].causal,
        compute=config.compute,
    )


def check(config: PretrainConfig, elsewhere: Devices = ()) -> None:
    """Check the settings before anything runs, here or on devices `elsewhere`.

    Raises:
        InputError: the model does not support the readout, or the devices cannot share the batch equally.
    """
    readouts.check(config.nsp_readout, bert_config(config, 1))
    check_batch_size(config.batch_size, "--pretrain.batch-size", config.accumulate, elsewhere)
    if config.long.steps:
        check_batch_size(config.long.batch_size, "--pretrain.long.batch-size", config.accumulate, elsewhere)


class Training(NamedTuple):
    """The network of a pretraining, its optimizer, and its step over one device's part of a batch."""

    model: BertForPretraining
    optimizer: optax.GradientTransformationExtraArgs
    step: Step


def make_training(config: PretrainConfig, bert: BertConfig, devices: Devices = ()) -> Training:
    """The step that a pretraining takes on some devices, by default those here."""
    model = BertForPretraining(bert, config.nsp_readout, target(devices))
    optimizer = make_optimizer(config.optim, config.steps)
    objective = with_tokens(pretrain_objective(model, config.objective))
    step = make_train_step(objective, optimizer, config.accumulate, config.compute.gradients)
    return Training(model, optimizer, step)


class Pretraining:
    """One pretraining run: its model, its batches and its steps.

    Args:
        config: all settings of the run, apart from the text.
        tokenizer: tokenizer that made the ids of the text.
        train: training text.
        heldout: text for evaluation only; None for no evaluation.
        eval_examples: largest number of held-out examples to evaluate.

    Raises:
        InputError: see `check`, or the corpus lacks something that the objective needs.
    """

    def __init__(
        self,
        config: PretrainConfig,
        tokenizer: Tokenizer,
        train: Corpus,
        heldout: Corpus | None = None,
        eval_examples: int = 2000,
    ) -> None:
        check(config)
        self.config, self.tokenizer = config, tokenizer
        self.bert = bert_config(config, tokenizer.vocab_size)
        for corpus in (train, heldout):
            _check_ids(corpus, self.bert.vocab_size)
        unknown = train.count_unknown(tokenizer.special.unk)
        if text := describe_unknown(unknown, len(train.tokens), "the corpus"):
            warnings.warn(text, stacklevel=2)
        self.phases = _phases(config, tokenizer, train)
        self.model, self.optimizer, self.step = make_training(config, self.bert)
        self._schedule = jax.jit(schedule(config.optim, config.steps))
        self._init_key, self.dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), _STAGE))
        self._step = map_train_step(self.step, config.compute.precision)
        self._eval_step = _mapped_eval_step(self.bert, dataclasses.replace(config, seed=0))
        self._eval_batches = [] if heldout is None else list(self._held_out(heldout, eval_examples))

    def initial_state(self) -> TrainState:
        """The state before the first step; the same on every host."""
        example = self.phases[0].data.batch(0, np.zeros(1, int))
        init = jax.jit(lambda key: self.model.init(key, example.tokens, example.masked_positions)["params"])
        return init_state(init(self._init_key), self.optimizer)

    def state_shapes(self) -> TrainState:
        """Shapes and types of a state."""
        shapes: TrainState = jax.eval_shape(self.initial_state)
        return shapes

    def batches(self, first: int) -> Iterator[PretrainBatch]:
        """This host's rows of the batches of all steps from `first` on, counted from 0."""
        host, hosts = this_host()
        return itertools.chain.from_iterable(
            phase.data.batches(phase.batch_size, max(first, phase.first), phase.last, host=host, num_hosts=hosts)
            for phase in self.phases
        )

    def fit(
        self,
        state: TrainState,
        batches: Iterable[PretrainBatch],
        pause: Callable[[int], bool] = lambda step: True,
        watch: Callable[[int, Metrics], None] = lambda step, metrics: None,
    ) -> Iterator[tuple[int, TrainState, Metrics]]:
        """`loop.fit` over `batches`, the first of which is for the step after `state`."""
        return fit(self._step, state, batches, self.dropout_key, pause, watch)

    def evaluate(self, params: Params) -> Metrics:
        """Losses and accuracies without dropout, over each held-out example once; empty if there are none."""
        sums = [self._eval_step(params, batch) for batch in self._eval_batches]
        totals: dict[str, np.ndarray] = {}
        for name in sums[0] if sums else ():
            totals[name] = np.sum([np.asarray(part[name], np.float64) for part in jax.device_get(sums)], 0)
        return {name: float(total / count) for name, (total, count) in totals.items() if count}

    def phase(self, step: int) -> "Phase":
        """The phase that a step, counted from 1, is part of."""
        return next(phase for phase in self.phases if step <= phase.last)

    def measured(self, step: int, metrics: Metrics) -> Metrics:
        """Values to log for a step: its metrics, its share of padding and its learning rate."""
        named = {name: value for name, value in metrics.items() if name != "tokens"}
        return named | {"padding": 1 - metrics["tokens"], "learning_rate": float(self._schedule(step - 1))}

    def pretrained(self, params: Params) -> Pretrained:
        """The model in a form that can be fine-tuned and saved.

        A checkpoint's pooler and NSP head read last/cls; they are left out if this run used another readout or had no
        objective over pairs.
        """
        params = jax.device_get(params)
        carried = Carried(pad_token_id=self.tokenizer.special.pad)
        checkpoint = Checkpoint(self.bert, params["encoder"], mlm=params["mlm"], carried=carried)
        trained = make_objectives(self.config.objective)[1].trains_head
        if trained and self.config.nsp_readout == ReadoutConfig("last", "cls", "tanh"):
            checkpoint = checkpoint._replace(pooler=params["reader"]["projection"]["dense"], nsp=params["nsp"])
        return Pretrained(checkpoint, self.tokenizer)

    def _held_out(self, corpus: Corpus, limit: int) -> Iterator[PretrainBatch]:
        """This host's rows of the examples, spread over epoch 0; rows of weight 0 fill the last batch."""
        data = _data(self.config, self.tokenizer, corpus, self.config.max_length)
        size = self.config.batch_size // self.config.accumulate
        number = min(data.num_examples, limit)
        indices = np.arange(number) * data.num_examples // number
        for start in range(0, number, size):
            rows = np.arange(start, start + size)[rows_of_this_host(size)]
            batch = data.batch(0, indices[np.minimum(rows, number - 1)])
            real = (rows < number).astype(np.float32)
            yield batch._replace(weights=batch.weights * real, masked_weights=batch.masked_weights * real[:, None])


@dataclasses.dataclass(frozen=True)
class Phase:
    """Steps of one length and batch size: from `first` to `last`, exclusive, counted from 0."""

    first: int
    last: int
    batch_size: int
    data: PretrainData

    def flops(self, bert: BertConfig) -> float:
        """Operations for one sequence, see `throughput.flops_per_sequence`."""
        return flops_per_sequence(bert, self.data.max_length, self.data.num_slots)


def _phases(config: PretrainConfig, tokenizer: Tokenizer, corpus: Corpus) -> tuple[Phase, ...]:
    boundary = config.steps - config.long.steps
    short, long = (_data(config, tokenizer, corpus, length) for length in (config.max_length, config.long.max_length))
    phases = (
        Phase(0, boundary, config.batch_size, short),
        Phase(boundary, config.steps, config.long.batch_size, long),
    )
    return tuple(phase for phase in phases if phase.first < phase.last)


def _data(config: PretrainConfig, tokenizer: Tokenizer, corpus: Corpus, max_length: int) -> PretrainData:
    return PretrainData(
        corpus,
        tokenizer.special,
        tokenizer.vocab_size,
        tokenizer.starts_word,
        max_length,
        config.objective,
        config.seed,
    )


def _check_ids(corpus: Corpus | None, vocab_size: int) -> None:
    """Refuse ids without a row in the embedding matrix, for which JAX would return NaN."""
    if corpus is not None and (highest := corpus.highest_id) >= vocab_size:
        raise InputError(
            f"the corpus has the token id {highest}, its tokenizer only ids up to {vocab_size - 1}: "
            "they are not of one vocabulary; prepare the corpus again"
        )


def with_tokens(objective: Objective) -> Objective:
    """The objective with an additional measure `tokens`, the share of positions that are not padding."""

    def measured(params: Params, batch: PretrainBatch, key: jax.Array) -> Terms:
        terms = objective(params, batch, key)
        mask = batch.tokens.mask
        share = Ratio(mask.sum().astype(jnp.float32), jnp.asarray(mask.size, jnp.float32))
        return terms._replace(measures=terms.measures | {"tokens": share})

    return measured


@lru_cache(maxsize=8)
def _mapped_eval_step(bert: BertConfig, config: PretrainConfig) -> Step:
    """`_eval_step` over devices; runs that differ in their seed share it."""
    return map_eval_step(_eval_step(bert, config), config.compute.evaluation_precision)


def _eval_step(bert: BertConfig, config: PretrainConfig) -> Step:
    """`(params, batch) -> {name: (sum, count)}` over all devices, without dropout."""
    model = BertForPretraining(with_dropout(bert, 0.0), config.nsp_readout, target())
    objective = pretrain_objective(model, config.objective)

    def step(params: Params, batch: PretrainBatch) -> dict[str, Ratio]:
        terms = objective(params, batch, jax.random.key(0))
        sums: dict[str, Ratio] = add_devices(terms.losses | terms.measures)
        return sums

    return step
