"""Read and write Hugging Face model directories, config.json and weights, without torch."""

import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from bert_jax.checkpoints.weights import Tensors, find_weights, read_weights, write_weights
from bert_jax.config import BertConfig
from bert_jax.errors import InputError, within
from bert_jax.files import Json, Settings
from bert_jax.json_object import JsonObject, shorten

_LOGGER = logging.getLogger(__name__)

CONFIG_FILES = ("config.json", "bert_config.json")
"""Files that describe the architecture; the first that exists is read. The second is the original BERT's."""

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
"""`hidden_act` of `transformers` -> our activation."""
_HIDDEN_ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
"""Our activation -> `hidden_act` to write."""

_LARGEST = {"num_hidden_layers": 1_000, "hidden_size": 100_000}
"""Limits above which a config counts as damaged, checked before allocating memory; 2^31 - 1 for other fields."""

_MISSING_FEATURES = {
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
"""Features missing here to load the architectures that are most often mistaken for BERT."""

_CLASSES = (
    "BertModel",
    "BertForPreTraining",
    "BertForMaskedLM",
    "BertLMHeadModel",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
)
"""Classes whose heads are all supported."""

_OTHER_CLASSIFIERS = {
    "BertForTokenClassification": "labels tokens",
    "BertForMultipleChoice": "scores choices",
}
"""Classes whose classifier has the tensor names of a sentence classifier, but another purpose."""


def read_config(folder: Path) -> BertConfig:
    """Read `config.json`.

    Raises:
        InputError: the file is missing or unreadable, or describes something other than a BERT.
    """
    return parse_config(config_file(folder), _ACTIVATIONS)


def config_file(folder: Path) -> Path:
    """Find the file that describes a folder's architecture.

    Raises:
        InputError: there is no such file.
    """
    found = [folder / name for name in CONFIG_FILES if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder} is not a Hugging Face model directory: it has no config.json")
    return found[0]


def parse_config(path: Path, activations: Mapping[str, str]) -> BertConfig:
    """Parse the architecture in a config file; `activations` maps its hidden_act to our activations."""
    raw = JsonObject.read(path)
    kind = raw.field("model_type", str, None) or "bert"
    if kind != "bert":
        needed = (
            f"; {kind} would need {_MISSING_FEATURES[kind]}"
            if kind in _MISSING_FEATURES
            else f", its blocks differ from {shorten(kind)}'s"
        )
        raise InputError(f"{path}: model_type is {shorten(kind)!r}; only 'bert' can be loaded{needed}")
    positions = raw.field("position_embedding_type", str, None) or "absolute"
    if positions != "absolute":
        raise InputError(f"{path}: position_embedding_type {shorten(positions)!r} is not supported")
    values = {field.name: _value(raw, field) for field in dataclasses.fields(BertConfig) if field.name in _CONFIG_NAMES}
    activation = raw.field("hidden_act", str, "gelu")
    if activation not in activations:
        raise InputError(f"{path}: hidden_act {shorten(activation)!r} is not one of {', '.join(activations)}")
    with within(path):
        return BertConfig(**values | {"activation": activations[activation]})


def _value(raw: JsonObject, field: dataclasses.Field[Any]) -> Any:
    """Read the value of one of our config fields."""
    name, kind = _CONFIG_NAMES[field.name], type(field.default)
    if kind is int:
        return raw.field(name, kind, field.default, most=_LARGEST.get(name, 2**31 - 1))
    return raw.field(name, kind, field.default)


def load_checkpoint(folder: Path, encoder_only: bool = False) -> Checkpoint:
    """Read the config and the weights, strictly.

    Args:
        folder: the model directory.
        encoder_only: skip heads that are unknown or do not fit, and log them in one line.

    Raises:
        InputError: a file is missing or damaged, or its tensors do not match the config; each
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
    """Refuse the weights of other architectures, which a config need not name."""
    kinds = {part for name in tensors for part in name.split(".")} & set(_MISSING_FEATURES)
    for kind in sorted(kinds):
        raise InputError(
            f"{path.parent} holds a {kind}, and only BERT can be loaded; it would need {_MISSING_FEATURES[kind]}"
        )


def _read_labels(raw: JsonObject, tensors: Tensors) -> tuple[Labels, str | None]:
    """Return a classifier's labels, or the reason why it cannot be loaded as a sentence classifier."""
    if reason := _why_no_sentence_classifier(raw, tensors):
        return Labels(), f"{raw.path} {reason}"
    try:
        return _labels(raw), None
    except InputError as error:
        return Labels(), str(error)


def _why_no_sentence_classifier(raw: JsonObject, tensors: Tensors) -> str | None:
    """Return evidence that a `classifier` is not that of BertForSequenceClassification; None if it may be.

    BertForTokenClassification has the same tensor names. It has no pooler (older versions had an unused one), and its
    labels are usually token tags.
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
    """Read the labels of a classifier's outputs; num_labels takes precedence over id2label, as in `transformers`."""
    named = raw.section("id2label").content
    number = raw.field("num_labels", int, None, least=0, most=1_000_000)
    if number is not None and named and number != len(named):
        _LOGGER.warning("%s: num_labels is %d beside an id2label of %d, which is ignored", raw.path, number, len(named))
    if number is not None and number != len(named):
        names = [f"LABEL_{n}" for n in range(number)]
    elif set(named) == {str(n) for n in range(len(named))}:
        names = [str(named[str(n)]) for n in range(len(named))]
    else:
        raise InputError(f"{raw.path}: id2label must map the numbers 0 to {len(named) - 1} to names")
    return Labels(tuple(names), raw.field("problem_type", str, None))


def _carried(raw: JsonObject) -> Carried:
    """Read the fields that are only written back. A null pad_token_id means that there is no padding token."""
    has_pad = raw.content.get("pad_token_id", 0) is not None
    pad = raw.field("pad_token_id", int, 0) if has_pad else None
    return Carried(pad, raw.field("classifier_dropout", float, None))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, settings: Settings | None = None) -> None:
    """Write `config.json` and `model.safetensors` in the format of `transformers`; loading restores the same bits.

    Args:
        folder: the model directory; created if missing.
        checkpoint: the checkpoint to write.
        settings: further fields for config.json.

    Raises:
        InputError: a weight is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw: Json = {theirs: getattr(checkpoint.config, ours) for ours, theirs in _CONFIG_NAMES.items()}
    raw["hidden_act"] = _HIDDEN_ACTS[checkpoint.config.activation]
    raw |= {"model_type": "bert", "architectures": [_architecture(checkpoint)], **checkpoint.carried._asdict()}
    names, problem_type = output_labels(checkpoint)
    if names:
        raw["id2label"] = {str(n): name for n, name in enumerate(names)}
        raw["label2id"] = {name: n for n, name in enumerate(names)}
    if problem_type:
        raw["problem_type"] = problem_type
    raw |= settings or {}
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    write_weights(folder / "model.safetensors", to_tensors(checkpoint))


def _architecture(checkpoint: Checkpoint) -> str:
    """Return the class of `transformers` with the same heads."""
    if checkpoint.classifier:
        return "BertForSequenceClassification"
    if checkpoint.mlm:
        return "BertForPreTraining" if checkpoint.nsp else "BertForMaskedLM"
    return "BertForNextSentencePrediction" if checkpoint.nsp else "BertModel"
