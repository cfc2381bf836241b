"""The BERT encoder: embeddings and post-layer-norm transformer blocks (arXiv 1810.04805, section 3)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from bert_jax.config import BertConfig
from bert_jax.model.layers import ACTIVATIONS, Dropout, dense, layer_norm
from bert_jax.types import Array, Tokens


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
    """Multi-head scaled dot-product attention over the real tokens."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"], train: bool = False
    ) -> Float[Array, "B L D"]:
        c = self.config
        query, key, value = (self._heads(dense(c, c.hidden_size, name)(x)) for name in ("query", "key", "value"))
        scores = jnp.einsum("BHLK,BHMK->BHLM", query * query.shape[-1] ** -0.5, key)
        scores = jnp.where(mask[:, None, None, :], scores, jnp.finfo(scores.dtype).min)
        probabilities = Dropout(c.attention_dropout)(jax.nn.softmax(scores), train)
        mixed = jnp.einsum("BHLM,BHMK->BHLK", probabilities, value)
        mixed = mixed.transpose(0, 2, 1, 3).reshape(x.shape)
        return dense(c, c.hidden_size, "output")(mixed)

    def _heads(self, x: Float[Array, "B L D"]) -> Float[Array, "B H L K"]:
        return x.reshape(*x.shape[:2], self.config.num_heads, -1).transpose(0, 2, 1, 3)


class Block(nn.Module):
    """Attention and feed-forward, each with dropout, a residual and layer normalisation after it."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], mask: Bool[Array, "B L"], train: bool = False
    ) -> Float[Array, "B L D"]:
        c = self.config
        attended = SelfAttention(c, name="attention")(x, mask, train)
        x = layer_norm(c, "attention_norm")(x + Dropout(c.dropout)(attended, train))
        hidden = ACTIVATIONS[c.activation](dense(c, c.intermediate_size, "intermediate")(x))
        hidden = dense(c, c.hidden_size, "output")(hidden)
        return layer_norm(c, "output_norm")(x + Dropout(c.dropout)(hidden, train))


class Encoder(nn.Module):
    """Token ids to hidden states.

    Returns N+1 arrays [B L D]: the embedding layer's output, then each block's. What a program
    does not use of them costs nothing once compiled.
    """

    config: BertConfig

    def setup(self) -> None:
        self.embeddings = Embeddings(self.config)
        self.blocks = [Block(self.config) for _ in range(self.config.num_layers)]

    def __call__(self, tokens: Tokens, train: bool = False) -> tuple[Float[Array, "B L D"], ...]:
        states = [self.embeddings(tokens.ids, tokens.segments, train)]
        for block in self.blocks:
            states.append(block(states[-1], tokens.mask, train))
        return tuple(states)
