"""A trained encoder with its tokenizer, from a model directory and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from bert_jax.card import CARD, plain_card
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts, length_steps, pack_rows
from bert_jax.data.fast_tokenizer import save_for_transformers
from bert_jax.data.tokenizer import Encoding, Tokenizer, load_tokenizer
from bert_jax.errors import InputError
from bert_jax.model import readout as readouts
from bert_jax.model.bert import SentenceEncoder
from bert_jax.model.huggingface import Checkpoint, load_checkpoint, resolve, save_checkpoint
from bert_jax.train.inference import predict_packs
from bert_jax.train.parallel import check_batch_size, least_batch, map_predict_step, replicate
from bert_jax.types import Params, Tokens


@dataclass(frozen=True)
class Pretrained:
    """An encoder's weights and its tokenizer."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer

    @property
    def config(self) -> BertConfig:
        """The encoder's architecture."""
        return self.checkpoint.config

    def embed(
        self,
        texts: Sequence[str],
        pooling: str = "mean",
        layers: str = "last",
        projection: str = "none",
        batch_size: int | None = None,
        max_length: int | None = None,
    ) -> np.ndarray:
        """Sentence vectors, float32 [texts, width], in input order.

        Args:
            texts: any number of texts of any length.
            pooling: a pooling spec, see `bert_jax.model.pooling`.
            layers: a layers spec, see `bert_jax.model.readout`.
            projection: none, or tanh for the checkpoint's own pooler.
            batch_size: texts in a step; by default few long ones or many short ones.
            max_length: tokens, special ones included, that longer texts are cut to; by default, and
                at most, the encoder's limit.

        Raises:
            InputError: an unknown spec; a readout with weights that have not been trained; a size that cannot be.
        """
        if isinstance(texts, str):
            raise InputError("embed takes a list of texts, not one text: write embed([text])")
        embedder = Embedder(self, ReadoutConfig(layers, pooling, projection), batch_size, max_length)
        return embedder.vectors(embedder.tokenize(texts))

    def save(self, folder: Path, card: str | None = None) -> None:
        """Write a Hugging Face model directory: config.json, model.safetensors, the tokenizer's files and a model card.

        Args:
            folder: is made if need be.
            card: the text of its README.md, see `bert_jax.card`; by default one that says what is known.
        """
        save_checkpoint(folder, self.checkpoint)
        save_for_transformers(self.tokenizer, folder, self.config.max_length)
        card = card or plain_card(folder.resolve().name, use_of(self.checkpoint), self.config)
        (folder / CARD).write_text(card, encoding="utf-8")

    def reader(self, spec: ReadoutConfig) -> Params:
        """The readout's parameters: the trained pooler's, or constants; never an untrained draw."""
        readouts.check(spec, self.config)
        model = SentenceEncoder(self.config, spec)
        draws = (init_without_encoder(model, jax.random.key(seed)).get("reader", {}) for seed in (0, 1))
        one, two = (with_trained_pooler(reader, spec, self.checkpoint) for reader in draws)
        same = jax.tree.map(lambda x, y: bool((x == y).all()), one, two)
        if not all(jax.tree.leaves(same)):
            raise InputError(f"readout {spec} has weights drawn at random: train it before embedding with it")
        return one


class Embedder:
    """Texts to sentence vectors in two parts, so that one can be done while the other is.

    Args:
        pretrained: the encoder.
        spec: how it is read out.
        batch_size: texts in a step; by default few long ones or many short ones.
        max_length: tokens that longer texts are cut to.

    Raises:
        InputError: as `Pretrained.embed`.
    """

    def __init__(
        self, pretrained: Pretrained, spec: ReadoutConfig, batch_size: int | None = None, max_length: int | None = None
    ) -> None:
        if batch_size is not None:
            check_batch_size(batch_size, "batch_size")
        if max_length is not None and max_length < 3:
            raise InputError(f"max_length must be at least 3, for a word between [CLS] and [SEP], not {max_length}")
        config, self.tokenizer = pretrained.config, pretrained.tokenizer
        self.limit = min(max_length or config.max_length, config.max_length)
        params = {"encoder": pretrained.checkpoint.encoder, "reader": pretrained.reader(spec)}
        self.width: int = jax.eval_shape(_embed(config, spec), params, _DUMMY).shape[1]
        self._params, self._step, self._batch_size = replicate(params), _embed_step(config, spec), batch_size

    def tokenize(self, texts: Sequence[str]) -> list[Encoding]:
        """The tokens of each text, cut to the limit."""
        return encode_texts(self.tokenizer, texts, None, self.limit)

    def vectors(self, encodings: Sequence[Encoding]) -> np.ndarray:
        """Their vectors, float32 [texts, width], in input order."""
        if not encodings:
            return np.zeros((0, self.width), np.float32)
        # Steps up to the limit, and not to the longest of these texts: other texts then find the program compiled.
        lengths, steps = np.array([len(e.ids) for e in encodings]), length_steps(self.limit)
        packs = pack_rows(lengths, steps, _TOKENS, least_batch(), self._batch_size)
        return predict_packs(self._step, self._params, encodings, self.tokenizer.special, packs)


def load(name: str | Path) -> Pretrained:
    """Load a Hugging Face BERT: a model directory or a hub id.

    Raises:
        InputError: there is none, it is not a BERT, or its files are damaged or do not fit together.

    >>> bert = load("path/to/bert-base-uncased")                           # doctest: +SKIP
    >>> bert.embed(["A sentence.", "Another one."], pooling="mean").shape  # doctest: +SKIP
    (2, 768)
    """
    folder = resolve(str(name))
    checkpoint = load_checkpoint(folder)
    tokenizer = load_tokenizer(folder)
    if tokenizer.vocab_size > checkpoint.config.vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has {tokenizer.vocab_size} tokens, config.json's vocab_size is "
            f"{checkpoint.config.vocab_size}; they are not of one model"
        )
    return Pretrained(checkpoint, tokenizer)


def init_all(model: Any, key: jax.Array) -> Params:
    """Fresh parameters of a model over tokens, its encoder's too."""
    return jax.jit(lambda key: model.init(key, _DUMMY)["params"])(key)


def init_without_encoder(model: Any, key: jax.Array) -> Params:
    """Fresh parameters of everything around the encoder; the encoder's are not even computed."""

    def init(key: jax.Array) -> Params:
        params = model.init(key, _DUMMY)["params"]
        return {name: part for name, part in params.items() if name != "encoder"}

    return jax.jit(init)(key)


def with_trained_pooler(reader: Params, spec: ReadoutConfig, checkpoint: Checkpoint) -> Params:
    """The readout's parameters with the checkpoint's pooler.dense in them, where the projection asks for it.

    Raises:
        InputError: the checkpoint has no pooler, or the pooled vector is not as wide as the pooler's input.
    """
    if not readouts.wants_pretrained(spec):
        return reader
    if checkpoint.pooler is None:
        raise InputError("projection tanh: this checkpoint has no trained pooler.dense; use mlp, the same layer fresh")
    fresh = reader["projection"]["dense"]["kernel"].shape
    if fresh != checkpoint.pooler["kernel"].shape:
        raise InputError(
            f"projection tanh: the trained pooler takes vectors of {checkpoint.pooler['kernel'].shape[0]}, "
            f"{spec.layers}/{spec.pooling} gives {fresh[0]}; use mlp, the same layer fresh"
        )
    return {**reader, "projection": {"dense": checkpoint.pooler}}


def use_of(checkpoint: Checkpoint) -> str:
    """What a checkpoint's heads are good for, as a pipeline tag of the hub."""
    if checkpoint.classifier:
        return "text-classification"
    return "fill-mask" if checkpoint.mlm and not checkpoint.config.causal else "feature-extraction"


_TOKENS = 2048
"""In a step, padding included: enough to keep the cores busy, few enough for their caches."""
_DUMMY = Tokens(np.zeros((1, 8), np.int32), np.zeros((1, 8), np.int32), np.ones((1, 8), bool), np.zeros((1, 8), bool))


def _embed(config: BertConfig, spec: ReadoutConfig) -> Callable[[Params, Tokens], Any]:
    model = SentenceEncoder(config, spec)
    return lambda params, tokens: model.apply({"params": params}, tokens)


@lru_cache(maxsize=32)
def _embed_step(config: BertConfig, spec: ReadoutConfig) -> Callable[..., Any]:
    return map_predict_step(_embed(config, spec))
