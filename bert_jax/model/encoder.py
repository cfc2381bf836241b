"""The BERT encoder: embeddings and post-layer-norm transformer blocks (arXiv 1810.04805, section 3)."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from bert_jax.config import BertConfig
from bert_jax.model.layers import ACTIVATIONS, Dropout, dense, layer_norm
from bert_jax.types import Array, Params, Target, Tokens, Tree


class Embeddings(nn.Module):
    """Sum of token, position and segment embeddings, normalised."""

    config: BertConfig

    def setup(self) -> None:
        c = self.config
        init = nn.initializers.truncated_normal(c.initializer_range)
        self.token = nn.Embed(c.vocab_size, c.hidden_size, embedding_init=init)
        self.position = nn.Embed(c.max_length, c.hidden_size, embedding_init=init)
        self.segment = nn.Embed(c.num_segments, c.hidden_size, embedding_init=init)
        self.norm = layer_norm(c)
        self.dropout = Dropout(c.dropout)

    def __call__(
        self, ids: Int[Array, "B L"], segments: Int[Array, "B L"], train: bool = False
    ) -> Float[Array, "B L D"]:
        position = self.position.embedding[: ids.shape[1]]
        # A product with one-hot segments has a matrix product as its gradient; a gather has a slow scatter.
        segment = jax.nn.one_hot(segments, self.config.num_segments, dtype=position.dtype) @ self.segment.embedding
        return self.dropout(self.norm(self.token(ids) + position[None] + segment), train)


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention over the tokens that are not padding.

    `seen` restricts the positions that each position may attend to. With `first_only`, only the first position attends
    (Q is 1 instead of L). The probabilities [B H Q L] are sown as an intermediate, which is free unless intermediates
    are collected.
    """

    config: BertConfig
    target: Target = Target()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "B L"],
        train: bool = False,
        seen: Bool[Array, "B L L"] | None = None,
        first_only: bool = False,
    ) -> Float[Array, "B Q D"]:
        c = self.config
        attending = x[:, :1] if first_only else x
        inputs = {"query": attending, "key": x, "value": x}
        heads = [dense(c, c.hidden_size, name)(states) for name, states in inputs.items()]
        query, key, value = (h.reshape(*h.shape[:2], c.num_heads, -1) for h in heads)
        # The probabilities of a single position take too little memory to be worth a fused kernel.
        if is_fused(c, train, self.target) and seen is None and not first_only:
            mixed = fused_attention(query, key, value, mask, c.causal, self.target)
        else:
            mixed = self._attend(query, key, value, mask, train, seen)
        return dense(c, c.hidden_size, "output")(mixed.reshape(attending.shape))

    def _attend(
        self,
        query: Float[Array, "B Q H K"],
        key: Float[Array, "B L H K"],
        value: Float[Array, "B L H K"],
        mask: Bool[Array, "B L"],
        train: bool,
        seen: Bool[Array, "B L L"] | None,
    ) -> Float[Array, "B Q H K"]:
        query, key, value = (jnp.transpose(x, (0, 2, 1, 3)) for x in (query, key, value))
        scale = query.shape[-1] ** -0.5
        scores = jnp.einsum("BHLK,BHMK->BHLM", query * scale, key, preferred_element_type=jnp.float32)
        visible = mask[:, None, None, :]
        if self.config.causal:
            visible = visible & jnp.tri(query.shape[2], mask.shape[1], dtype=bool)[None, None]
        if seen is not None:
            visible = visible & seen[:, None, : query.shape[2]]
        probabilities = jax.nn.softmax(jnp.where(visible, scores, jnp.finfo(scores.dtype).min)).astype(value.dtype)
        self.sow("intermediates", "probabilities", probabilities)
        dropped = Dropout(self.config.attention_dropout)(probabilities, train)
        return jnp.einsum("BHLM,BHMK->BHLK", dropped, value).transpose(0, 2, 1, 3)


def is_fused(config: BertConfig, train: bool, target: Target) -> bool:
    """True if attention runs as one fused kernel, which has no dropout and, on a GPU, needs 16-bit numbers."""
    if config.compute.attention != "auto":
        return config.compute.attention == "fused"
    drops = train and config.attention_dropout > 0
    wanted = target.platform == "gpu" and config.compute.dtype == "bfloat16" and not drops
    return wanted and has_kernel(target, config.hidden_size // config.num_heads)


def has_kernel(target: Target, head_width: int) -> bool:
    """True if cuDNN has an attention kernel for a GPU: NVIDIA's from compute capability 8.0 (A100) on, not AMD's."""
    major = target.compute_capability.partition(".")[0]
    return major.isdigit() and int(major) >= 8 and head_width % 8 == 0 and head_width <= 128


def fused_attention(
    query: Float[Array, "B Q H K"],
    key: Float[Array, "B L H K"],
    value: Float[Array, "B L H K"],
    mask: Bool[Array, "B L"],
    causal: bool,
    target: Target,
) -> Float[Array, "B Q H K"]:
    """Attention that does not store its probabilities if the backend has a kernel. Padding must be at the end."""
    kernel: Literal["cudnn"] | None = "cudnn" if target.platform == "gpu" else None
    lengths = mask.sum(1, dtype=jnp.int32)
    return jax.nn.dot_product_attention(
        query, key, value, is_causal=causal, key_value_seq_lengths=lengths, implementation=kernel
    )


class Block(nn.Module):
    """A transformer block: attention and feed-forward, each followed by dropout, residual and layer normalisation.

    With `first_only`, only the first position is computed (Q is 1 instead of L).
    """

    config: BertConfig
    target: Target = Target()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B L D"],
        mask: Bool[Array, "B L"],
        train: bool = False,
        seen: Bool[Array, "B L L"] | None = None,
        first_only: bool = False,
    ) -> Float[Array, "B Q D"]:
        c = self.config
        attended = SelfAttention(c, self.target, name="attention")(x, mask, train, seen, first_only)
        x = x[:, :1] if first_only else x
        x = layer_norm(c, "attention_norm")(x + Dropout(c.dropout)(attended, train))
        hidden = ACTIVATIONS[c.activation](dense(c, c.intermediate_size, "intermediate")(x))
        hidden = dense(c, c.hidden_size, "output")(hidden)
        x = layer_norm(c, "output_norm")(x + Dropout(c.dropout)(hidden, train))
        return x


class Encoder(nn.Module):
    """Token ids to hidden states.

    Returns N+1 arrays [B L D]: the embedding layer's output, then each block's. Unused arrays cost nothing once
    compiled. `seen`, if given, marks for each block and position the positions (last axis) that it may attend to.
    With `first_only`, the last block computes only the first position and the last array is [B 1 D]; this saves nearly
    all of that block when only [CLS] is read.
    """

    config: BertConfig
    target: Target = Target()

    def setup(self) -> None:
        self.embeddings = Embeddings(self.config)
        self.blocks = [Block(self.config, self.target) for _ in range(self.config.num_layers)]

    def __call__(
        self,
        tokens: Tokens,
        train: bool = False,
        seen: Bool[Array, "N B L L"] | None = None,
        first_only: bool = False,
    ) -> tuple[Float[Array, "B _ D"], ...]:
        x = self.embeddings(tokens.ids, tokens.segments, train)
        if self.is_initializing():
            for block in self.blocks:
                block(x, tokens.mask)
            return (*((x,) * self.config.num_layers), x[:, :1] if first_only else x)
        params = [self.variables["params"][f"blocks_{i}"] for i in range(self.config.num_layers)]
        drops = train and max(self.config.dropout, self.config.attention_dropout) > 0
        keys = jax.random.split(self.make_rng("dropout"), self.config.num_layers) if drops else [None] * len(params)
        return (x, *run_blocks(self.config, self.target, params, keys, x, tokens.mask, seen, first_only))


def run_blocks(
    config: BertConfig,
    target: Target,
    params: Sequence[Params],
    keys: Array | Sequence[None],
    x: Float[Array, "B L D"],
    mask: Bool[Array, "B L"],
    seen: Bool[Array, "N B L L"] | None = None,
    first_only: bool = False,
) -> tuple[Float[Array, "B _ D"], ...]:
    """The output of every block. `keys` are [N] dropout keys in training, else Nones; the rest as in `Encoder`."""
    train = keys[0] is not None
    run = _block(config, target, train)
    if config.compute.scan:
        stacked = jax.tree.map(lambda *layers: jnp.stack(layers), *params)
        layers = (stacked, None if keys[0] is None else keys, seen)
        _, outputs = jax.lax.scan(lambda x, layer: (run(*layer[:2], x, mask, layer[2]),) * 2, x, layers)
        return (*outputs[:-1], outputs[-1][:, :1] if first_only else outputs[-1])
    states: list[Array] = []
    for layer in zip(params, keys, [None] * len(params) if seen is None else seen, strict=True):
        if first_only and len(states) == len(params) - 1:
            run = _block(config, target, train, first_only=True)
        x = run(*layer[:2], x, mask, layer[2])
        states.append(x)
    return tuple(states)


@lru_cache(maxsize=32)
def _block(config: BertConfig, target: Target, train: bool, first_only: bool = False) -> Callable[..., Array]:
    """A compiled `(params, key, x, mask, seen) -> x`. Compiled separately, it is traced once, not once per layer."""

    def run(params: Params, key: jax.Array | None, x: Array, mask: Array, seen: Array | None) -> Tree:
        rngs = None if key is None else {"dropout": key}
        return Block(config, target, parent=None).apply({"params": params}, x, mask, train, seen, first_only, rngs=rngs)

    return jax.jit(jax.checkpoint(run) if config.compute.remat else run)
