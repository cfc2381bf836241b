"""Losses and running measures as (sum, count). Division happens once, after the sums of all devices are added."""

from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Float, Int

from bert_jax.types import Array


class Ratio(NamedTuple):
    """A mean before its division."""

    sum: Array
    count: Array  # type: ignore[assignment]  # a tuple's own `count` is not called


class Terms(NamedTuple):
    """Results of an objective: losses, whose means are summed, and measures, which are only logged."""

    losses: dict[str, Ratio]
    measures: dict[str, Ratio]


def cross_entropy(
    logits: Float[Array, "*rows C"], labels: Int[Array, "*rows"], weights: Float[Array, "*rows"]
) -> Ratio:
    """Softmax cross-entropy in nats, summed over rows by weight."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return Ratio((losses * weights).sum(), weights.sum())


def squared_error(
    predictions: Float[Array, "*rows"], labels: Float[Array, "*rows"], weights: Float[Array, "*rows"]
) -> Ratio:
    """Squared error, summed over rows by weight."""
    return Ratio((jnp.square(predictions - labels) * weights).sum(), weights.sum())


def accuracy(logits: Float[Array, "*rows C"], labels: Int[Array, "*rows"], weights: Float[Array, "*rows"]) -> Ratio:
    """Rows whose label alone has the largest logit, by weight. (Counting is far faster than `argmax` on a CPU.)"""
    own = jnp.take_along_axis(logits, labels[..., None], axis=-1)
    return Ratio((((logits >= own).sum(-1) == 1) * weights).sum(), weights.sum())


def cosine(u: Float[Array, "*rows E"], v: Float[Array, "*rows E"]) -> Float[Array, "*rows"]:
    """`u v / (|u| |v|)` of each row; 0 where a vector is 0."""
    return (unit(u) * unit(v)).sum(-1)


def unit(x: Float[Array, "*rows E"]) -> Float[Array, "*rows E"]:
    """The rows scaled to length 1; a row of zeros stays zero, and its gradient is finite."""
    return x * lax.rsqrt(jnp.maximum(jnp.square(x).sum(-1, keepdims=True), 1e-16))
