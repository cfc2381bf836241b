"""Convert the modules after the encoder of a sentence-transformers directory to one of our readouts.

`modules.json` lists the modules. Supported are a Transformer, at most one WeightedLayerPooling, a Pooling, any number
of Dense and at most one Normalize. Any other module is refused, because omitting it would change the embedding.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_jax.checkpoints.weights import Tensors, find_weights, read_weights
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.files import read_json
from bert_jax.json_object import JsonObject, shorten
from bert_jax.model.readout import dense_name
from bert_jax.types import Params

POOLINGS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weightedmean",
    "lasttoken": "last_token",
}
"""`pooling_mode` -> our pooling, in the order in which sentence-transformers concatenates several."""

ACTIVATIONS = {"Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu"}
"""Activation class of a Dense module in `torch.nn` -> our activation."""

_BOOLEANS = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"} | {
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "lasttoken": "lasttoken",
}
"""Pooling mode -> switch in the older format: `pooling_mode_cls_token: true` and so on."""


_WIRING = {
    "transformer_task": ("feature-extraction",),
    "method": ("forward",),
    "method_output_name": ("last_hidden_state",),
    "module_input_name": ("sentence_embedding",),
    "module_output_name": ("token_embeddings", "sentence_embedding"),
}
"""Supported values of the fields in which newer versions describe the data flow between modules."""


_REPEATS = 1_000
"""Integer layer weights with at most this sum are written as an `avg` with repeated layers."""


class Module(NamedTuple):
    """An entry of modules.json. kind: last part of the class name. folder: folder of the module."""

    kind: str
    folder: Path


class Pipeline(NamedTuple):
    """The readout after the encoder, and the preprocessing of texts.

    reader: the readout's parameters, {} if it has none. normalize: scale vectors to length 1.
    prompts: name -> text to put before every text, or None if the pooling leaves the tokens of a prompt out.
    max_length: length in tokens to which texts are truncated, or None. lowercase: lowercase texts before tokenising.
    """

    readout: ReadoutConfig
    reader: Params
    normalize: bool
    prompts: dict[str, str] | None
    max_length: int | None
    lowercase: bool


def encoder_folder(folder: Path) -> Path:
    """Find the folder of the encoder: that of the Transformer in modules.json, or the folder itself.

    Raises:
        InputError: modules.json is unreadable or does not begin with a Transformer.
    """
    if not (folder / "modules.json").is_file():
        return folder
    first = read_modules(folder)[0]
    if first.kind != "Transformer":
        raise InputError(f"{folder / 'modules.json'} begins with a {first.kind}; only a Transformer can be loaded")
    return first.folder


def read_modules(folder: Path) -> list[Module]:
    """Read the entries of `modules.json`.

    Raises:
        InputError: the file is unreadable, empty, or names a folder outside its own.
    """
    path = folder / "modules.json"
    try:
        modules = [
            Module(shorten(str(row["type"]).rpartition(".")[2]), _within(folder, row["path"]))
            for row in read_json(path, list)
        ]
        outside = [m.folder for m in modules if not m.folder.resolve().is_relative_to(folder.resolve())]
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"{path} is not a list of modules with a type and a path each ({error!r})") from error
    if not modules:
        raise InputError(f"{path} lists no modules")
    if outside:
        raise InputError(f"{path} names folders outside its own: {', '.join(map(str, outside))}")
    return modules


def _within(folder: Path, path: str) -> Path:
    if len(path) > 255:
        raise ValueError("a path is too long for a file system")
    return folder / path


def read_pipeline(folder: Path, config: BertConfig) -> Pipeline | None:
    """Read the pipeline of a sentence-transformers directory; None for any other directory.

    Raises:
        InputError: a file is missing or damaged, or a module or setting has no equivalent here.
    """
    if not (folder / "modules.json").is_file():
        return None
    first, *rest = (module for module in read_modules(folder) if module.kind != "Dropout")
    layered, pooling, *denses = _split(rest, folder / "modules.json")
    normalize = bool(denses) and denses[-1].kind == "Normalize"
    denses = denses[:-1] if normalize else denses
    prompts = _prompts(folder / "config_sentence_transformers.json", pooling.folder / "config.json")
    _refuse_wiring(first.folder / "sentence_bert_config.json")
    for module in rest:
        _refuse_wiring(module.folder / "config.json")
    layers, reader = _layers(layered.folder, first.folder, config) if layered else ("last", {})
    modes = _pooling(pooling.folder / "config.json", config)
    projection = "none"
    if denses:
        projection, weights = _projection([module.folder for module in denses], len(modes) * config.hidden_size, config)
        reader = reader | {"projection": weights}
    readout = ReadoutConfig(layers, " + ".join(modes), projection)
    return Pipeline(readout, reader, normalize, prompts, *_input(first.folder))


def _split(modules: Sequence[Module], path: Path) -> tuple[Any, ...]:
    """Split modules into the WeightedLayerPooling or None, the Pooling, and the modules after it."""
    kinds = [module.kind for module in modules]
    layered = kinds[:1] == ["WeightedLayerPooling"]
    after = kinds[1 + layered :]
    usual = after[:-1] if after[-1:] == ["Normalize"] else after
    if kinds[layered : layered + 1] != ["Pooling"] or set(usual) - {"Dense"}:
        raise _refusal(
            path,
            f"Transformer, {', '.join(kinds) or 'nothing'}; supported are Transformer, at most one "
            "WeightedLayerPooling, Pooling, any number of Dense, at most one Normalize",
        )
    return (modules[0] if layered else None, *modules[layered:])


def _refusal(path: Path, what: str) -> InputError:
    return InputError(f"{path} has {what}. load(..., encoder_only=True) takes the encoder alone")


def _prompts(path: Path, pooling: Path) -> dict[str, str] | None:
    """Read the prompts that may be asked for; one that stands before every text is refused."""
    raw = JsonObject.read(path, optional=True)
    name = raw.content.get("default_prompt_name")
    if name:
        raise _refusal(
            path, f"a default prompt ({shorten(str(name))!r}), which sentence-transformers puts before every text"
        )
    section = raw.section("prompts")
    prompts = {name: section.field(name, str, "") for name in section.content}
    return prompts if JsonObject.read(pooling).field("include_prompt", bool, True) else None


def _refuse_wiring(path: Path) -> None:
    """Refuse a module whose inputs or outputs differ from the usual data flow."""
    raw = JsonObject.read(path, optional=True)
    text = raw.section("modality_config").section("text")
    for name in _WIRING:
        for value in (section.content[name] for section in (raw, text) if name in section.content):
            if value not in (*_WIRING[name], None):
                raise _refusal(path, f"{name} {shorten(str(value))!r}; known is {' or '.join(_WIRING[name])}")


def _layers(folder: Path, encoder: Path, config: BertConfig) -> tuple[str, Params]:
    """Convert a WeightedLayerPooling, sum(w_n h_n) / sum(w_n), to a layers spec and its parameters."""
    path = folder / "config.json"
    raw = JsonObject.read(path)
    start = raw.field("layer_start", int, 4, least=0, most=config.num_layers)
    _refuse_width(raw, config.hidden_size)
    if not JsonObject.read(encoder / "config.json").field("output_hidden_states", bool, False):
        raise _refusal(
            path, "weights for layers that its encoder does not output: config.json lacks output_hidden_states"
        )
    found = _tensors(folder)
    shape = (config.num_layers + 1 - start,)
    if {name: tensor.shape for name, tensor in found.items()} != {"layer_weights": shape}:
        raise InputError(f"{folder} needs layer_weights of {shape}: from layer {start} to {config.num_layers}")
    weights = found["layer_weights"].astype(np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise _refusal(path, "layer weights that are not an average: they must be finite, none negative, some positive")
    used = [int(n) for n in np.flatnonzero(weights)]
    if (weights == weights.round()).all() and weights.sum() <= _REPEATS:
        times = [n + start for n in used for _ in range(int(weights[n]))]
        return (f"avg({','.join(map(str, times))})" if len(times) > 1 else str(times[0])), {}
    shares = np.log(weights[used] / weights.sum()).astype(np.float32)
    names = ",".join(str(n + start) for n in used)
    return f"mix({names})", {"layers": {"weights": shares, "gamma": np.ones((), np.float32)}}


def _pooling(path: Path, config: BertConfig) -> list[str]:
    raw = JsonObject.read(path)
    modes = raw.content.get("pooling_mode") or [
        mode for mode, name in _BOOLEANS.items() if raw.field(f"pooling_mode_{name}", bool, False)
    ]
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]  # the default if every boolean is false
    if not isinstance(modes, list) or not all(isinstance(mode, str) and mode in POOLINGS for mode in modes):
        shown = ", ".join(map(str, modes)) if isinstance(modes, list) else str(modes)
        raise _refusal(path, f"pooling {shorten(shown)}; known are {', '.join(POOLINGS)}")
    _refuse_width(raw, config.hidden_size)
    return [POOLINGS[mode] for mode in modes]


def _refuse_width(raw: JsonObject, width: int) -> None:
    """Refuse a module that pools vectors of another width."""
    for name in ("word_embedding_dimension", "embedding_dimension"):
        if (found := raw.field(name, int, width)) != width:
            raise InputError(f"{raw.path} pools vectors of {found}, where the encoder's have {width}")


def _projection(folders: Sequence[Path], width: int, config: BertConfig) -> tuple[str, Params]:
    """Convert Dense modules to a projection spec and its weights."""
    features, activations, weights = [], [], {}
    for n, folder in enumerate(folders):
        activation, weights[dense_name(n)] = _dense(folder, width)
        width = len(weights[dense_name(n)]["bias"])
        features.append(width)
        activations.append(activation)
    if len(folders) > 1:
        return f"mlp(features={tuple(features)}, activation={tuple(activations)})", weights
    settings = {"features": features[0], "activation": activations[0]}
    usual = {"features": config.hidden_size, "activation": "tanh"}
    changed = ", ".join(f"{field}={value!r}" for field, value in settings.items() if value != usual[field])
    return (f"mlp({changed})" if changed else "mlp"), weights


def _dense(folder: Path, width: int) -> tuple[str, Params]:
    """Read the activation and the weights of a Dense module."""
    raw = JsonObject.read(folder / "config.json")
    name = raw.field("activation_function", str, "Tanh").rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise _refusal(raw.path, f"activation_function {shorten(name)}; known are {', '.join(ACTIVATIONS)}")
    if raw.field("use_residual", bool, None):
        raise _refusal(raw.path, "use_residual, a layer that is added to its own input")
    features = raw.field("out_features", int, 0, least=1, most=1_000_000)
    tensors = {name: tensor.astype(np.float32) for name, tensor in _tensors(folder).items()}
    shapes = {"linear.weight": (features, width), "linear.bias": (features,)}
    if not raw.field("bias", bool, True):
        tensors.setdefault("linear.bias", np.zeros(features, np.float32))
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != shapes:
        raise InputError(f"{folder} has {found}, where {shapes} would fit its config.json and the pooled vectors")
    kernel = np.ascontiguousarray(tensors["linear.weight"].T)
    return ACTIVATIONS[name], {"kernel": kernel, "bias": tensors["linear.bias"]}


def _tensors(folder: Path) -> Tensors:
    """Read the weights of a module."""
    file = find_weights(folder)
    if file is None:
        raise InputError(f"{folder} has no model.safetensors and no pytorch_model.bin")
    tensors = read_weights(file)
    if strange := [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]:
        raise InputError(f"{file}: {strange[0]} is not finite; get the file again")
    return tensors


def _input(folder: Path) -> tuple[int | None, bool]:
    """Read the length in tokens to which texts are truncated, and whether they are lowercased before tokenising."""
    tokenizer, own = (
        JsonObject.read(folder / name, optional=True) for name in ("tokenizer_config.json", "sentence_bert_config.json")
    )
    # For a tokenizer without a limit, transformers writes 10^30, a float.
    limits = own.field("max_seq_length", int, None), tokenizer.field("model_max_length", float, None)
    length = limits[0] or limits[1]
    return None if length is None else int(length), bool(own.field("do_lower_case", bool, None))
