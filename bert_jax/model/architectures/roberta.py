"""RoBERTa (arXiv 1907.11692) and the encoders of the same form: XLM-RoBERTa (1911.02116), CamemBERT (1911.03894).

A BERT with positions counted from pad_id + 1, and trained without a sentence objective.
"""

from dataclasses import dataclass

from bert_jax.config import BertConfig
from bert_jax.model.encoder import ARCHITECTURES, Architecture, Embeddings
from bert_jax.model.heads import MaskedLanguageModel


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """A RoBERTa; defaults are those of `transformers`."""

    vocab_size: int = 50265
    max_length: int = 510
    pad_id: int = 1
    """Id of the padding token: the first position that is used is pad_id + 1."""


@dataclass(frozen=True)
class XlmRobertaConfig(RobertaConfig):
    """An XLM-RoBERTa; defaults are those of `transformers`."""

    vocab_size: int = 30522


@dataclass(frozen=True)
class CamembertConfig(XlmRobertaConfig):
    """A CamemBERT; defaults are those of `transformers`."""


def _embeddings(config: BertConfig) -> Embeddings:
    assert isinstance(config, RobertaConfig)
    return Embeddings(config, pad_id=config.pad_id)


def _mlm(config: BertConfig) -> MaskedLanguageModel:
    return MaskedLanguageModel(config, "gelu")


ARCHITECTURES[RobertaConfig] = Architecture(_embeddings, mlm=_mlm)
