"""Hugging Face model directories: config.json and the weights, both ways, without torch."""

import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from bert_jax.checkpoints.checkpoint import (
    ENCODER_ALONE,
    Carried,
    Checkpoint,
    Labels,
    canonical,
    from_tensors,
    output_labels,
    pass_over,
    to_tensors,
)
from bert_jax.checkpoints.weights import Tensors, find_weights, read_weights
from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.files import Json, Settings
from bert_jax.json_object import JsonObject, shorten

_LOGGER = logging.getLogger(__name__)

CONFIG_FILES = ("config.json", "bert_config.json")
"""What describes the architecture; the first that is there counts. The second is BERT's own name of it."""

_CONFIG_NAMES = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "layer_norm_eps": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "causal": "is_decoder",
}
_ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), "gelu_tanh"),
    "relu": "relu",
}
"""A `hidden_act` of `transformers` to our activation."""
_WRITTEN = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
"""Our activation to the `hidden_act` that is written for it."""

_LARGEST = {"num_hidden_layers": 1_000, "hidden_size": 100_000}
"""Above these, a config is taken for damaged before anything of that size is made; elsewhere above 2^31 - 1."""

_NEEDED = {
    "roberta": "positions counted from 2, <s> for [CLS] and a byte-level BPE tokenizer",
    "xlm-roberta": "positions counted from 2, <s> for [CLS] and a SentencePiece vocabulary with other ids",
    "camembert": "positions counted from 2, <s> for [CLS] and a SentencePiece vocabulary with other ids",
    "distilbert": "other tensor names and an encoder with no segment embeddings",
    "albert": "one block shared by all layers and factorised embeddings",
    "electra": "factorised embeddings and a discriminator's head",
    "mpnet": "relative position biases and other tensor names",
    "deberta": "disentangled attention over relative positions",
    "deberta-v2": "disentangled attention over relative positions",
    "modernbert": "rotary positions, gated feed-forward layers and local attention",
    "nomic_bert": "rotary positions and gated feed-forward layers",
    "xlnet": "two-stream attention over relative positions",
    "t5": "an encoder and a decoder with relative position biases",
}
"""What would have to be written to load each of the kinds that are taken for BERT most often."""

_CLASSES = (
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertLMHeadModel",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
)
"""Classes whose heads are all known."""

_OTHER_CLASSIFIERS = {
    "BertForTokenClassification": "labels tokens",
    "BertForMultipleChoice": "scores choices",
}
"""Classes whose classifier has the names of a sentence classifier's, and is none."""


def read_config(folder: Path) -> BertConfig:
    """Read `config.json`.

    Raises:
        InputError: the file is missing or unreadable, or describes something other than a BERT.
    """
    return parse_config(config_file(folder), _ACTIVATIONS)


def config_file(folder: Path) -> Path:
    """The file that describes a folder's architecture.

    Raises:
        InputError: there is none.
    """
    found = [folder / name for name in CONFIG_FILES if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder} is no Hugging Face model directory: it has no config.json")
    return found[0]


def parse_config(path: Path, activations: Mapping[str, str]) -> BertConfig:
    """The architecture that a config file describes; `activations` says what its hidden_act means."""
    raw = JsonObject.read(path)
    kind = raw.field("model_type", str, None) or "bert"
    if kind != "bert":
        needed = (
            f"; {kind} would need {_NEEDED[kind]}" if kind in _NEEDED else f", its blocks differ from {shorten(kind)}'s"
        )
        raise InputError(f"{path}: model_type is {shorten(kind)!r}; only 'bert' can be loaded{needed}")
    positions = raw.field("position_embedding_type", str, None) or "absolute"
    if positions != "absolute":
        raise InputError(f"{path}: position_embedding_type {shorten(positions)!r} is not supported")
    values = {field.name: _value(raw, field) for field in dataclasses.fields(BertConfig) if field.name in _CONFIG_NAMES}
    activation = raw.field("hidden_act", str, "gelu")
    if activation not in activations:
        raise InputError(f"{path}: hidden_act {shorten(activation)!r} is not one of {', '.join(activations)}")
    try:
        return BertConfig(**values | {"activation": activations[activation]})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _value(raw: JsonObject, field: dataclasses.Field[Any]) -> Any:
    """What a config says of a field of ours."""
    name, kind = _CONFIG_NAMES[field.name], type(field.default)
    if kind is int:
        return raw.field(name, kind, field.default, most=_LARGEST.get(name, 2**31 - 1))
    return raw.field(name, kind, field.default)


def load_checkpoint(folder: Path, encoder_only: bool = False) -> Checkpoint:
    """Read the config and the weights, strictly.

    Args:
        folder: the model directory.
        encoder_only: pass over, in one line of the log, heads that are unknown or do not fit.

    Raises:
        InputError: a file is missing or damaged, or its tensors are not those of the config: each
            missing, unexpected and misshapen one is listed.
    """
    config, raw = read_config(folder), JsonObject.read(config_file(folder))
    strange = [name for name in raw.strings("architectures") if name not in _CLASSES]
    weights = find_weights(folder)
    if weights is None:
        raise InputError(f"{folder} has no model.safetensors and no pytorch_model.bin, whole or in shards")
    saved = read_weights(weights)
    _check_architecture(raw.path, saved)
    tensors = canonical(saved, weights)
    classifier = [name for name in tensors if name.startswith("classifier.")]
    labels, reason = _read_labels(raw, tensors) if classifier else (Labels(), None)
    if reason and not encoder_only:
        raise InputError(f"{reason}. Its encoder alone: {ENCODER_ALONE}")
    if reason:
        pass_over(weights, classifier)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in classifier}
    try:
        checkpoint = from_tensors(config, tensors, weights, labels, encoder_only)
    except InputError as error:
        if not strange:
            raise
        raise InputError(f"{error}\n  The config says {', '.join(strange)}; known are {', '.join(_CLASSES)}") from error
    return checkpoint._replace(carried=_carried(raw))


def _check_architecture(path: Path, tensors: Tensors) -> None:
    """Refuse the weights of other models, whose config may not say what they are."""
    kinds = {part for name in tensors for part in name.split(".")} & set(_NEEDED)
    for kind in sorted(kinds):
        raise InputError(f"{path.parent} holds a {kind}, and only BERT can be loaded; it would need {_NEEDED[kind]}")


def _read_labels(raw: JsonObject, tensors: Tensors) -> tuple[Labels, str | None]:
    """A classifier's labels, or the reason why it cannot be loaded as one of sentences."""
    if reason := _why_no_sentence_classifier(raw, tensors):
        return Labels(), f"{raw.path} {reason}"
    try:
        return _labels(raw), None
    except InputError as error:
        return Labels(), str(error)


def _why_no_sentence_classifier(raw: JsonObject, tensors: Tensors) -> str | None:
    """Why a `classifier` is not that of BertForSequenceClassification, as far as the files tell; None if it may be.

    BertForTokenClassification has the same names. It has no pooler (older versions had one that nothing read), and
    its labels are usually those of tagged tokens.
    """
    names = raw.strings("architectures")
    for name in names:
        if name in _OTHER_CLASSIFIERS:
            return f"describes a {name}, whose classifier {_OTHER_CLASSIFIERS[name]} and not sentences"
    if "BertForSequenceClassification" in names:
        return None
    if names and not set(names) & set(_CLASSES):
        return f"describes a {shorten(names[0])}, which is unknown: its classifier may not read the pooled [CLS]"
    if not any(name.startswith("bert.pooler.") for name in tensors):
        return (
            "names no class for its classifier, and without a pooler it is one of tokens (BertForTokenClassification)"
        )
    tags = [name for name in map(str, raw.section("id2label").content.values()) if re.fullmatch("[BIELSU]-.+", name)]
    if tags:
        return f"names no class for its classifier, and labels such as {tags[0]!r} are those of tokens"
    return None


def _labels(raw: JsonObject) -> Labels:
    """What a config says of a classifier's outputs; of two numbers of labels, num_labels counts in `transformers`."""
    named = raw.section("id2label").content
    number = raw.field("num_labels", int, None, least=0, most=1_000_000)
    if number is not None and named and number != len(named):
        _LOGGER.warning("%s: num_labels is %d beside an id2label of %d, which is ignored", raw.path, number, len(named))
    if number is not None and number != len(named):
        names = [f"LABEL_{n}" for n in range(number)]
    elif set(named) == {str(n) for n in range(len(named))}:
        names = [str(named[str(n)]) for n in range(len(named))]
    else:
        raise InputError(f"{raw.path}: id2label is no table from numbers to names, 0 to {len(named) - 1}")
    return Labels(tuple(names), raw.field("problem_type", str, None))


def _carried(raw: JsonObject) -> Carried:
    """The fields that are only written back. A null pad_token_id says that there is no padding token."""
    has_pad = raw.content.get("pad_token_id", 0) is not None
    pad = raw.field("pad_token_id", int, 0) if has_pad else None
    return Carried(pad, raw.field("classifier_dropout", float, None))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, settings: Settings | None = None) -> None:
    """Write `config.json` and `model.safetensors` as `transformers` names them; load gives the same bits back.

    Args:
        folder: is made if need be.
        checkpoint: what to write.
        settings: more fields for config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw: Json = {theirs: getattr(checkpoint.config, ours) for ours, theirs in _CONFIG_NAMES.items()}
    raw["hidden_act"] = _WRITTEN[checkpoint.config.activation]
    raw |= {"model_type": "bert", "architectures": [_architecture(checkpoint)], **checkpoint.carried._asdict()}
    names, problem_type = output_labels(checkpoint)
    if names:
        raw["id2label"] = {str(n): name for n, name in enumerate(names)}
        raw["label2id"] = {name: n for n, name in enumerate(names)}
    if problem_type:
        raw["problem_type"] = problem_type
    raw |= settings or {}
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    partial = folder / "model.safetensors.partial"
    save_file(to_tensors(checkpoint), partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")


def _architecture(checkpoint: Checkpoint) -> str:
    """The class of `transformers` that has the same heads."""
    if checkpoint.classifier:
        return "BertForSequenceClassification"
    if checkpoint.mlm:
        return "BertForPreTraining" if checkpoint.nsp else "BertForMaskedLM"
    return "BertForNextSentencePrediction" if checkpoint.nsp else "BertModel"
