"""Read and write Hugging Face model directories, config.json and weights, without torch."""

import dataclasses
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bert_jax.checkpoints.architectures import SCHEMAS, schema_of
from bert_jax.checkpoints.checkpoint import (
    ENCODER_ALONE,
    Checkpoint,
    Labels,
    canonical,
    from_tensors,
    output_labels,
    pass_over,
    to_tensors,
)
from bert_jax.checkpoints.schema import Schema
from bert_jax.checkpoints.weights import Tensors, find_weights, read_weights, write_weights
from bert_jax.config import BertConfig
from bert_jax.errors import InputError, within
from bert_jax.files import Json, Settings
from bert_jax.json_object import JsonObject, shorten

_LOGGER = logging.getLogger(__name__)

CONFIG_FILES = ("config.json", "bert_config.json")
"""Files that describe the architecture; the first that exists is read. The second is the original BERT's."""

_ACTIVATIONS = {
    **dict.fromkeys(("gelu", "gelu_python"), "gelu"),
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_fast", "gelu_accurate"), "gelu_tanh"),
    "relu": "relu",
}
"""`hidden_act` of `transformers` -> our activation."""

_LARGEST = {"num_layers": 1_000, "hidden_size": 100_000}
"""Limits above which a config counts as damaged, checked before allocating memory; 2^31 - 1 for other fields."""

_MISSING_FEATURES = {
    "mpnet": "relative position biases and other tensor names",
    "deberta": "disentangled attention over relative positions",
    "deberta-v2": "disentangled attention over relative positions",
    "nomic_bert": "rotary positions and gated feed-forward layers",
    "xlnet": "two-stream attention over relative positions",
    "t5": "an encoder and a decoder with relative position biases",
}
"""Features missing here to load the architectures that are most often mistaken for BERT."""

_OTHER_CLASSIFIERS = {"ForTokenClassification": "labels tokens", "ForMultipleChoice": "scores choices"}
"""Classes whose classifier may have the tensor names of a sentence classifier, but another purpose."""


def read_config(folder: Path) -> BertConfig:
    """Read `config.json`.

    Raises:
        InputError: the file is missing or unreadable, or describes an architecture that cannot be loaded.
    """
    return parse_config(config_file(folder), _ACTIVATIONS, SCHEMAS)


def config_file(folder: Path) -> Path:
    """Find the file that describes a folder's architecture.

    Raises:
        InputError: there is no such file.
    """
    found = [folder / name for name in CONFIG_FILES if (folder / name).is_file()]
    if not found:
        raise InputError(f"{folder} is not a Hugging Face model directory: it has no config.json")
    return found[0]


def parse_config(path: Path, activations: Mapping[str, str], schemas: Mapping[str, Schema]) -> BertConfig:
    """Parse the architecture in a config file.

    Args:
        path: the file.
        activations: its hidden_act -> our activation.
        schemas: its model_type -> our names, for those that can be loaded.
    """
    raw = JsonObject.read(path)
    kind = raw.field("model_type", str, None) or "bert"
    if kind not in schemas:
        needed = f"; {kind} would need {_MISSING_FEATURES[kind]}" if kind in _MISSING_FEATURES else ""
        raise InputError(f"{path}: model_type is {shorten(kind)!r}; {_or(schemas)} can be loaded{needed}")
    schema = schemas[kind]
    positions = raw.field("position_embedding_type", str, None) or "absolute"
    if positions != "absolute":
        raise InputError(f"{path}: position_embedding_type {shorten(positions)!r} is not supported")
    for name, value in schema.fixed.items():
        if raw.content.get(name, value) != value:
            found = shorten(json.dumps(raw.content[name]))
            raise InputError(f"{path}: {name} {found} is not supported; only {json.dumps(value)} is")
    fields = [field for field in dataclasses.fields(schema.config) if field.name in schema.fields]
    values = {field.name: _value(raw, field, schema.fields[field.name]) for field in fields}
    activation = raw.field(schema.fields["activation"], str, schema.hidden_acts[schema.config.activation])
    if activation not in activations:
        known = ", ".join(activations)
        raise InputError(f"{path}: {schema.fields['activation']} {shorten(activation)!r} is not one of {known}")
    with within(path):
        return schema.config(**schema.read(raw, values | {"activation": activations[activation]}))


def _or(schemas: Mapping[str, Schema]) -> str:
    *names, last = map(repr, schemas)
    return f"{', '.join(names)} and {last}" if names else f"only {last}"


def _value(raw: JsonObject, field: dataclasses.Field[Any], name: str) -> Any:
    """Read the value of one of our config fields."""
    kind = type(field.default)
    if kind is int:
        return raw.field(name, kind, field.default, most=_LARGEST.get(field.name, 2**31 - 1))
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
    schema = schema_of(config)
    strange = [name for name in raw.strings("architectures") if name not in _classes(schema)]
    weights = find_weights(folder)
    if weights is None:
        raise InputError(f"{folder} has no model.safetensors and no pytorch_model.bin, whole or in shards")
    saved = read_weights(weights)
    _check_architecture(raw.path, saved, schema)
    tensors = canonical(saved, weights, schema)
    classifier = [name for name in tensors if schema.of_classifier(name)]
    labels, reason = _read_labels(raw, tensors, schema) if classifier else (Labels(), None)
    if reason and not encoder_only:
        raise InputError(f"{reason}. Its encoder alone: {ENCODER_ALONE}")
    if reason:
        pass_over(weights, classifier, schema)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in classifier}
    try:
        checkpoint = from_tensors(config, tensors, weights, labels, encoder_only)
    except InputError as error:
        if not strange:
            raise
        known = ", ".join(_classes(schema))
        raise InputError(f"{error}\n  The config says {', '.join(strange)}; known are {known}") from error
    return checkpoint._replace(carried=_carried(raw, schema))


def _classes(schema: Schema) -> list[str]:
    """Classes whose heads are all supported."""
    return [schema.stem + end for end in schema.classes]


def _check_architecture(path: Path, tensors: Tensors, schema: Schema) -> None:
    """Refuse the weights of other architectures, which a config need not name."""
    others = {other.prefix.removesuffix("."): other.model_type for other in reversed(SCHEMAS.values())}
    usual = {"model", schema.prefix.removesuffix(".")}
    found = {part for name in tensors for part in name.split(".")} - usual
    for kind in sorted(found & set(_MISSING_FEATURES)):
        needed = _MISSING_FEATURES[kind]
        raise InputError(f"{path.parent} holds a {kind} encoder, which cannot be loaded; it would need {needed}")
    for prefix in sorted(found & set(others)):
        raise InputError(
            f"{path.parent} holds a {others[prefix]}, and its config.json describes a {schema.model_type}: "
            f'write "model_type": "{others[prefix]}" into it if the other fields are right'
        )


def _read_labels(raw: JsonObject, tensors: Tensors, schema: Schema) -> tuple[Labels, str | None]:
    """Return a classifier's labels, or the reason why it cannot be loaded as a sentence classifier."""
    if reason := _why_no_sentence_classifier(raw, tensors, schema):
        return Labels(), f"{raw.path} {reason}"
    try:
        return _labels(raw), None
    except InputError as error:
        return Labels(), str(error)


def _why_no_sentence_classifier(raw: JsonObject, tensors: Tensors, schema: Schema) -> str | None:
    """Return evidence that a `classifier` is not that of BertForSequenceClassification; None if it may be.

    BertForTokenClassification has the same tensor names. It has no pooler (older versions had an unused one), and its
    labels are usually token tags.
    """
    names = raw.strings("architectures")
    for name in names:
        if (purpose := _OTHER_CLASSIFIERS.get(name.removeprefix(schema.stem))) is not None:
            return f"describes a {name}, whose classifier {purpose} and not sentences"
    if f"{schema.stem}ForSequenceClassification" in names:
        return None
    if names and not set(names) & set(_classes(schema)):
        return f"describes a {shorten(names[0])}, which is unknown: its classifier may not read the pooled [CLS]"
    pooler = schema.sequence.get("pooler") or schema.sequence["pooler/dense"]
    if not any(name.startswith(pooler) for name in tensors):
        token_class = f"{schema.stem}ForTokenClassification"
        return f"names no class for its classifier, and without a pooler it is one of tokens ({token_class})"
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


def _carried(raw: JsonObject, schema: Schema) -> Json:
    """Read the fields that are only written back and are not the default; all may be null.

    The activation's name is one of them if it is not the one that is usually written.
    """
    found = {
        name: None if raw.content.get(name, default) is None else raw.field(name, kind, default)
        for name, (kind, default) in schema.carried.items()
    }
    kept = {name: value for name, value in found.items() if value != schema.carried[name][1]}
    field = schema.fields["activation"]
    activation = raw.field(field, str, None)
    return kept if activation in (None, *schema.hidden_acts.values()) else kept | {field: activation}


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
    schema, config = checkpoint.schema, checkpoint.config
    raw: Json = {theirs: getattr(config, ours) for ours, theirs in schema.fields.items()}
    activation = schema.fields["activation"]
    raw[activation] = schema.hidden_acts[config.activation]
    raw = schema.write(config, raw) | dict(schema.fixed)
    raw |= {"model_type": schema.model_type, "architectures": [schema.class_of(checkpoint.heads)]}
    carried = dict(checkpoint.carried)
    if activation in carried and _ACTIVATIONS[carried[activation]] != config.activation:  # changed since it was read
        del carried[activation]
    raw |= {name: default for name, (_, default) in schema.carried.items()} | carried
    names, problem_type = output_labels(checkpoint)
    if names:
        raw["id2label"] = {str(n): name for n, name in enumerate(names)}
        raw["label2id"] = {name: n for n, name in enumerate(names)}
    if problem_type:
        raw["problem_type"] = problem_type
    raw |= settings or {}
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    write_weights(folder / "model.safetensors", to_tensors(checkpoint))
