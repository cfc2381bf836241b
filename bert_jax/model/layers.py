"""Building blocks shared by all modules: dense layers, layer normalisation, activations, dropout."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.extend.random import define_prng_impl
from jaxtyping import Float

from bert_jax.config import BertConfig
from bert_jax.types import Array


@jax.custom_jvp
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """`x Phi(x)`, computed with erf.

    `jax.nn.gelu` uses erfc, which takes XLA twice as long on a CPU. It is more precise only far below zero, where the
    difference is lost in later sums. The derivative is one array, of which JAX's own rules would keep the factors.
    """
    return x * _normal_cdf(x)


@gelu.defjvp
def _gelu_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (x,), (tangent,) = primals, tangents
    below = _normal_cdf(x)
    slope = below + x * jnp.exp(-0.5 * x * x) * math.sqrt(0.5 / math.pi)
    return x * below, slope * tangent


def _normal_cdf(x: Float[Array, "..."]) -> Float[Array, "..."]:
    return 0.5 * (1 + jax.lax.erf(x * math.sqrt(0.5)))


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": gelu,
    "gelu_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
}


def dense(config: BertConfig, features: int, name: str | None = None, use_bias: bool = True) -> "Dense":
    """A `Dense` with the config's initialisation and precision."""
    return Dense(features, config.initializer_range, config.compute.dtype, use_bias, name=name)


def layer_norm(config: BertConfig, name: str | None = None, use_bias: bool = True) -> nn.LayerNorm:
    """Layer normalisation with the config's epsilon (BERT's is 1e-12, not the usual 1e-5) and float32 sums.

    The variance of bfloat16 numbers comes from their sum and sum of squares in one pass, whose rounding in float32 is
    far below theirs.
    """
    dtype = config.compute.dtype
    one_pass = dtype == "bfloat16"
    return nn.LayerNorm(config.layer_norm_eps, dtype, use_bias=use_bias, use_fast_variance=one_pass, name=name)


class Dense(nn.Module):
    """`x @ kernel + bias` over the last axis, with BERT's initialisation: truncated normal, zero bias if there is one.

    Batch and length are flattened into one axis first. On a CPU this halves the time of a layer with
    its gradients: XLA contracts the two axes of `einsum("BLD,BLF->DF")` far more slowly than one.
    """

    features: int
    stddev: float
    dtype: str = "float32"
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*rows D"]) -> Float[Array, "*rows F"]:
        init = nn.initializers.truncated_normal(self.stddev)
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        flat = x.astype(self.dtype).reshape(-1, x.shape[-1]) @ kernel.astype(self.dtype)
        if self.use_bias:
            flat += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)[None]
        return flat.reshape(*x.shape[:-1], self.features)


class Dropout(nn.Module):
    """Zero each entry with probability `rate` and scale the others by 1 / (1 - rate)."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "..."], train: bool) -> Float[Array, "..."]:
        if not train or self.rate == 0:
            return x
        key = self.make_rng("dropout")
        if jax.random.key_impl(key) != HASH:
            key = hash_keys(key)
        keep = jax.random.bits(key, x.shape, jnp.uint32) >= jnp.uint32(round(self.rate * 2**32))
        return jnp.where(keep, x / (1 - self.rate), 0)


def hash_keys(key: jax.Array, shape: tuple[int, ...] = ()) -> jax.Array:
    """Keys [*shape] of the generator `HASH`, all from one draw of JAX's own."""
    keys: jax.Array = jax.random.wrap_key_data(jax.random.bits(key, (*shape, 2), jnp.uint32), impl=HASH)
    return keys


def _hash_bits(salts: jax.Array, width: int, shape: tuple[int, ...]) -> jax.Array:
    """uint32 [*shape]: two rounds of Wellons' `lowbias32` over the positions, each after one of two salts."""
    assert width == 32, width
    bits = jax.lax.iota(jnp.uint32, math.prod(shape)).reshape(shape)
    for salt in salts:
        bits = _mix(bits ^ salt)
    return bits


def _mix(bits: jax.Array) -> jax.Array:
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)


def _fold_in(salts: jax.Array, number: jax.Array | int) -> jax.Array:
    """Other salts for each number; if it is a constant, one operation for each salt."""
    return salts ^ _mix(jnp.uint32(number) ^ jnp.array([0x9E3779B9, 0x85EBCA6B], jnp.uint32))


def _split(salts: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    numbers = jax.lax.iota(jnp.uint32, math.prod(shape))
    return jax.vmap(partial(_fold_in, salts))(numbers).reshape(*shape, 2)


HASH = define_prng_impl(
    key_shape=(2,),
    seed=lambda seed: _fold_in(jnp.zeros(2, jnp.uint32), seed),
    split=_split,
    random_bits=_hash_bits,
    fold_in=_fold_in,
    name="hash",
    tag="hash",
)
"""A generator for dropout: an integer hash of (key, position) gives each word.

XLA fuses it with neighbouring operations; on a CPU it is about thirty times faster than JAX's own. A key of it that is
folded with a constant, as every module does with its name, costs two operations instead of several hundred, which were
half of the instructions of a step. Its keys must come from `hash_keys`: numbers that are folded in are only mixed.
"""
