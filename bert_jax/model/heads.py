"""Prediction heads over hidden states and sentence vectors."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float, Int

from bert_jax.config import BertConfig
from bert_jax.model.layers import ACTIVATIONS, Dropout, dense, layer_norm
from bert_jax.types import Array


class MaskedLanguageModel(nn.Module):
    """Token logits at the masked slots only; the output matrix is tied to the token embedding.

    `activation` is the config's by default. Without `use_bias`, only the logits have a bias.
    """

    config: BertConfig
    activation: str | None = None
    use_bias: bool = True

    @nn.compact
    def __call__(
        self, x: Float[Array, "B L D"], positions: Int[Array, "B M"], embedding: Float[Array, "V E"]
    ) -> Float[Array, "B M V"]:
        slots = jnp.take_along_axis(x, positions[..., None], axis=1)
        activate = ACTIVATIONS[self.activation or self.config.activation]
        hidden = activate(dense(self.config, embedding.shape[1], "dense", self.use_bias)(slots))
        hidden = layer_norm(self.config, "norm", self.use_bias)(hidden)
        bias = self.param("bias", nn.initializers.zeros, (self.config.vocab_size,))
        flat = hidden.reshape(-1, hidden.shape[-1])
        logits = jnp.einsum("RD,VD->RV", flat, embedding.astype(flat.dtype), preferred_element_type=jnp.float32)
        return (logits + bias[None]).reshape(*positions.shape, -1)


class PairClassifier(nn.Module):
    """Logits of C classes from two sentence vectors, `W (u, v, |u - v|) + b` (Sentence-BERT, arXiv 1908.10084, 3)."""

    config: BertConfig
    num_outputs: int

    @nn.compact
    def __call__(self, u: Float[Array, "B E"], v: Float[Array, "B E"]) -> Float[Array, "B C"]:
        features = jnp.concatenate([u, v, jnp.abs(u - v)], -1)
        return dense(self.config, self.num_outputs, "dense")(features).astype(jnp.float32)


class Classifier(nn.Module):
    """Logits of C classes, or one score, from a sentence vector after dropout."""

    config: BertConfig
    num_outputs: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "B E"], train: bool = False) -> Float[Array, "B C"]:
        return dense(self.config, self.num_outputs, "dense")(Dropout(self.dropout)(x, train)).astype(jnp.float32)
