"""Training of sentence vectors: from an encoder, pairs of sentences, a readout, seeds and rates to similarities."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.checkpoints.architectures import schema_of
from bert_jax.config import BertConfig, ReadoutConfig, SiameseConfig
from bert_jax.data.batching import Plan, choose_buckets
from bert_jax.data.pair_batches import PairExamples, encode_pairs, pair_batch, pair_batches
from bert_jax.errors import InputError, unknown
from bert_jax.model.bert import SentenceEncoder
from bert_jax.parallel.devices import Devices, target
from bert_jax.parallel.inference import predict_rows
from bert_jax.parallel.population import Layout, local_devices, side_by_side
from bert_jax.pretrained import Pretrained, init_without_encoder
from bert_jax.spec import parse_spec
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.train.loop import Diverged
from bert_jax.train.sentence_objectives import SENTENCE_OBJECTIVES, SentenceObjective
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
from bert_jax.types import Params, Step


class PairData(NamedTuple):
    """Tokenised pairs. evaluations: scored pairs by name. num_classes: of the training labels; 0 for scores."""

    train: PairExamples
    evaluations: dict[str, PairExamples]
    buckets: tuple[int, ...]
    num_classes: int


def prepare_pairs(
    tokenizer: Tokenizer, train: Split, evaluations: dict[str, Split], config: SiameseConfig, num_classes: int
) -> PairData:
    """Tokenise the pairs and choose their bucket lengths."""
    encoded = {name: encode_pairs(tokenizer, split, config.max_length, name) for name, split in evaluations.items()}
    examples = encode_pairs(tokenizer, train, config.max_length, "the training set")
    lengths = np.concatenate([examples.lengths, *(e.lengths for e in encoded.values())])
    return PairData(examples, encoded, choose_buckets(lengths, config.num_buckets, config.max_length), num_classes)


def num_steps(data: PairData, config: SiameseConfig) -> int:
    """Optimizer steps of a run."""
    return count_steps(len(data.train.first), config.epochs, config.batch_size)


def train_pairs(
    pretrained: Pretrained,
    data: PairData,
    objective: str,
    readout: ReadoutConfig,
    config: SiameseConfig,
    seed: int,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> Trained:
    """Train all weights on pairs, then compare the sentences of each evaluation pair by their cosine.

    Raises:
        Diverged: the loss of a step, or an output of the trained model, is not finite.
        InputError: the objective is unknown, the readout needs weights that the checkpoint lacks, or the two passes
            of simcse would be equal.
    """
    trials, layout = [Trial(seed, config.optim.learning_rate)], Layout(local_devices())
    (run,) = train_pairs_together(pretrained, data, objective, readout, config, trials, layout, of_one(on_step))
    if isinstance(run, Diverged):
        raise run
    return run


def train_pairs_together(
    pretrained: Pretrained,
    data: PairData,
    objective: str,
    readout: ReadoutConfig,
    config: SiameseConfig,
    trials: Sequence[Trial],
    layout: Layout,
    on_step: OnStep = lambda step, metrics: None,
) -> list[Trained | Diverged]:
    """Train all weights on pairs, once for each trial, as one program; outputs are cosines [rows].

    A seed determines the fresh weights, the rows of each batch and the dropout. At each step all seeds have batches of
    one length. Two readouts with the same seed get the same batches in the same order. A run has the same result, up to
    rounding, in any population.

    Raises:
        InputError: the objective is unknown, the readout needs weights that the checkpoint lacks, or the two passes
            of simcse would be equal.
    """
    shared, steps = for_all_rates(config), num_steps(data, config)
    program, goal = compile_program(pretrained.config, objective, readout, shared, data.num_classes, steps, layout)
    filled = layout.fill(trials)
    split = [jax.random.split(jax.random.key(trial.seed)) for trial in filled]
    params = [_initial(pretrained, program, goal, key) for key, _ in split]
    batches = side_by_side(
        pair_batches(data.train, data.buckets, config.batch_size, trial.seed, config.epochs) for trial in filled
    )

    def evaluate(params: Params) -> Outputs:
        return {
            name: _cosines(program.predict_step, params, pairs, config, data.buckets)
            for name, pairs in data.evaluations.items()
        }

    rates = [trial.learning_rate for trial in filled]
    runs = train(program, params, batches, [key for _, key in split], rates, evaluate, on_step)
    return runs[: len(trials)]


def fitting_runs(
    pretrained: Pretrained,
    data: PairData,
    objective: str,
    readout: ReadoutConfig,
    config: SiameseConfig,
    devices: Devices,
) -> int:
    """The number of runs that fit into the memory of the devices; see `trainer.fitting`."""
    shared, steps, layout = for_all_rates(config), num_steps(data, config), Layout(devices[:1])
    program, goal = compile_program(pretrained.config, objective, readout, shared, data.num_classes, steps, layout)
    batch = pair_batch(data.train, Plan(np.zeros(0, int), data.buckets[-1]), config.batch_size)
    return fitting(program, _initial(pretrained, program, goal, jax.random.key(0)), batch, devices)


def _initial(pretrained: Pretrained, program: Program, goal: SentenceObjective, key: jax.Array) -> Params:
    model_key, head_key = jax.random.split(key)
    params = initial_params(pretrained, program.model, model_key)
    return params | goal.init(params, head_key)


def training_readout(readout: ReadoutConfig, config: SiameseConfig) -> ReadoutConfig:
    """The readout with the projection that it has in training."""
    return dataclasses.replace(readout, projection=config.training_projection or readout.projection)


@lru_cache(maxsize=64)
def compile_program(
    bert: BertConfig,
    objective: str,
    readout: ReadoutConfig,
    config: SiameseConfig,
    num_classes: int,
    steps: int,
    layout: Layout,
) -> tuple[Program, SentenceObjective]:
    """The mapped steps of a training and its objective; the same arguments return the same, already compiled steps."""
    if objective not in SENTENCE_OBJECTIVES:
        raise unknown("objective", objective, SENTENCE_OBJECTIVES)
    bert = with_dropout(bert, config.dropout)
    model = SentenceEncoder(bert, training_readout(readout, config), target(layout.devices))
    goal = SENTENCE_OBJECTIVES[objective](model, config, num_classes)
    goal.check()
    evaluated = SentenceEncoder(bert, readout, target(layout.devices))
    return make_program(model, goal, config.optim, steps, layout, evaluated, config.precision), goal


def trained_model(pretrained: Pretrained, trained: Trained, readout: ReadoutConfig) -> Pretrained:
    """The trained encoder in a form that can be saved; a trained projection becomes the checkpoint's pooler.

    The old pooler and pretraining heads, which do not fit the new encoder, are left out.
    """
    config = pretrained.config
    pooler = trained.params["reader"]["projection"]["dense"] if has_projection(readout, config) else None
    checkpoint = pretrained.checkpoint.headless._replace(encoder=trained.params["encoder"], pooler=pooler)
    return Pretrained(checkpoint, pretrained.tokenizer)


def has_projection(readout: ReadoutConfig, bert: BertConfig) -> bool:
    """True if the projection has the form of BERT's pooler, trained or fresh, and the architecture has one."""
    name, _, settings = parse_spec(readout.projection)
    return "pooler" in schema_of(bert).heads and name in ("tanh", "mlp") and not set(settings) - {"pretrained"}


def check_saveable(readout: ReadoutConfig, bert: BertConfig) -> None:
    """Refuse a readout whose trained weights a model directory cannot store.

    Raises:
        InputError: naming the weights that cannot be stored.
    """
    reader = init_without_encoder(SentenceEncoder(bert, readout), jax.random.key(0)).get("reader", {})
    rest = sorted(set(reader) - ({"projection"} if has_projection(readout, bert) else set()))
    width = reader.get("projection", {}).get("dense", {}).get("kernel", np.zeros((bert.hidden_size, 1))).shape[0]
    if rest or width != bert.hidden_size:
        what = f"a projection of vectors of {width}" if not rest else f"weights of its own ({', '.join(rest)})"
        raise InputError(
            f"readout {readout} has {what}, which a model directory cannot hold: leave out --save, or choose another"
        )


def _cosines(
    predict_step: Step,
    params: Params,
    pairs: PairExamples,
    config: SiameseConfig,
    buckets: tuple[int, ...],
) -> np.ndarray:
    """Cosine of each pair [rows P]; all sentences are encoded in one pass over the data."""
    vectors = predict_rows(
        predict_step, params, [*pairs.first, *pairs.second], pairs.special, config.eval_batch_size, buckets
    )
    u, v = np.split(vectors.astype(np.float64), 2)
    lengths = np.linalg.norm(u, axis=-1) * np.linalg.norm(v, axis=-1)
    cosines: np.ndarray = ((u * v).sum(-1) / np.maximum(lengths, 1e-16)).astype(np.float32)
    return cosines
