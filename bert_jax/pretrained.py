"""A trained encoder with its tokenizer, from a model directory and back."""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase

import jax
import numpy as np

from bert_jax.checkpoints.card import CARD, plain_card, use_of
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.directory import describe_format, load_checkpoint, resolve
from bert_jax.checkpoints.export import Tuned, save_sentence_transformers
from bert_jax.checkpoints.hub import upload
from bert_jax.checkpoints.huggingface import save_checkpoint
from bert_jax.checkpoints.own_pooler import with_trained_pooler
from bert_jax.checkpoints.sentence_transformers import encoder_folder, read_pipeline
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts, length_steps, pack_rows
from bert_jax.data.one_segment import check_segments
from bert_jax.encode_interface import EncodeInterface
from bert_jax.errors import InputError
from bert_jax.model import readout as readouts
from bert_jax.model.bert import SentenceEncoder
from bert_jax.parallel.devices import Devices, check_batch_size, least_batch, map_predict_step, replicate, target
from bert_jax.parallel.inference import check_finite, predict_packs
from bert_jax.spec import parse_spec
from bert_jax.tokenizers.template import Encoding
from bert_jax.tokenizers.tokenizer import Tokenizer, load_tokenizer
from bert_jax.tokenizers.tokenizer_json import save_for_transformers
from bert_jax.types import Model, Params, Step, Tokens

_LOGGER = logging.getLogger(__name__)
_ACTIVATIONS = {"gelu": "gelu (erf)", "gelu_tanh": "gelu (tanh approximation)", "relu": "relu"}


@dataclass(frozen=True, repr=False)
class Pretrained(EncodeInterface):
    """An encoder's weights and tokenizer, and the sentence-vector settings of its directory.

    Evaluators of sentence-transformers take it as a model: it has their `encode`, which gives the vectors of `embed`.

    readout: the default of `embed`, read from a sentence-transformers directory; else None. reader: the parameters of
    that readout, or None. normalize: True if its vectors have length 1. max_length: tokens that texts are truncated to,
    or None for the encoder's limit. source: where the weights were loaded from, in words. prompts: see
    `EncodeInterface`.
    """

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    readout: ReadoutConfig | None = None
    reader: Params | None = None
    normalize: bool = False
    max_length: int | None = None
    source: str = "memory"
    prompts: Mapping[str, str] | None = field(default_factory=dict)

    def __repr__(self) -> str:
        """Describe the architecture, source, heads and casing in one line."""
        config, heads = self.config, self.checkpoint.heads
        parts = [
            f"{config.num_layers} layers of {config.hidden_size}, {_ACTIVATIONS[config.activation]}",
            f"from {self.source}",
            f"heads: {', '.join(heads) or 'none'}",
            f"absent: {', '.join(head for head in self.checkpoint.schema.own_heads if head not in heads) or 'none'}",
        ]
        if self.tokenizer is not None:
            parts.append(self.tokenizer.casing)
            if self.tokenizer.vocab_size < config.vocab_size:
                parts.append(f"{self.tokenizer.vocab_size} tokens in a matrix of {config.vocab_size} rows")
        if self.readout:
            parts.append(f"readout {self.readout}{', normalized' if self.normalize else ''}")
        return f"<Pretrained: {'; '.join(parts)}>"

    @property
    def config(self) -> BertConfig:
        """The encoder's architecture."""
        return self.checkpoint.config

    def embed(
        self,
        texts: Sequence[str],
        pooling: str | None = None,
        layers: str | None = None,
        projection: str | None = None,
        batch_size: int | None = None,
        max_length: int | None = None,
        normalize: bool | None = None,
    ) -> np.ndarray:
        """Sentence vectors, float32 [texts, width], in input order.

        If none of pooling, layers, projection and normalize is given, the model's own `readout` is used if it has one;
        the vectors then equal those of sentence-transformers.

        Args:
            texts: any number of texts of any length.
            pooling: a pooling spec, see `bert_jax.model.pooling`; mean by default.
            layers: a layers spec, see `bert_jax.model.readout`; last by default.
            projection: none, the default, or tanh for the checkpoint's own pooler.
            batch_size: texts in a step; by default few long texts or many short ones.
            max_length: tokens, special ones included, that longer texts are truncated to; by default the limit of
                the model's directory, and at most the encoder's.
            normalize: divide each vector by its length.

        Raises:
            InputError: an unknown spec, a readout with untrained weights, an impossible size, an item that is not a
                string, or a vector that is not finite.
        """
        if isinstance(texts, str):
            raise InputError("embed takes a list of texts, not one text: write embed([text])")
        if not isinstance(texts, Iterable):
            raise InputError(f"embed takes a list of texts, not {texts!r:.40}")
        spec, normalize = self.choose(pooling, layers, projection, normalize)
        embedder = Embedder(self, spec, batch_size, max_length, normalize)
        return embedder.vectors(embedder.tokenize(list(texts)))

    def choose(
        self,
        pooling: str | None = None,
        layers: str | None = None,
        projection: str | None = None,
        normalize: bool | None = None,
    ) -> tuple[ReadoutConfig, bool]:
        """The readout that `embed` uses for these arguments, and whether it normalizes vectors to length 1."""
        if self.readout and (pooling, layers, projection, normalize) == (None,) * 4:
            return self.readout, self.normalize
        return ReadoutConfig(layers or "last", pooling or "mean", projection or "none"), bool(normalize)

    def with_readout(
        self,
        pooling: str | None = None,
        layers: str | None = None,
        projection: str | None = None,
        normalize: bool | None = None,
    ) -> "Pretrained":
        """The same encoder with another readout as its own: that of `embed` and `encode` where none is named.

        Raises:
            InputError: see `reader_params`.
        """
        readout, normalize = self.choose(pooling, layers, projection, normalize)
        return dataclasses.replace(self, readout=readout, reader=self.reader_params(readout), normalize=normalize)

    def save(self, folder: str | Path, card: str | None = None) -> None:
        """Write a Hugging Face model directory: config.json, model.safetensors, the tokenizer's files and a model card.

        Args:
            folder: created if missing.
            card: the text of its README.md, see `bert_jax.checkpoints.card`; by default a card of the known facts.
        """
        folder = Path(folder)
        save_checkpoint(folder, self.checkpoint)
        self._save_tokenizer(folder, self.config.max_length)
        card = card or plain_card(folder.resolve().name, use_of(self.checkpoint), self.config)
        (folder / CARD).write_text(card, encoding="utf-8")

    def push_to_hub(
        self,
        repo_id: str,
        card: str | None = None,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        commit_message: str | None = None,
        revision: str | None = None,
        create_pr: bool | None = None,
    ) -> str:
        """Upload the model to the Hugging Face hub, and return the address of the commit.

        A model with a readout of its own is written for sentence-transformers, any other as `save` writes it.

        Args:
            repo_id: OWNER/NAME; the repository is created if missing.
            card: the text of its README.md; by default a card of the known facts.
            private, token, commit_message, revision, create_pr: see `bert_jax.checkpoints.hub.upload`.

        Raises:
            InputError: the readout cannot be exported, or the hub refuses the upload.
        """
        write = partial(self._write, repo_id, card)
        return upload(repo_id, write, private, token, commit_message, revision, create_pr)

    def _write(self, name: str, card: str | None, folder: Path) -> None:
        """Write the directory that `push_to_hub` uploads."""
        if self.readout is None:
            self.save(folder, card or plain_card(name, use_of(self.checkpoint), self.config))
            return
        limit = min(self.max_length or self.config.max_length, self.config.max_length)
        reader = self.reader_params(self.readout)
        tuned = Tuned(self.checkpoint, self.readout, reader, normalize=self.normalize, prompts=self.prompts or {})
        save_sentence_transformers(folder, tuned, limit)
        self._save_tokenizer(folder, limit)
        (folder / CARD).write_text(card or plain_card(name, "sentence-similarity", self.config), encoding="utf-8")

    def _save_tokenizer(self, folder: Path, limit: int) -> None:
        save_for_transformers(self.tokenizer, folder, limit, self.config.num_segments > 0)

    def reader_params(self, spec: ReadoutConfig) -> Params:
        """The readout's trained parameters or constants; untrained random weights raise an error.

        Raises:
            InputError: the readout is unknown or has untrained weights.
        """
        if not readouts.trace(spec, self.config).has_weights:
            return {}
        if self.reader is not None and spec == self.readout:
            return self.reader
        if parse_spec(spec.layers).name == "mix":
            raise InputError(f"layers {spec.layers}: {_UNTRAINED_MIX}")
        model = SentenceEncoder(self.config, spec)
        draws = (init_without_encoder(model, jax.random.key(seed)).get("reader", {}) for seed in (0, 1))
        one, two = (with_trained_pooler(reader, spec, self.checkpoint) for reader in draws)
        same = jax.tree.map(lambda x, y: bool((x == y).all()), one, two)
        if not all(jax.tree.leaves(same)):
            raise InputError(f"readout {spec} has weights drawn at random: train it before embedding with it")
        return one


class Embedder:
    """Texts to sentence vectors in two stages, so that tokenizing can overlap with encoding.

    Args:
        pretrained: the encoder.
        spec: the readout.
        batch_size: texts in a step; by default few long texts or many short ones.
        max_length: tokens that longer texts are truncated to; by default the limit of the encoder's directory.
        normalize: divide each vector by its length.

    Raises:
        InputError: see `Pretrained.embed`.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        spec: ReadoutConfig,
        batch_size: int | None = None,
        max_length: int | None = None,
        normalize: bool = False,
    ) -> None:
        if batch_size is not None:
            check_batch_size(batch_size, "batch_size")
        if max_length is not None and max_length < 3:
            raise InputError(f"max_length must be at least 3, for a word between [CLS] and [SEP], not {max_length}")
        config, self.tokenizer = pretrained.config, pretrained.tokenizer
        self._config = config
        self.limit = min(max_length or pretrained.max_length or config.max_length, config.max_length)
        params = {"encoder": pretrained.checkpoint.encoder, "reader": pretrained.reader_params(spec)}
        self.width: int = jax.eval_shape(embed_step(config, spec), params, _DUMMY).shape[1]
        self._params, self._step, self._batch_size = replicate(params), _embed_step(config, spec), batch_size
        self._normalize = normalize

    def tokenize(self, texts: Sequence[str], data: str = "the texts") -> list[Encoding]:
        """Tokenize each text, truncated to the limit; warnings call the texts `data`."""
        return encode_texts(self.tokenizer, texts, None, self.limit, data)

    def vectors(self, encodings: Sequence[Encoding], first: int = 0) -> np.ndarray:
        """Sentence vectors of tokenized texts, float32 [texts, width], in input order.

        Args:
            encodings: from `tokenize`.
            first: number of texts before these, for the error message.

        Raises:
            InputError: a vector is not finite, or the encoder cannot read pairs.
        """
        check_segments(self._config, encodings)
        # Length steps go up to the limit, not to the longest of these texts, so that later calls reuse the programs.
        lengths, steps = np.array([len(e.ids) for e in encodings], int), length_steps(self.limit)
        packs = pack_rows(lengths, steps, _TOKENS, least_batch(), self._batch_size)
        vectors = np.empty((len(encodings), self.width), np.float32)
        for rows, values in predict_packs(self._step, self._params, encodings, self.tokenizer.special, packs):
            check_finite(values, rows + first)
            vectors[rows] = values
        if self._normalize:  # a zero vector stays zero, as in torch's normalize
            vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors


def load(name: str | Path, encoder_only: bool = False, cased: bool | None = None) -> Pretrained:
    """Load a BERT, or another encoder of `checkpoints.architectures`, from a model directory or by hub id.

    The directory is Hugging Face's (safetensors or pytorch_model.bin, whole or in shards; pickled code is never run),
    sentence-transformers', or an original TensorFlow 1 checkpoint. The result's repr describes what was found.

    Args:
        name: the directory, or the hub id.
        encoder_only: skip everything but the encoder, with one line in the log: the modules after the encoder in a
            sentence-transformers directory, and heads that are unknown or do not fit.
        cased: True keeps capitals, False lowercases texts, None follows the tokenizer's files; if they do not specify
            it, a vocabulary is cased if an ordinary word piece has a capital. The result's repr gives the decision and
            its reason.

    Raises:
        InputError: the directory is missing or of another architecture, its files are damaged or inconsistent, or a
            module after its encoder is not supported.

    >>> bert = load("path/to/bert-base-uncased")                           # doctest: +SKIP
    >>> bert.embed(["A sentence.", "Another one."], pooling="mean").shape  # doctest: +SKIP
    (2, 768)
    """
    folder = resolve(str(name))
    checkpoint = load_checkpoint(folder, encoder_only)
    tokenizer = load_tokenizer(encoder_folder(folder), cased=cased)
    if tokenizer.vocab_size > checkpoint.config.vocab_size:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {tokenizer.vocab_size - 1}, config.json's vocab_size is "
            f"{checkpoint.config.vocab_size}; they are not of one model"
        )
    pretrained = Pretrained(checkpoint, tokenizer, source=f"{name} ({describe_format(folder)})")
    if not encoder_only:
        pretrained = _with_pipeline(pretrained, folder)
    _LOGGER.info("loaded %r", pretrained)
    return pretrained


def _with_pipeline(pretrained: Pretrained, folder: Path) -> Pretrained:
    """Add the modules that follow the encoder in a sentence-transformers directory; other directories have none."""
    pipeline = read_pipeline(folder, pretrained.config)
    if pipeline is None:
        return pretrained
    capitals, small = (pretrained.tokenizer.pieces([*letters]) for letters in (ascii_uppercase, ascii_lowercase))
    if pipeline.lowercase and capitals != small:
        raise InputError(
            f"{folder} lowercases texts (do_lower_case of sentence_bert_config.json) before a tokenizer that tells "
            "capitals apart. load(..., encoder_only=True) takes the encoder alone; lowercase its texts yourself"
        )
    return dataclasses.replace(
        pretrained,
        readout=pipeline.readout,
        reader=pipeline.reader,
        normalize=pipeline.normalize,
        prompts=pipeline.prompts,
        max_length=pipeline.max_length,
    )


def init_all(model: Model, key: jax.Array) -> Params:
    """Initialise all parameters of a model over tokens, its encoder's included."""
    params: Params = _initialiser(model, encoder=True)(key)
    return params


def init_without_encoder(model: Model, key: jax.Array) -> Params:
    """Initialise the parameters of everything but the encoder, whose own are not computed."""
    params: Params = _initialiser(model, encoder=False)(key)
    return params


@lru_cache(maxsize=64)
def _initialiser(model: Model, encoder: bool) -> Callable[[jax.Array], Params]:
    """A compiled function from a key to fresh parameters."""

    def init(key: jax.Array) -> Params:
        params = model.init(key, _DUMMY)["params"]
        return {name: part for name, part in params.items() if encoder or name != "encoder"}

    compiled: Callable[[jax.Array], Params] = jax.jit(init)
    return compiled


_UNTRAINED_MIX = (
    "its weights have not been trained; write avg(0,1,...), which a fresh mix of those layers equals, or train with it"
)
_TOKENS = 2048
"""Tokens in a step, padding included: enough to keep the cores busy, few enough for their caches."""
_DUMMY = Tokens(np.zeros((1, 8), np.int32), np.zeros((1, 8), np.int32), np.ones((1, 8), bool), np.zeros((1, 8), bool))


def embed_step(config: BertConfig, spec: ReadoutConfig, devices: Devices = ()) -> Step:
    """`(params, tokens) -> sentence vectors [B E]`, to be mapped over the devices, by default those here."""
    model = SentenceEncoder(config, spec, target(devices))
    return lambda params, tokens: model.apply({"params": params}, tokens)


@lru_cache(maxsize=32)
def _embed_step(config: BertConfig, spec: ReadoutConfig) -> Step:
    return map_predict_step(embed_step(config, spec), config.compute.evaluation_precision)
