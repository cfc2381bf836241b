"""Poolers: token vectors and their mask to one vector. Every pooler takes the mask, so that padding is never pooled.

Add one as a small module with a decorator, or name your own class by its dotted path on the command line:

    @pooler("first_two")
    class FirstTwo(nn.Module):
        @nn.compact
        def __call__(self, x, mask):
            return masked(x, mask)[:, :2].sum(1)
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Bool, Float

from bert_jax.types import Array

POOLERS: dict[str, Callable[..., nn.Module]] = {}
"""Name in a spec string to pooler class."""


def pooler(name: str, **settings: object) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Class decorator that registers a pooler under `name`, optionally with other default settings."""

    def register(cls: type[nn.Module]) -> type[nn.Module]:
        POOLERS[name] = partial(cls, **settings) if settings else cls
        return cls

    return register


def masked(x: Float[Array, "B L D"], mask: Bool[Array, "B L"], fill: float = 0.0) -> Float[Array, "B L D"]:
    """`x` with `fill` where the mask is False; no gradient reaches those positions."""
    return jnp.where(mask[..., None], x, fill)


def count(mask: Bool[Array, "B L"]) -> Float[Array, "B 1"]:
    """Number of tokens in each row."""
    return mask.sum(1, keepdims=True).astype(jnp.float32)


@pooler("cls", index=0)
@pooler("last_token", index=-1)
@pooler("token")
class Token(nn.Module):
    """Vector of the `index`-th token, counted from the end if negative; shorter rows give their nearest token.

    Index 0 is [CLS], as in BERT; `cls(special_tokens=False)` is the first word piece.
    """

    index: int

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        length = mask.sum(1)
        wanted = jnp.clip(self.index if self.index >= 0 else length + self.index, 0, length - 1)
        chosen = mask & (jnp.cumsum(mask, 1) - 1 == wanted[:, None])
        return masked(x, chosen).sum(1)


@pooler("random_token")
class RandomToken(nn.Module):
    """Vector of the token at a position drawn from the row's length and a seed: the same for rows of equal length.

    A pooler has no token ids to draw from. The position therefore reveals the length; if a task's labels correlate with
    length, compare this pooler with `token(index=3)`, whose position is fixed.
    """

    seed: int = 0

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        draws = np.random.default_rng(self.seed).random(mask.shape[1])
        length = mask.sum(1)
        wanted = (jnp.asarray(draws, jnp.float32)[length - 1] * length).astype(jnp.int32)
        chosen = mask & (jnp.cumsum(mask, 1) - 1 == wanted[:, None])
        return masked(x, chosen).sum(1)


@pooler("mean")
class Mean(nn.Module):
    """Average over tokens."""

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        return masked(x, mask).sum(1) / count(mask)


@pooler("mean_sqrt_len")
class MeanSqrtLen(nn.Module):
    """Sum over tokens divided by the square root of their number."""

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        return masked(x, mask).sum(1) / jnp.sqrt(count(mask))


@pooler("weightedmean")
class WeightedMean(nn.Module):
    """Average weighted by position: the first pooled token has weight 1, the second 2 (SGPT, arXiv 2202.08904)."""

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        weights = jnp.where(mask, jnp.cumsum(mask, 1), 0).astype(x.dtype)
        return jnp.einsum("BL,BLD->BD", weights, masked(x, mask)) / weights.sum(1, keepdims=True)


@pooler("max")
class Max(nn.Module):
    """Maximum of each feature over tokens."""

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        return masked(x, mask, -jnp.inf).max(1)


@pooler("lse")
class LogSumExp(nn.Module):
    """Smooth maximum, `t log mean exp(x / t)`: the mean as t grows, the maximum as it shrinks."""

    temperature: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        total = jax.nn.logsumexp(masked(x, mask) / self.temperature, axis=1, b=mask[..., None].astype(x.dtype))
        return self.temperature * (total - jnp.log(count(mask)))


@pooler("gem")
class GeneralisedMean(nn.Module):
    """`(mean x^p)^(1/p)` with a learned p over values clipped to be positive (arXiv 1711.02512)."""

    p: float = 3.0
    minimum: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        p = self.param("p", nn.initializers.constant(self.p), ())
        powers = jnp.maximum(masked(x, mask), self.minimum) ** p
        return (masked(powers, mask).sum(1) / count(mask)) ** (1 / p)


@pooler("attention")
class Attention(nn.Module):
    """Average with softmax weights from a learned query for each of `num_heads` slices of the features."""

    num_heads: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        heads = masked(x, mask).reshape(*x.shape[:2], self.num_heads, -1)
        query = self.param("query", nn.initializers.truncated_normal(0.02), heads.shape[2:])
        scores = jnp.einsum("BLHK,HK->BHL", heads, query) * heads.shape[-1] ** -0.5
        weights = jax.nn.softmax(scores, where=mask[:, None], axis=-1)
        return jnp.einsum("BHL,BLHK->BHK", weights, heads).reshape(x.shape[0], -1)


@pooler("map")
class MultiheadAttentionPooling(nn.Module):
    """Multi-head attention of a learned query over the tokens, then a feed-forward residual.

    From Set Transformer (arXiv 1810.00825); the "MAP head" of arXiv 2106.04560.
    """

    num_heads: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        width = x.shape[-1]
        x = masked(x, mask)
        query = self.param("query", nn.initializers.truncated_normal(0.02), (1, 1, width))
        attend = nn.MultiHeadDotProductAttention(self.num_heads)
        pooled = attend(jnp.tile(query, (x.shape[0], 1, 1)), x, mask=mask[:, None, None, :])[:, 0]
        hidden = jax.nn.gelu(nn.Dense(4 * width)(nn.LayerNorm()(pooled)))
        vector: Array = pooled + nn.Dense(width)(hidden)
        return vector


@pooler("cls_attention")
class FirstTokenAttention(nn.Module):
    """The first token plus its multi-head attention over all tokens, `cls + Attention(cls, x)`.

    The added layer of MaxPoolBERT (arXiv 2505.15696); with layers `max(-1,-2,-3)` its query is [CLS] of all three.
    """

    num_heads: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        x = masked(x, mask)
        first = masked(x, mask & (jnp.cumsum(mask, 1) == 1)).sum(1, keepdims=True)
        attend = nn.MultiHeadDotProductAttention(self.num_heads)
        vector: Array = (first + attend(first, x, mask=mask[:, None, None, :]))[:, 0]
        return vector


@pooler("latent_attention")
class LatentAttention(nn.Module):
    """Average over tokens that have each attended to a learned dictionary, then through a feed-forward layer.

    `mean MLP(softmax(x K^T) K)` with `num_latents` keys K, which are the values, too (NV-Embed, arXiv 2405.17428, 3.1).
    """

    num_latents: int = 32
    num_heads: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        width = x.shape[-1]
        latents = self.param("latents", nn.initializers.truncated_normal(0.02), (self.num_latents, width))
        keys = jnp.broadcast_to(latents[None], (x.shape[0], *latents.shape))
        attended = nn.MultiHeadDotProductAttention(self.num_heads)(masked(x, mask), keys)
        hidden = nn.Dense(width)(jax.nn.gelu(nn.Dense(4 * width)(attended)))
        return masked(hidden, mask).sum(1) / count(mask)


@pooler("landmark")
class Landmark(nn.Module):
    """Average over the last token of each chunk of `every` tokens.

    There landmark pooling (arXiv 2601.21525) inserts tokens of its own, which need training; none are inserted here.
    """

    every: int = 32

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"]) -> Float[Array, "B D"]:
        place = jnp.cumsum(mask, 1)
        chosen = mask & ((place % self.every == 0) | (place == mask.sum(1, keepdims=True)))
        return masked(x, chosen).sum(1) / count(chosen)
