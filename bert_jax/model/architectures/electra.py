"""ELECTRA (arXiv 2003.10555), generator and discriminator: BERT with embeddings of their own width."""

from dataclasses import dataclass

from flax import linen as nn
from jaxtyping import Float

from bert_jax.config import BertConfig, require
from bert_jax.model.encoder import ARCHITECTURES, Architecture, Embeddings
from bert_jax.model.heads import MaskedLanguageModel
from bert_jax.model.layers import ACTIVATIONS, dense
from bert_jax.types import Array


@dataclass(frozen=True)
class ElectraConfig(BertConfig):
    """An ELECTRA; defaults are those of `transformers`."""

    hidden_size: int = 256
    num_heads: int = 4
    intermediate_size: int = 1024
    embedding_size: int = 128
    """Width of the embeddings; a dense layer follows if the blocks have another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.embedding_size >= 1, f"embedding_size must be at least 1, not {self.embedding_size}")


def _embeddings(config: BertConfig) -> Embeddings:
    assert isinstance(config, ElectraConfig)
    return Embeddings(config, None if config.embedding_size == config.hidden_size else config.embedding_size)


def _mlm(config: BertConfig) -> MaskedLanguageModel:
    return MaskedLanguageModel(config, "gelu")


class Discriminator(nn.Module):
    """The head of the discriminator: for each token a logit, positive where it was replaced."""

    config: BertConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B L D"]) -> Float[Array, "B L"]:
        hidden = ACTIVATIONS[self.config.activation](dense(self.config, self.config.hidden_size, "dense")(x))
        logits: Array = dense(self.config, 1, "prediction")(hidden)[..., 0]
        return logits


ARCHITECTURES[ElectraConfig] = Architecture(_embeddings, mlm=_mlm)
