"""One training of sentence vectors: from an encoder, pairs of sentences, a readout and a seed to similarities."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import numpy as np

from bert_jax.config import BertConfig, ReadoutConfig, SiameseConfig
from bert_jax.data.batching import choose_buckets
from bert_jax.data.pair_batches import PairExamples, encode_pairs, pair_batches
from bert_jax.errors import InputError, unknown
from bert_jax.model.bert import SentenceEncoder
from bert_jax.parallel.devices import target
from bert_jax.parallel.inference import predict_rows
from bert_jax.pretrained import Pretrained, init_without_encoder
from bert_jax.spec import parse_spec
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.train.sentence_objectives import SENTENCE_OBJECTIVES, SentenceObjective
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
from bert_jax.types import Params, Step


class PairData(NamedTuple):
    """Tokenised pairs. evaluations: scored pairs by name. num_classes: of the training labels; 0 for scores."""

    train: PairExamples
    evaluations: dict[str, PairExamples]
    buckets: tuple[int, ...]
    num_classes: int


class Trained(NamedTuple):
    """Result of a training. cosines: [rows] of each evaluation set. params: of the encoder and, under "reader", of the
    readout."""

    cosines: dict[str, np.ndarray]
    params: Params


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

    The seed determines the fresh weights, the order of the pairs and the dropout. Two readouts with the same seed get
    the same batches in the same order.

    Raises:
        Diverged: the loss of a step, or an output of the trained model, is not finite.
        InputError: the objective is unknown, the readout needs weights that the checkpoint lacks, or the two passes
            of simcse would be equal.
    """
    shared, steps = for_all_rates(config), num_steps(data, config)
    program, goal = compile_program(pretrained.config, objective, readout, shared, data.num_classes, steps)
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    model_key, head_key = jax.random.split(init_key)
    params = initial_params(pretrained, program.model, model_key)
    params |= goal.init(params, head_key)
    batches = pair_batches(data.train, data.buckets, config.batch_size, seed, config.epochs)

    def evaluate(params: Params) -> Outputs:
        return {
            name: _cosines(program.predict_step, params, pairs, config, data.buckets)
            for name, pairs in data.evaluations.items()
        }

    rate = config.optim.learning_rate
    cosines, params = train(program, params, batches, dropout_key, rate, evaluate, on_step)
    return Trained(cosines, jax.device_get(params))


def training_readout(readout: ReadoutConfig, config: SiameseConfig) -> ReadoutConfig:
    """The readout with the projection that it has in training."""
    return dataclasses.replace(readout, projection=config.training_projection or readout.projection)


@lru_cache(maxsize=64)
def compile_program(
    bert: BertConfig, objective: str, readout: ReadoutConfig, config: SiameseConfig, num_classes: int, steps: int
) -> tuple[Program, SentenceObjective]:
    """The mapped steps of a training and its objective; the same arguments return the same, already compiled steps."""
    if objective not in SENTENCE_OBJECTIVES:
        raise unknown("objective", objective, SENTENCE_OBJECTIVES)
    bert = with_dropout(bert, config.dropout)
    model = SentenceEncoder(bert, training_readout(readout, config), target())
    goal = SENTENCE_OBJECTIVES[objective](model, config, num_classes)
    goal.check()
    evaluated = SentenceEncoder(bert, readout, target())
    return make_program(model, goal, config.optim, steps, evaluated, config.precision), goal


def trained_model(pretrained: Pretrained, trained: Trained, readout: ReadoutConfig) -> Pretrained:
    """The trained encoder in a form that can be saved; a trained projection becomes the checkpoint's pooler.

    The old pooler and pretraining heads, which do not fit the new encoder, are left out.
    """
    config = pretrained.config
    pooler = trained.params["reader"]["projection"]["dense"] if has_projection(readout) else None
    checkpoint = pretrained.checkpoint._replace(
        config=config, encoder=trained.params["encoder"], pooler=pooler, mlm=None, nsp=None
    )
    return Pretrained(checkpoint, pretrained.tokenizer)


def has_projection(readout: ReadoutConfig) -> bool:
    """True if the projection has the form of BERT's pooler, trained or fresh, which a model directory can store."""
    name, _, settings = parse_spec(readout.projection)
    return name in ("tanh", "mlp") and not set(settings) - {"pretrained"}


def check_saveable(readout: ReadoutConfig, bert: BertConfig) -> None:
    """Refuse a readout whose trained weights a model directory cannot store.

    Raises:
        InputError: naming the weights that cannot be stored.
    """
    reader = init_without_encoder(SentenceEncoder(bert, readout), jax.random.key(0)).get("reader", {})
    rest = sorted(set(reader) - ({"projection"} if has_projection(readout) else set()))
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
    """Cosine of each pair [rows]; all sentences are encoded in one pass over the data."""
    vectors = predict_rows(
        predict_step, params, [*pairs.first, *pairs.second], pairs.special, config.eval_batch_size, buckets
    )
    u, v = np.split(vectors.astype(np.float64), 2)
    lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    cosines: np.ndarray = ((u * v).sum(1) / np.maximum(lengths, 1e-16)).astype(np.float32)
    return cosines
