"""ALBERT (arXiv 1909.11942): narrow embeddings and layers that share their parameters; trained on sentence order."""

from dataclasses import dataclass
from typing import Literal

from bert_jax.config import BertConfig, require
from bert_jax.model.encoder import ARCHITECTURES, Architecture, Embeddings, Layer


@dataclass(frozen=True)
class AlbertConfig(BertConfig):
    """An ALBERT; defaults are those of `transformers`."""

    vocab_size: int = 30000
    hidden_size: int = 4096
    num_heads: int = 64
    intermediate_size: int = 16384
    activation: Literal["gelu", "gelu_tanh", "relu"] = "gelu_tanh"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    embedding_size: int = 128
    """Width of the embeddings; a dense layer follows."""
    num_groups: int = 1
    """Groups of neighbouring layers; the layers of a group share their parameters."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.embedding_size >= 1, f"embedding_size must be at least 1, not {self.embedding_size}")
        require(
            1 <= self.num_groups <= self.num_layers,
            f"num_groups must be from 1 to the {self.num_layers} layers, not {self.num_groups}",
        )


def _embeddings(config: BertConfig) -> Embeddings:
    assert isinstance(config, AlbertConfig)
    return Embeddings(config, config.embedding_size)


def _layers(config: BertConfig) -> tuple[Layer, ...]:
    assert isinstance(config, AlbertConfig)
    # As in transformers, in floating point: the groups of 3 of 10 layers have 4, 3 and 3.
    return tuple(Layer(int(n / (config.num_layers / config.num_groups))) for n in range(config.num_layers))


ARCHITECTURES[AlbertConfig] = Architecture(_embeddings, layers=_layers)
