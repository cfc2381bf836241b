"""One training of sentence vectors: an encoder, pairs of sentences, a readout and a seed to similarities.

Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084): classification of a pair by (u, v, |u - v|), and regression
of the cosine. SimCSE (Gao et al. 2021, arXiv 2104.08821): a sentence is found again, under other dropout, among all
sentences of the batch.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bert_jax.config import BertConfig, ReadoutConfig, SiameseConfig
from bert_jax.data.batching import choose_buckets
from bert_jax.data.pair_batches import PairExamples, encode_pairs, pair_batches
from bert_jax.errors import InputError
from bert_jax.model.bert import SentenceEncoder
from bert_jax.model.heads import PairClassifier
from bert_jax.parallel.devices import gather_devices, map_predict_step, map_train_step
from bert_jax.parallel.inference import predict_rows
from bert_jax.pretrained import Pretrained, init_without_encoder, with_trained_pooler
from bert_jax.spec import parse_spec
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.tokenizer import Tokenizer
from bert_jax.train.loop import Diverged, fit
from bert_jax.train.losses import Terms, accuracy, cosine, cross_entropy, squared_error, unit
from bert_jax.train.optim import make_optimizer
from bert_jax.train.step import Objective, init_state, make_train_step
from bert_jax.types import Array, PairBatch, Params, Tokens

ObjectiveName = Literal["nli", "sts", "simcse"]
LARGEST_SCORE = 5.0
"""Similarity scores are from 0 to it; a cosine is trained to be score / 5."""


class PairData(NamedTuple):
    """Pairs, tokenised. evaluations: scored pairs by name. num_classes: of the training labels; 0 for scores."""

    train: PairExamples
    evaluations: dict[str, PairExamples]
    buckets: tuple[int, ...]
    num_classes: int


class Trained(NamedTuple):
    """cosines: [rows] of each evaluation set. params: of the encoder and, under "reader", of the readout."""

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
    return config.epochs * -(-len(data.train.first) // config.batch_size)


def train_pairs(
    pretrained: Pretrained,
    data: PairData,
    objective: ObjectiveName,
    readout: ReadoutConfig,
    config: SiameseConfig,
    seed: int,
    on_step: Callable[[int, dict[str, float]], None] = lambda step, metrics: None,
) -> Trained:
    """Train all weights on pairs, then compare the sentences of each evaluation pair by their cosine.

    The seed decides the fresh weights, the order of the pairs and the dropout. Two readouts with one seed see the
    same batches in the same order.

    Raises:
        Diverged: the loss of a step, or what the trained model gives, is not finite.
        InputError: the readout needs weights that the checkpoint lacks, or the two passes of simcse would be equal.
    """
    program = compile_program(pretrained.config, objective, readout, config, data.num_classes, num_steps(data, config))
    init_key, dropout_key = jax.random.split(jax.random.key(seed))
    state = init_state(initial_params(pretrained, program, init_key), program.optimizer)
    batches = pair_batches(data.train, data.buckets, config.batch_size, seed, config.epochs)
    for step, trained, metrics in fit(program.train_step, state, batches, dropout_key):
        on_step(step, metrics)
    cosines = {
        name: _cosines(program.embed_step, trained.params, pairs, config, data.buckets)
        for name, pairs in data.evaluations.items()
    }
    # A finite loss says nothing of the weights that its own step made.
    if not all(np.isfinite(rows).all() for rows in cosines.values()):
        raise Diverged(step, "sentence vectors are not finite after the update")
    return Trained(cosines, jax.device_get(trained.params))


class Program(NamedTuple):
    """What is compiled for a readout, shared by all runs that differ in seed or data order only.

    model: as it is trained. head: over pairs, for nli. embed_step: `(params, tokens) -> [devices B E]`, evaluation.
    """

    model: SentenceEncoder
    head: PairClassifier | None
    optimizer: optax.GradientTransformation
    train_step: Callable[..., Any]
    embed_step: Callable[..., Any]


def training_readout(readout: ReadoutConfig, config: SiameseConfig) -> ReadoutConfig:
    """The readout with the projection that it has in training."""
    return dataclasses.replace(readout, projection=config.training_projection or readout.projection)


@lru_cache(maxsize=64)
def compile_program(
    bert: BertConfig,
    objective: ObjectiveName,
    readout: ReadoutConfig,
    config: SiameseConfig,
    num_classes: int,
    steps: int,
) -> Program:
    """The mapped steps of a training; the same arguments give the same, already compiled ones."""
    if config.dropout is not None:
        bert = dataclasses.replace(bert, dropout=config.dropout, attention_dropout=config.dropout)
    if objective == "simcse" and not max(bert.dropout, bert.attention_dropout):
        raise InputError(
            "simcse compares two passes that differ in dropout, and this encoder has none: set dropout 0.1"
        )
    model = SentenceEncoder(bert, training_readout(readout, config))
    head = PairClassifier(bert, num_classes)
    losses: dict[str, Callable[[], Objective]] = {
        "nli": lambda: classification_objective(model, head),
        "sts": lambda: cosine_objective(model),
        "simcse": lambda: contrastive_objective(model, config.temperature),
    }
    optimizer = make_optimizer(config.optim, steps)
    train_step = map_train_step(make_train_step(losses[objective](), optimizer), config.precision)
    evaluated = SentenceEncoder(bert, readout)
    embed_step = map_predict_step(
        lambda params, tokens: evaluated.apply({"params": params}, tokens), bert.compute.evaluation_precision
    )
    return Program(model, head if objective == "nli" else None, optimizer, train_step, embed_step)


def initial_params(pretrained: Pretrained, program: Program, key: Array) -> Params:
    """The checkpoint's encoder, and a fresh readout and head; its trained pooler where the readout asks."""
    reader_key, head_key = jax.random.split(key)
    reader = init_without_encoder(program.model, reader_key).get("reader", {})
    reader = with_trained_pooler(reader, program.model.readout, pretrained.checkpoint)
    params = {"encoder": pretrained.checkpoint.encoder} | ({"reader": reader} if reader else {})
    if program.head is None:
        return params
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    out = jax.eval_shape(lambda params: program.model.apply({"params": params}, tokens), params)
    vector = jnp.zeros(out.shape)
    return params | {"classifier": jax.jit(program.head.init)(head_key, vector, vector)["params"]}


def sentence_vectors(model: SentenceEncoder, params: Params, batch: PairBatch, key: jax.Array) -> tuple[Array, Array]:
    """u and v [B E] of each pair, from one pass over both: their dropout differs."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch.first, batch.second)
    vectors: Any = model.apply({"params": params}, both, train=True, rngs={"dropout": key})
    u, v = jnp.split(vectors, 2)
    return u, v


def classification_objective(model: SentenceEncoder, head: PairClassifier) -> Objective:
    """Cross-entropy over the classes of (u, v, |u - v|): Sentence-BERT's, section 3."""

    def objective(params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        logits: Any = head.apply({"params": params["classifier"]}, *sentence_vectors(model, params, batch, key))
        terms = (logits, batch.labels, batch.weights)
        return Terms({"cross_entropy": cross_entropy(*terms)}, {"accuracy": accuracy(*terms)})

    return objective


def cosine_objective(model: SentenceEncoder) -> Objective:
    """Squared error of cos(u, v) to score / 5: Sentence-BERT's regression, section 3."""

    def objective(params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        similarity = cosine(*sentence_vectors(model, params, batch, key))
        return Terms({"mse": squared_error(similarity, batch.labels / LARGEST_SCORE, batch.weights)}, {})

    return objective


def contrastive_objective(model: SentenceEncoder, temperature: float) -> Objective:
    """Cross-entropy of finding v_i by u_i among the v of the batch, of all devices: SimCSE's equation 1."""

    def objective(params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        u, v = sentence_vectors(model, params, batch, key)
        (others, real), first = gather_devices((v, batch.weights))
        similarity = jnp.einsum("BE,RE->BR", unit(u), unit(others)) / temperature
        # What only fills the batch is nobody's negative.
        logits = jnp.where((real > 0)[None], similarity, jnp.finfo(similarity.dtype).min / 2)
        terms = (logits, first + jnp.arange(len(u)), batch.weights)
        return Terms({"cross_entropy": cross_entropy(*terms)}, {"accuracy": accuracy(*terms)})

    return objective


def trained_model(pretrained: Pretrained, trained: Trained, readout: ReadoutConfig) -> Pretrained:
    """The trained encoder as something to save; a trained projection becomes the checkpoint's pooler.

    The old pooler and pretraining heads, which do not fit the new encoder, are left out.
    """
    config = pretrained.config
    pooler = trained.params["reader"]["projection"]["dense"] if has_projection(readout) else None
    checkpoint = pretrained.checkpoint._replace(
        config=config, encoder=trained.params["encoder"], pooler=pooler, mlm=None, nsp=None
    )
    return Pretrained(checkpoint, pretrained.tokenizer)


def has_projection(readout: ReadoutConfig) -> bool:
    """True if the projection is BERT's pooler, trained or fresh: a model directory has a place for it."""
    name, _, settings = parse_spec(readout.projection)
    return name in ("tanh", "mlp") and not set(settings) - {"pretrained"}


def check_saveable(readout: ReadoutConfig, bert: BertConfig) -> None:
    """Refuse a readout whose trained weights a model directory cannot hold.

    Raises:
        InputError: naming what has no place.
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
    embed_step: Callable[..., Any],
    params: Params,
    pairs: PairExamples,
    config: SiameseConfig,
    buckets: tuple[int, ...],
) -> np.ndarray:
    """[rows]: the cosine of each pair, both sentences read in one go."""
    vectors = predict_rows(
        embed_step, params, [*pairs.first, *pairs.second], pairs.special, config.eval_batch_size, buckets
    )
    u, v = np.split(vectors.astype(np.float64), 2)
    lengths = np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1)
    return ((u * v).sum(1) / np.maximum(lengths, 1e-16)).astype(np.float32)
