"""Whole models: an encoder with a readout and heads. `target`: the devices that the program is made for."""

from typing import NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Bool, Float, Int

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.model.encoder import Encoder, architecture
from bert_jax.model.heads import Classifier
from bert_jax.model.readout import Readout, reads_first_only
from bert_jax.types import Array, Target, Tokens


def _read(encoder: Encoder, reader: Readout, tokens: Tokens, train: bool) -> Float[Array, "B E"]:
    """Sentence vectors; the last block computes only the first position if the readout reads nothing else."""
    first_only = reads_first_only(reader.spec)
    states = encoder(tokens, train, first_only=first_only)
    return reader(states, Tokens(*(field[:, :1] for field in tokens)) if first_only else tokens)


class SentenceEncoder(nn.Module):
    """An encoder read out to sentence vectors [B E]."""

    config: BertConfig
    readout: ReadoutConfig
    target: Target = Target()

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.target)
        self.reader = Readout(self.readout, self.config)

    def __call__(self, tokens: Tokens, train: bool = False) -> Float[Array, "B E"]:
        return _read(self.encoder, self.reader, tokens, train)


class SentenceReadouts(nn.Module):
    """Sentence vectors of several readouts from one pass of the encoder, concatenated on the last axis [B E].

    `seen` is passed on to the encoder.
    """

    config: BertConfig
    readouts: tuple[ReadoutConfig, ...]
    target: Target = Target()

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.target)
        self.readers = [Readout(readout, self.config) for readout in self.readouts]

    def __call__(self, tokens: Tokens, seen: Bool[Array, "N B L L"] | None = None) -> Float[Array, "B E"]:
        states = self.encoder(tokens, seen=seen)
        return jnp.concatenate([reader(states, tokens) for reader in self.readers], -1)


class SequenceClassifier(nn.Module):
    """An encoder with a readout and a classifier; with one output, a regressor."""

    config: BertConfig
    readout: ReadoutConfig
    num_outputs: int
    target: Target = Target()

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.target)
        self.reader = Readout(self.readout, self.config)
        self.classifier = Classifier(self.config, self.num_outputs, self.config.dropout)

    def __call__(self, tokens: Tokens, train: bool = False) -> Float[Array, "B C"]:
        return self.classifier(_read(self.encoder, self.reader, tokens, train), train)


class PretrainLogits(NamedTuple):
    """mlm [B M V] at the masked slots; nsp [B 2], class 1 where segment B follows A."""

    mlm: Array
    nsp: Array


class BertForPretraining(nn.Module):
    """MLM and next-sentence prediction over one encoder; `readout` gives the sentence vector for NSP."""

    config: BertConfig
    readout: ReadoutConfig
    target: Target = Target()

    def setup(self) -> None:
        self.encoder = Encoder(self.config, self.target)
        self.reader = Readout(self.readout, self.config)
        self.mlm = architecture(self.config).mlm(self.config)
        self.nsp = Classifier(self.config, 2)

    def __call__(self, tokens: Tokens, positions: Int[Array, "B M"], train: bool = False) -> PretrainLogits:
        states = self.encoder(tokens, train)
        mlm = self.mlm(states[-1], positions, self.encoder.embeddings.token.embedding)
        return PretrainLogits(mlm, self.nsp(self.reader(states, tokens)))
