"""ModernBERT (arXiv 2412.13663): rotary positions, pre-normalisation, gated layers, local attention, no biases."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from bert_jax.config import BertConfig, require
from bert_jax.model.encoder import ARCHITECTURES, Architecture, Layer, SelfAttention
from bert_jax.model.heads import MaskedLanguageModel
from bert_jax.model.layers import ACTIVATIONS, Dropout, dense, layer_norm
from bert_jax.types import Array, Target

FIRST, GLOBAL, LOCAL = "first", "global", "local"
"""Kinds of blocks: the first has global attention and no normalisation before it."""


@dataclass(frozen=True)
class ModernBertConfig(BertConfig):
    """A ModernBERT; defaults are those of `transformers`, which are the base model's."""

    fewest_segments: ClassVar[int] = 0

    vocab_size: int = 50368
    num_layers: int = 22
    intermediate_size: int = 1152
    max_length: int = 8192
    """Longest input; positions are not learned."""
    num_segments: int = 0
    """Segment embeddings: none, so that only [SEP] tells two texts apart."""
    dropout: float = 0.0
    """Dropout rate on embeddings, inside the feed-forward layer and on the classifier's input."""
    attention_dropout: float = 0.0
    """Dropout rate on attention probabilities and on the output of attention."""
    layer_norm_eps: float = 1e-5
    local: tuple[bool, ...] = ()
    """For each layer: is its attention local? By default all but every third, beginning with the first."""
    window: int = 64
    """In local attention, how far a position sees to each side."""
    global_theta: float = 160_000.0
    """Base of the rotary positions in layers with global attention."""
    local_theta: float = 10_000.0
    """Base of the rotary positions in layers with local attention."""
    classifier_pooling: Literal["cls", "mean"] = "cls"
    """Pooling of the sentence classifier of `transformers`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.local:
            object.__setattr__(self, "local", tuple(n % 3 > 0 for n in range(self.num_layers)))
        require(
            len(self.local) == self.num_layers, f"local has {len(self.local)} layers where there are {self.num_layers}"
        )
        require(self.window >= 0, f"window must not be negative, and is {self.window}")
        width = self.hidden_size // self.num_heads
        require(width % 2 == 0, f"hidden_size / num_heads is {width}; rotary positions need an even number")


class RotaryAttention(SelfAttention):
    """Attention with rotary positions (arXiv 2104.09864) of base `theta`, and one matrix for query, key and value."""

    theta: float = 10_000.0

    def project(self, attending: Float[Array, "B Q D"], x: Float[Array, "B L D"]) -> Sequence[Float[Array, "B _ D"]]:
        query, key, value = jnp.split(dense(self.config, 3 * x.shape[-1], "qkv", self.use_bias)(x), 3, -1)
        return query[:, : attending.shape[1]], key, value

    def place(self, heads: Float[Array, "B L H K"]) -> Float[Array, "B L H K"]:
        half = heads.shape[-1] // 2
        frequency = self.theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
        angle = (jnp.arange(heads.shape[1], dtype=jnp.float32)[:, None] * frequency[None])[None, :, None]
        left, right = jnp.split(heads.astype(jnp.float32), 2, -1)
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        rotated = jnp.concatenate([left * cos - right * sin, right * cos + left * sin], -1)
        return rotated.astype(heads.dtype)


class ModernBertEmbeddings(nn.Module):
    """Token embeddings, normalised."""

    config: BertConfig

    def setup(self) -> None:
        init = nn.initializers.truncated_normal(self.config.initializer_range)
        self.token = nn.Embed(self.config.vocab_size, self.config.hidden_size, embedding_init=init)
        self.norm = layer_norm(self.config, use_bias=False)
        self.dropout = Dropout(self.config.dropout)

    def __call__(
        self, ids: Int[Array, "B L"], segments: Int[Array, "B L"], train: bool = False
    ) -> Float[Array, "B L D"]:
        x: Array = self.dropout(self.norm(self.token(ids)), train)
        return x


class ModernBertBlock(nn.Module):
    """A block with normalisation before attention and feed-forward, a gated feed-forward layer and no biases."""

    config: ModernBertConfig
    target: Target = Target()
    kind: str = GLOBAL

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "B L"],
        train: bool = False,
        seen: Bool[Array, "B L L"] | None = None,
        first_only: bool = False,
    ) -> Float[Array, "B Q D"]:
        c, is_local = self.config, self.kind == LOCAL
        attention = RotaryAttention(
            c,
            self.target,
            window=c.window if is_local else None,
            use_bias=False,
            theta=c.local_theta if is_local else c.global_theta,
            name="attention",
        )
        normed = x if self.kind == FIRST else layer_norm(c, "attention_norm", use_bias=False)(x)
        attended = attention(normed, mask, train, seen, first_only)
        x = (x[:, :1] if first_only else x) + Dropout(c.attention_dropout)(attended, train)
        normed = layer_norm(c, "output_norm", use_bias=False)(x)
        hidden, gate = jnp.split(dense(c, 2 * c.intermediate_size, "intermediate", use_bias=False)(normed), 2, -1)
        gated = Dropout(c.dropout)(ACTIVATIONS[c.activation](hidden) * gate, train)
        x = x + dense(c, c.hidden_size, "output", use_bias=False)(gated)
        return x


def _layers(config: BertConfig) -> tuple[Layer, ...]:
    assert isinstance(config, ModernBertConfig)
    kinds = (LOCAL if local else GLOBAL for local in config.local)
    return tuple(Layer(n, kind if n else FIRST) for n, kind in enumerate(kinds))


def _final(config: BertConfig) -> nn.Module:
    return layer_norm(config, use_bias=False)


def _mlm(config: BertConfig) -> MaskedLanguageModel:
    return MaskedLanguageModel(config, "gelu", use_bias=False)


ARCHITECTURES[ModernBertConfig] = Architecture(ModernBertEmbeddings, ModernBertBlock, _layers, _final, _mlm)
