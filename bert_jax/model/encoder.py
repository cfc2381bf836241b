"""Encoders: BERT's embeddings and blocks (arXiv 1810.04805, section 3), and the parts that other architectures replace.

Each other architecture is a file in `bert_jax/model/architectures/`, which registers its parts with `architecture`.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from bert_jax.config import BertConfig
from bert_jax.model.heads import MaskedLanguageModel
from bert_jax.model.layers import ACTIVATIONS, Dropout, dense, hash_keys, layer_norm
from bert_jax.types import Array, Params, Target, Tokens, Tree


class Embeddings(nn.Module):
    """Sum of token, position and segment embeddings, normalised.

    With a `width`, the sum has this width and a dense layer makes it as wide as the blocks. With a `pad_id`, positions
    are counted from pad_id + 1 over the tokens that are not padding, as in RoBERTa. A config without segments has no
    segment embeddings.
    """

    config: BertConfig
    width: int | None = None
    pad_id: int | None = None

    def setup(self) -> None:
        c = self.config
        width = self.width or c.hidden_size
        init = nn.initializers.truncated_normal(c.initializer_range)
        self.token = nn.Embed(c.vocab_size, width, embedding_init=init)
        self.position = nn.Embed(
            c.max_length + (0 if self.pad_id is None else self.pad_id + 1), width, embedding_init=init
        )
        if c.num_segments:
            self.segment = nn.Embed(c.num_segments, width, embedding_init=init)
        self.norm = layer_norm(c)
        self.dropout = Dropout(c.dropout)
        if self.width:
            self.projection = dense(c, c.hidden_size)

    def __call__(
        self, ids: Int[Array, "B L"], segments: Int[Array, "B L"], train: bool = False
    ) -> Float[Array, "B L D"]:
        position, segment = self._positions(ids), self._segments(segments)
        x = self.token(ids) + (position[None] if position.ndim == 2 else position)
        x = self.dropout(self.norm(x if segment is None else x + segment), train)
        return self.projection(x) if self.width else x

    def _positions(self, ids: Int[Array, "B L"]) -> Float[Array, "*B L E"]:
        if self.pad_id is None:
            return self.position.embedding[: ids.shape[1]]
        counted = ids != self.pad_id
        positions: Array = self.position(jnp.cumsum(counted, 1) * counted + self.pad_id)
        return positions

    def _segments(self, segments: Int[Array, "B L"]) -> Float[Array, "B L E"] | None:
        if not self.config.num_segments:
            return None
        # A product with one-hot segments has a matrix product as its gradient; a gather has a slow scatter.
        table = self.segment.embedding
        return jax.nn.one_hot(segments, self.config.num_segments, dtype=table.dtype) @ table


class SelfAttention(nn.Module):
    """Multi-head scaled dot-product attention over the tokens that are not padding.

    With a `window`, a position attends to those at most so far from it. `seen` restricts the positions that each
    position may attend to. With `first_only`, only the first position attends (Q is 1 instead of L). The probabilities
    [B H Q L] are sown as an intermediate, which is free unless intermediates are collected.
    """

    config: BertConfig
    target: Target = Target()
    window: int | None = None
    use_bias: bool = True

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
        query, key, value = (h.reshape(*h.shape[:2], c.num_heads, -1) for h in self.project(attending, x))
        query, key = self.place(query), self.place(key)
        is_local = self.window is not None and self.window < x.shape[1] - 1
        # The probabilities of a single position take too little memory to be worth a fused kernel.
        if is_fused(c, train, self.target) and seen is None and not (first_only or is_local):
            mixed = fused_attention(query, key, value, mask, c.causal, self.target)
        else:
            mixed = self._attend(query, key, value, mask, train, seen)
        return dense(c, c.hidden_size, "output", self.use_bias)(mixed.reshape(attending.shape))

    def project(self, attending: Float[Array, "B Q D"], x: Float[Array, "B L D"]) -> Sequence[Float[Array, "B _ D"]]:
        """Queries of the attending positions, keys and values of all."""
        c, inputs = self.config, {"query": attending, "key": x, "value": x}
        return [dense(c, c.hidden_size, name, self.use_bias)(states) for name, states in inputs.items()]

    def place(self, heads: Float[Array, "B L H K"]) -> Float[Array, "B L H K"]:
        """Add the positions to queries or keys, in an architecture that does it here."""
        return heads

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
        if self.window is not None and self.window < mask.shape[1] - 1:
            distance = jnp.arange(query.shape[2])[:, None] - jnp.arange(mask.shape[1])[None]
            visible = visible & (jnp.abs(distance) <= self.window)[None, None]
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

    With `first_only`, only the first position is computed (Q is 1 instead of L). `kind` tells blocks of an architecture
    with several kinds apart; BERT has one.
    """

    config: BertConfig
    target: Target = Target()
    kind: str = ""

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


class Layer(NamedTuple):
    """One step from hidden state to hidden state. block: number of the block with its parameters; kind: see `Block`."""

    block: int
    kind: str = ""


def _one_block_each(config: BertConfig) -> tuple[Layer, ...]:
    return tuple(Layer(n) for n in range(config.num_layers))


class Architecture(NamedTuple):
    """The parts of an encoder, by default BERT's.

    embeddings: makes the module of hidden state 0, which is called like `Embeddings` and holds the token embeddings as
    `token`. block: makes a block from the fields of `Block`. layers: the blocks in order; several may share parameters.
    final: makes a normalisation of the last hidden state. mlm: makes the head that predicts masked tokens.
    """

    embeddings: Callable[[BertConfig], nn.Module] = Embeddings
    block: Callable[..., nn.Module] = Block
    layers: Callable[[BertConfig], tuple[Layer, ...]] = _one_block_each
    final: Callable[[BertConfig], nn.Module] | None = None
    mlm: Callable[[BertConfig], MaskedLanguageModel] = MaskedLanguageModel


ARCHITECTURES: dict[type[BertConfig], Architecture] = {BertConfig: Architecture()}
"""Class of a config -> the parts of its encoder, which its subclasses inherit."""


def architecture(config: BertConfig) -> Architecture:
    """The parts of the encoder that a config describes."""
    return next(ARCHITECTURES[kind] for kind in type(config).__mro__ if kind in ARCHITECTURES)


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
        parts = architecture(self.config)
        self.embeddings = parts.embeddings(self.config)
        kinds = dict(parts.layers(self.config))
        self.blocks = [parts.block(self.config, self.target, kinds[n]) for n in range(len(kinds))]
        self.final = parts.final(self.config) if parts.final else None

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
            x = self.final(x) if self.final else x
            return (*((x,) * self.config.num_layers), x[:, :1] if first_only else x)
        layers = architecture(self.config).layers(self.config)
        params = [self.variables["params"][f"blocks_{layer.block}"] for layer in layers]
        drops = train and max(self.config.dropout, self.config.attention_dropout) > 0
        keys = hash_keys(self.make_rng("dropout"), (len(params),)) if drops else [None] * len(params)
        states = (x, *run_blocks(self.config, self.target, params, keys, x, tokens.mask, seen, first_only))
        return (*states[:-1], self.final(states[-1])) if self.final else states


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
    kinds = [layer.kind for layer in architecture(config).layers(config)]
    if config.compute.scan and len(set(kinds)) == 1:
        run = _block(config, target, train, kinds[0])
        stacked = jax.tree.map(lambda *layers: jnp.stack(layers), *params)
        layers = (stacked, None if keys[0] is None else keys, seen)
        _, outputs = jax.lax.scan(lambda x, layer: (run(*layer[:2], x, mask, layer[2]),) * 2, x, layers)
        return (*outputs[:-1], outputs[-1][:, :1] if first_only else outputs[-1])
    states: list[Array] = []
    for kind, *layer in zip(kinds, params, keys, [None] * len(params) if seen is None else seen, strict=True):
        run = _block(config, target, train, kind, first_only and len(states) == len(params) - 1)
        x = run(*layer[:2], x, mask, layer[2])
        states.append(x)
    return tuple(states)


@lru_cache(maxsize=64)
def _block(
    config: BertConfig, target: Target, train: bool, kind: str, first_only: bool = False
) -> Callable[..., Array]:
    """A compiled `(params, key, x, mask, seen) -> x`. Compiled separately, it is traced once, not once per layer."""
    block = architecture(config).block(config, target, kind, parent=None)

    def run(params: Params, key: jax.Array | None, x: Array, mask: Array, seen: Array | None) -> Tree:
        rngs = None if key is None else {"dropout": key}
        return block.apply({"params": params}, x, mask, train, seen, first_only, rngs=rngs)

    return jax.jit(jax.checkpoint(run) if config.compute.remat else run)


@lru_cache(maxsize=8)
def parameter_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters of an `Encoder`, by path: `blocks_0/attention/query/kernel`."""
    parts, key = architecture(config), jax.random.key(0)
    ids, mask = np.zeros((1, 1), np.int32), np.ones((1, 1), bool)
    x = np.zeros((1, 1, config.hidden_size), np.float32)
    layers = parts.layers(config)
    blocks = {
        kind: jax.eval_shape(parts.block(config, Target(), kind, parent=None).init, key, x, mask)["params"]
        for kind in {layer.kind for layer in layers}
    }
    tree = {"embeddings": jax.eval_shape(parts.embeddings(config).init, key, ids, ids)["params"]}
    tree |= {f"blocks_{layer.block}": blocks[layer.kind] for layer in layers}
    if parts.final:
        tree["final"] = jax.eval_shape(parts.final(config).init, key, x)["params"]
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {"/".join(step.key for step in path): leaf.shape for path, leaf in paths}
