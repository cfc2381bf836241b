"""DistilBERT (arXiv 1910.01108): half of BERT's layers, without segments; distilled without a sentence objective."""

from dataclasses import dataclass
from typing import ClassVar

from bert_jax.config import BertConfig


@dataclass(frozen=True)
class DistilBertConfig(BertConfig):
    """A DistilBERT; defaults are those of `transformers`."""

    fewest_segments: ClassVar[int] = 0

    num_layers: int = 6
    num_segments: int = 0
    """Segment embeddings: none, so that only [SEP] tells two texts apart."""
