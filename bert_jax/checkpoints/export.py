"""Export a readout and a classifier to `transformers` or `sentence-transformers`.

A readout that a library cannot express exactly is refused, never approximated.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bert_jax.checkpoints.architectures import schema_of
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.huggingface import save_checkpoint
from bert_jax.checkpoints.sentence_transformers import ACTIVATIONS
from bert_jax.checkpoints.weights import write_weights
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.files import Json
from bert_jax.model.readout import dense_name
from bert_jax.spec import Spec, parse_spec, parse_sum
from bert_jax.types import Params

MODES = {
    "cls": "cls_token",
    "max": "max_tokens",
    "mean": "mean_tokens",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "last_token": "lasttoken",
}
"""Our poolings -> switches of sentence-transformers, in the order in which it concatenates them."""
_TOKENS = {0: "cls", -1: "last_token"}
_PAD_BIAS = -1e4
"""Logit of a token that pads the vocabulary: its probability is 0 even in half precision."""


class Tuned(NamedTuple):
    """An encoder with the readout that it was trained with.

    checkpoint: the encoder. reader: the readout's parameters. classifier: {"dense": {kernel, bias}}, or None for
    sentence vectors. labels: names of the classes; empty for a regression. normalize: scale sentence vectors to
    length 1. prompts: name -> text that may be put before texts.
    """

    checkpoint: Checkpoint
    readout: ReadoutConfig
    reader: Params
    classifier: Params | None = None
    labels: tuple[str, ...] = ()
    normalize: bool = False
    prompts: Mapping[str, str] = {}


Denses = list[tuple[np.ndarray, np.ndarray, str]]
"""Dense layers in order: kernel, bias and activation of each."""


class Expressed(NamedTuple):
    """A readout in the terms of sentence-transformers.

    layers: weights of the hidden states [N+1], or None for the last one alone. modes: keys of `MODES`, in its order.
    denses: (kernel, bias, activation) of each dense layer after the pooling.
    """

    checkpoint: Checkpoint
    layers: np.ndarray | None
    modes: list[str]
    denses: Denses


def target_of(readout: ReadoutConfig, config: BertConfig) -> Literal["huggingface", "sentence-transformers"]:
    """Choose the export format of a classifier: "huggingface" if that supports the readout, else the other one.

    Raises:
        InputError: neither library can express the readout.
    """
    why_not = _why_not_huggingface(readout, config)
    if why_not is None:
        return "huggingface"
    _layers(readout, config)
    _poolings(readout)
    return "sentence-transformers"


def save_huggingface(folder: Path, tuned: Tuned) -> None:
    """Write a classifier as a `BertForSequenceClassification`, or the class of its architecture.

    Raises:
        InputError: this class cannot express the readout.
    """
    assert tuned.classifier is not None, "a model without a classifier is saved by save_checkpoint"
    if why_not := _why_not_huggingface(tuned.readout, tuned.checkpoint.config):
        raise InputError(f"readout {tuned.readout} cannot be saved for transformers: {why_not}")
    _, last = _layers(tuned.readout, tuned.checkpoint.config)
    encoder = _cut(tuned.checkpoint, last).headless
    if hasattr(encoder.config, "classifier_pooling"):
        changes: Json = {"classifier_pooling": tuned.readout.pooling}
        encoder = encoder._replace(config=dataclasses.replace(encoder.config, **changes))
    projection = tuned.reader["projection"]
    pooler = projection if "norm" in projection else projection["dense"]
    checkpoint = encoder._replace(pooler=pooler, classifier=tuned.classifier)
    save_checkpoint(folder, checkpoint, label_settings(tuned.labels))


def label_settings(labels: tuple[str, ...]) -> Json:
    """Return the fields of `config.json` that describe a classifier's outputs."""
    kind = "single_label_classification" if labels else "regression"
    names = dict(enumerate(labels or ("score",)))
    return {"id2label": names, "label2id": {name: n for n, name in names.items()}, "problem_type": kind}


def save_sentence_transformers(folder: Path, tuned: Tuned, max_length: int) -> None:
    """Write a model for sentence-transformers: the encoder, its pooling, and a Dense for each layer after it.

    With a classifier the "embeddings" are its logits. The format has no pretraining heads, so they are left out.

    Args:
        folder: the model directory; created if missing.
        tuned: the model.
        max_length: length in tokens to which the exported model truncates texts.

    Raises:
        InputError: sentence-transformers cannot express the readout.
    """
    checkpoint, layers, modes, denses = express(tuned)
    width = checkpoint.config.hidden_size
    modules: list[tuple[str, Json, dict[str, np.ndarray]]] = []
    if layers is not None:
        settings = {"word_embedding_dimension": width, "layer_start": 0, "num_hidden_layers": len(layers) - 1}
        modules.append(("WeightedLayerPooling", settings, {"layer_weights": layers}))
    switches = {f"pooling_mode_{theirs}": ours in modes for ours, theirs in MODES.items()}
    modules.append(("Pooling", {"word_embedding_dimension": width, **switches, "include_prompt": True}, {}))
    for kernel, bias, activation in denses:
        sizes = {"in_features": kernel.shape[0], "out_features": kernel.shape[1], "bias": True}
        weights = {"linear.weight": np.ascontiguousarray(kernel.T), "linear.bias": bias}
        modules.append(("Dense", {**sizes, "activation_function": f"torch.nn.{activation}"}, weights))
    if tuned.normalize:
        modules.append(("Normalize", {}, {}))
    save_checkpoint(folder, checkpoint, {} if layers is None else {"output_hidden_states": True})
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for n, (kind, settings, weights) in enumerate(modules, start=1):
        path = folder / f"{n}_{kind}"
        path.mkdir(exist_ok=True)
        _write_json(path / "config.json", settings)
        if weights:
            write_weights(path / "model.safetensors", weights)
        listed.append({"idx": n, "name": str(n), "path": path.name, "type": f"sentence_transformers.models.{kind}"})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    _write_json(
        folder / "config_sentence_transformers.json", {"prompts": dict(tuned.prompts), "default_prompt_name": None}
    )
    _write_json(folder / "modules.json", listed)


def express(tuned: Tuned) -> Expressed:
    """Express the model in the terms of sentence-transformers.

    Raises:
        InputError: sentence-transformers cannot express the readout.
    """
    config, readout = tuned.checkpoint.config, tuned.readout
    weights, last = _layers(readout, config)
    modes = _poolings(readout)
    denses = []
    if "projection" in tuned.reader:
        layers = [tuned.reader["projection"][dense_name(n)] for n in range(len(tuned.reader["projection"]))]
        names = _activations(readout, len(layers))
        denses += [(*_dense(layer), name) for layer, name in zip(layers, names, strict=True)]
    if tuned.classifier is not None:
        denses.append((*_dense(tuned.classifier["dense"]), "Identity"))
    if "layers" in tuned.reader:
        assert weights is not None, "a mix has a weight for every layer"
        mix = {name: np.asarray(value, np.float32) for name, value in tuned.reader["layers"].items()}
        shares = np.exp(mix["weights"] - mix["weights"].max())
        indices = parse_spec(readout.layers).args or range(len(weights))
        weights[[index % len(weights) for index in indices]] = shares / shares.sum()
        denses = _scaled(readout, denses, float(mix["gamma"]))
    order = sorted(modes, key=list(MODES).index)
    if order != modes:
        denses = _permuted(readout, denses, [modes.index(mode) for mode in order])
    checkpoint = _cut(tuned.checkpoint, last) if weights is None else tuned.checkpoint
    return Expressed(checkpoint.headless, weights, order, denses)


def resize_vocabulary(checkpoint: Checkpoint, used: int, multiple: int) -> Checkpoint:
    """Pad the vocabulary of a checkpoint to a multiple, or remove its padding.

    Logits and vectors of real tokens do not change; a padding token has probability 0.

    Args:
        checkpoint: any checkpoint.
        used: number of tokens in the tokenizer.
        multiple: 8 or 128 for speed; 1 for no padding.

    Raises:
        InputError: the multiple is less than 1.
    """
    if multiple < 1:
        raise InputError(f"a vocabulary cannot be a multiple of {multiple}: 1 is the least, 8 or 128 are usual")
    size = -(-used // multiple) * multiple
    embeddings = checkpoint.encoder["embeddings"]
    table = _resized(embeddings["token"]["embedding"], used, size, 0.0)
    encoder = {**checkpoint.encoder, "embeddings": {**embeddings, "token": {"embedding": table}}}
    mlm = checkpoint.mlm and {**checkpoint.mlm, "bias": _resized(checkpoint.mlm["bias"], used, size, _PAD_BIAS)}
    config = dataclasses.replace(checkpoint.config, vocab_size=size)
    return checkpoint._replace(config=config, encoder=encoder, mlm=mlm)


def _resized(rows: np.ndarray, used: int, size: int, fill: float) -> np.ndarray:
    rows = np.asarray(rows)[:used]
    return np.concatenate([rows, np.full((size - used, *rows.shape[1:]), fill, rows.dtype)])


def _why_not_huggingface(readout: ReadoutConfig, config: BertConfig) -> str | None:
    schema = schema_of(config)
    name, own = f"{schema.stem}ForSequenceClassification", schema.readout(config)
    poolings = ("cls", "mean") if hasattr(config, "classifier_pooling") else (own.pooling,)
    found = [_pooling(term) for term in parse_sum(readout.pooling)]
    if len(found) > 1 or found[0] not in poolings:
        return f"{name} reads {' or '.join(poolings).replace('cls', '[CLS]')}, not {readout.pooling}"
    if _layers(readout, config)[0] is not None:
        return f"{name} reads one layer, not {readout.layers}"
    if _form(readout.projection) != _form(own.projection):
        form = _form(own.projection)
        needed = "tanh or mlp" if form == ("mlp", "tanh") else own.projection
        before = f"a dense layer with {form[1]}" if form[0] == "mlp" else "a dense layer, GELU and a normalisation"
        return f"{name} has {before} before the classifier: projection {needed}"
    return None


def _form(projection: str) -> tuple[str, ...]:
    """Equal for projections of the same form: ("mlp", activation) for one dense layer of the encoder's width."""
    name, args, settings = parse_spec(projection)
    rest = dict(settings)
    if name in ("tanh", "mlp"):
        activation = rest.pop("activation", "tanh")
        rest.pop("pretrained", None)
        if not args and not rest:
            return "mlp", str(activation)
    return name, *(str(value) for value in (*args, *settings.items()))


def _layers(readout: ReadoutConfig, config: BertConfig) -> tuple[np.ndarray | None, int]:
    """Return (weights of the hidden states, or None for a single one; index of the last layer needed).

    A single state is exported as the last one of a truncated encoder, if that computes it. A mix gets weight 1 for
    every layer in it.
    """
    name, args, _ = parse_spec(readout.layers)
    count = config.num_layers + 1
    indices = {"last": (-1,), "mix": args or tuple(range(count))}.get(name, args)
    if name not in ("last", "index", "avg", "mix"):
        raise InputError(f"layers {readout.layers} cannot be saved: sentence-transformers can average layers, not more")
    times = Counter(index % count for index in indices)
    is_last = set(times) == {config.num_layers}
    if name != "mix" and len(times) == 1 and 0 not in times and (is_last or schema_of(config).can_be_cut(config)):
        return None, next(iter(times))
    if name == "mix" and max(times.values()) > 1:
        raise InputError(f"layers {readout.layers} cannot be saved: it has a layer twice")
    return np.array([times[n] for n in range(count)], np.float32), config.num_layers


def _poolings(readout: ReadoutConfig) -> list[str]:
    modes = []
    for term in parse_sum(readout.pooling):
        mode = _pooling(term)
        if mode is None:
            settings = ", ".join(f"{name}={value!r}" for name, value in term.kwargs.items())
            raise InputError(
                f"pooling {term.name}{f'({settings})' if settings else ''} cannot be saved: neither transformers nor "
                f"sentence-transformers has it; they have {', '.join(MODES)}, over all tokens"
            )
        modes.append(mode)
    if len(set(modes)) < len(modes):
        raise InputError(f"pooling {readout.pooling} cannot be saved: sentence-transformers has each pooling once")
    if parse_spec(readout.projection).name not in ("none", "tanh", "mlp"):
        raise InputError(f"projection {readout.projection} cannot be saved: sentence-transformers has no such module")
    _activations(readout)
    return modes


def _activations(readout: ReadoutConfig, count: int = 1) -> list[str]:
    """Return the torch.nn classes of the activations of a projection with `count` layers."""
    given = parse_spec(readout.projection).kwargs.get("activation", "tanh")
    names = given if isinstance(given, tuple) else (given,) * count
    known = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    if strange := [name for name in names if name not in known]:
        reason = f"torch has no activation class for {strange[0]!r}"
        raise InputError(f"projection {readout.projection} cannot be saved: {reason}")
    return [known[name] for name in names]


def _pooling(term: Spec) -> str | None:
    """Return the key of `MODES` for a pooling, or None if it has none."""
    settings = dict(term.kwargs)
    if not settings.pop("special_tokens", True):
        return None
    if term.name in ("token", "cls", "last_token") and (settings or term.args):
        index = term.args[0] if term.args else settings.pop("index", None)
        return None if settings else _TOKENS.get(index)
    return term.name if term.name in MODES and not settings and not term.args else None


def _dense(params: Params) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(params["kernel"], np.float32), np.asarray(params["bias"], np.float32)


def _scaled(readout: ReadoutConfig, denses: Denses, gamma: float) -> Denses:
    """Fold the mix's gamma into the first dense layer, as all poolings scale linearly with their input."""
    if gamma == 1:
        return denses
    if not denses or (gamma < 0 and "max" in readout.pooling):
        raise InputError(f"layers {readout.layers} cannot be saved: sentence-transformers has no gamma ({gamma:.3g})")
    (kernel, bias, activation), *rest = denses
    return [(kernel * np.float32(gamma), bias, activation), *rest]


def _permuted(readout: ReadoutConfig, denses: Denses, parts: list[int]) -> Denses:
    """Permute the input of the first dense layer to the order of poolings in sentence-transformers."""
    if not denses:
        terms = readout.pooling.split("+")
        order = " + ".join(terms[part].strip() for part in parts)
        raise InputError(
            f"pooling {readout.pooling!r} cannot be saved: sentence-transformers concatenates as {order!r}; ask for it"
        )
    (kernel, bias, activation), *rest = denses
    blocks = np.split(kernel, len(parts))
    return [(np.concatenate([blocks[part] for part in parts]), bias, activation), *rest]


def _cut(checkpoint: Checkpoint, num_layers: int) -> Checkpoint:
    """Truncate the encoder after one of its layers, whose state becomes the last one."""
    if num_layers == checkpoint.config.num_layers:
        return checkpoint
    kept = {name: part for name, part in checkpoint.encoder.items() if not name.startswith("blocks_")}
    kept |= {f"blocks_{n}": checkpoint.encoder[f"blocks_{n}"] for n in range(num_layers)}
    config = dataclasses.replace(checkpoint.config, num_layers=num_layers)
    return Checkpoint(config, kept, checkpoint.pooler, carried=checkpoint.carried)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
