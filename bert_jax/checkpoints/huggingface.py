"""Hugging Face model directories: config.json and the weights, both ways, without torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.numpy import save_file

from bert_jax.checkpoints.checkpoint import (
    Checkpoint,
    Labels,
    from_tensors,
    output_labels,
    to_tensors,
)
from bert_jax.checkpoints.weights import find_weights, read_json, read_weights
from bert_jax.config import BertConfig
from bert_jax.errors import InputError

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
_ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}

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
    raw = read_json(path)
    kind = raw.get("model_type", "bert")
    if kind != "bert":
        needed = f"; {kind} would need {_NEEDED[kind]}" if kind in _NEEDED else f", its blocks differ from {kind}'s"
        raise InputError(f"{path}: model_type is {kind!r}; only 'bert' can be loaded{needed}")
    if raw.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type {raw['position_embedding_type']!r} is not supported")
    values = {ours: raw[theirs] for ours, theirs in _CONFIG_NAMES.items() if theirs in raw}
    activation = values.get("activation", "gelu")
    if activation not in activations:
        raise InputError(f"{path}: hidden_act {activation!r} is not one of {', '.join(activations)}")
    values["activation"] = activations[activation]
    try:
        return BertConfig(**values)
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read the config and the weights, strictly.

    Raises:
        InputError: a file is missing or damaged, or its tensors are not those of the config: each
            missing, unexpected and misshapen one is listed.
    """
    config, raw = read_config(folder), read_json(config_file(folder))
    weights = find_weights(folder)
    if weights is None:
        raise InputError(f"{folder} has no model.safetensors and no pytorch_model.bin, whole or in shards")
    tensors = read_weights(weights)
    _check_class(config_file(folder), raw, tensors)
    try:
        return from_tensors(config, tensors, weights, _labels(config_file(folder), raw))
    except InputError as error:
        strange = [str(name) for name in raw.get("architectures") or () if name not in _CLASSES]
        if not strange:
            raise
        raise InputError(f"{error}\n  The config says {', '.join(strange)}; known are {', '.join(_CLASSES)}") from error


def _check_class(path: Path, raw: dict[str, Any], tensors: Mapping[str, Any]) -> None:
    """Refuse what would be misread: heads with the names of others, and other models without a model_type."""
    for name in raw.get("architectures") or ():
        if name in _OTHER_CLASSIFIERS and any(tensor.startswith("classifier.") for tensor in tensors):
            raise InputError(
                f"{path} describes a {name}, whose classifier {_OTHER_CLASSIFIERS[name]} and not sentences; "
                "save its encoder alone, as BertModel, to load that"
            )
    kinds = {tensor.partition(".")[0] for tensor in tensors} & set(_NEEDED)
    for kind in sorted(kinds):
        raise InputError(f"{path.parent} holds a {kind}, and only BERT can be loaded; it would need {_NEEDED[kind]}")


def _labels(path: Path, raw: dict[str, Any]) -> Labels:
    """What a config says of a classifier's outputs."""
    named = raw.get("id2label") or {f"{n}": f"LABEL_{n}" for n in range(raw.get("num_labels") or 0)}
    try:
        names = tuple(str(named[key]) for key in sorted(named, key=int))
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: id2label is no table from numbers to names ({error})") from error
    return Labels(names, raw.get("problem_type"))


def save_checkpoint(folder: Path, checkpoint: Checkpoint, settings: Mapping[str, Any] | None = None) -> None:
    """Write `config.json` and `model.safetensors` as `transformers` names them; load gives the same bits back.

    Args:
        folder: is made if need be.
        checkpoint: what to write.
        settings: more fields for config.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raw: dict[str, Any] = {theirs: getattr(checkpoint.config, ours) for ours, theirs in _CONFIG_NAMES.items()}
    raw["hidden_act"] = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[checkpoint.config.activation]
    raw |= {"model_type": "bert", "pad_token_id": 0, "architectures": [_architecture(checkpoint)]}
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
