"""Objectives over pairs of sentences, each encoded by itself: a registry by name.

Sentence-BERT (Reimers and Gurevych 2019, arXiv 1908.10084): classification of a pair by (u, v, |u - v|), and regression
of the cosine. SimCSE (Gao et al. 2021, arXiv 2104.08821): identification of a sentence, encoded with other dropout,
among all sentences of the batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import SiameseConfig
from bert_jax.errors import InputError
from bert_jax.model.bert import SentenceEncoder
from bert_jax.model.heads import PairClassifier
from bert_jax.parallel.devices import gather_devices
from bert_jax.train.losses import Terms, accuracy, cosine, cross_entropy, squared_error, unit
from bert_jax.types import Array, PairBatch, Params, Tokens, Tree

LARGEST_SCORE = 5.0
"""Largest similarity score; scores start at 0, and the target of a cosine is score / 5."""

SENTENCE_OBJECTIVES: dict[str, type["SentenceObjective"]] = {}
"""Name to objective."""


def sentence_objective(name: str) -> Callable[[type["SentenceObjective"]], type["SentenceObjective"]]:
    """Class decorator: register an objective under `name`."""

    def register(cls: type["SentenceObjective"]) -> type["SentenceObjective"]:
        SENTENCE_OBJECTIVES[name] = cls
        return cls

    return register


class SentenceObjective:
    """Loss of a batch of pairs, a `train.step.Objective`.

    Args:
        model: the model to train.
        config: settings of the training.
        num_classes: number of classes of the labels; 0 for scores.
    """

    def __init__(self, model: SentenceEncoder, config: SiameseConfig, num_classes: int) -> None:
        self.model, self.config, self.num_classes = model, config, num_classes

    def check(self) -> None:
        """Refuse a model that cannot learn this objective; by default every model is accepted.

        Raises:
            InputError: with the reason.
        """

    def __call__(self, params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        """Losses and measures over one device's part of the batch."""
        raise NotImplementedError

    def init(self, params: Params, key: Array) -> Params:
        """Initial parameters of the objective itself, besides the model's; none by default."""
        return {}


@sentence_objective("nli")
class PairClassification(SentenceObjective):
    """Cross-entropy over classes predicted from (u, v, |u - v|): Sentence-BERT's classification, section 3."""

    def __init__(self, model: SentenceEncoder, config: SiameseConfig, num_classes: int) -> None:
        super().__init__(model, config, num_classes)
        self.head = PairClassifier(model.config, num_classes)

    def __call__(self, params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        vectors = sentence_vectors(self.model, params, batch, key)
        logits: Tree = self.head.apply({"params": params["classifier"]}, *vectors)
        terms = (logits, batch.labels, batch.weights)
        return Terms({"cross_entropy": cross_entropy(*terms)}, {"accuracy": accuracy(*terms)})

    def init(self, params: Params, key: Array) -> Params:
        tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
        out = jax.eval_shape(lambda params: self.model.apply({"params": params}, tokens), params)
        vector = jnp.zeros(out.shape)
        return {"classifier": jax.jit(self.head.init)(key, vector, vector)["params"]}


@sentence_objective("sts")
class CosineRegression(SentenceObjective):
    """Squared error between cos(u, v) and score / 5: Sentence-BERT's regression, section 3."""

    def __call__(self, params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        similarity = cosine(*sentence_vectors(self.model, params, batch, key))
        return Terms({"mse": squared_error(similarity, batch.labels / LARGEST_SCORE, batch.weights)}, {})


@sentence_objective("simcse")
class Contrast(SentenceObjective):
    """Cross-entropy of identifying v_i from u_i among the v of the batch on all devices: SimCSE's equation 1."""

    def check(self) -> None:
        if not max(self.model.config.dropout, self.model.config.attention_dropout):
            raise InputError(
                "simcse compares two passes that differ in dropout, and this encoder has none: set dropout 0.1"
            )

    def __call__(self, params: Params, batch: PairBatch, key: jax.Array) -> Terms:
        u, v = sentence_vectors(self.model, params, batch, key)
        (others, real), first = gather_devices((v, batch.weights))
        similarity = jnp.einsum("BE,RE->BR", unit(u), unit(others)) / self.config.temperature
        # Rows that only fill the batch are not used as negatives.
        logits = jnp.where((real > 0)[None], similarity, jnp.finfo(similarity.dtype).min / 2)
        terms = (logits, first + jnp.arange(len(u)), batch.weights)
        return Terms({"cross_entropy": cross_entropy(*terms)}, {"accuracy": accuracy(*terms)})


def sentence_vectors(model: SentenceEncoder, params: Params, batch: PairBatch, key: jax.Array) -> tuple[Array, Array]:
    """u and v [B E] of each pair, from one pass over both: their dropout differs."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch.first, batch.second)
    vectors: Tree = model.apply({"params": params}, both, train=True, rngs={"dropout": key})
    u, v = jnp.split(vectors, 2)
    return u, v
