"""What a directory of sentence-transformers does after its encoder, as a readout of ours.

`modules.json` lists the modules. A Transformer, a Pooling, then at most one Dense and one Normalize can be expressed;
anything else is refused, as an embedding without it would be another one.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.checkpoints.weights import find_weights, read_json, read_weights
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.types import Params

POOLINGS = {
    "cls": "cls",
    "max": "max",
    "mean": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weightedmean",
    "lasttoken": "last_token",
}
"""A `pooling_mode` to our pooling, in the order in which sentence-transformers joins several."""

ACTIVATIONS = {"Tanh": "tanh", "Identity": "identity", "ReLU": "relu", "GELU": "gelu"}
"""A Dense module's class of `torch.nn` to our name of the activation."""

_BOOLEANS = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens"} | {
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean": "weightedmean_tokens",
    "lasttoken": "lasttoken",
}
"""The older form: `pooling_mode_cls_token: true` and so on."""


_WIRING = {
    "transformer_task": ("feature-extraction",),
    "method": ("forward",),
    "method_output_name": ("last_hidden_state",),
    "module_input_name": ("sentence_embedding",),
    "module_output_name": ("token_embeddings", "sentence_embedding"),
}
"""What newer versions write of the way from module to module, as it nearly always is."""


class Module(NamedTuple):
    """A line of modules.json: the last part of its class's name, and its folder."""

    kind: str
    folder: Path


class Pipeline(NamedTuple):
    """What follows the encoder, and how texts come to it.

    projection: the weights of the readout's projection, {dense: {kernel, bias}}, or None. normalize: to vectors of
    length 1. max_length: tokens that texts are cut to, or None. lowercase: texts are, before they are tokenised.
    """

    readout: ReadoutConfig
    projection: Params | None
    normalize: bool
    max_length: int | None
    lowercase: bool


def encoder_folder(folder: Path) -> Path:
    """Where the encoder is: the folder of modules.json's Transformer, or the folder itself.

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
    """The lines of `modules.json`.

    Raises:
        InputError: it is unreadable, empty, or names a folder outside its own.
    """
    path = folder / "modules.json"
    try:
        modules = [Module(str(row["type"]).rpartition(".")[2], folder / row["path"]) for row in read_json(path, list)]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is no list of modules with a type and a path each ({error!r})") from error
    if not modules:
        raise InputError(f"{path} lists no modules")
    outside = [m.folder for m in modules if not m.folder.resolve().is_relative_to(folder.resolve())]
    if outside:
        raise InputError(f"{path} names folders outside its own: {', '.join(map(str, outside))}")
    return modules


def read_pipeline(folder: Path, config: BertConfig) -> Pipeline | None:
    """What a directory of sentence-transformers does with an encoder's tokens; None if it is no such directory.

    Raises:
        InputError: a file is missing or damaged, or a module or setting has no equal here.
    """
    if not (folder / "modules.json").is_file():
        return None
    first, *rest = (module for module in read_modules(folder) if module.kind != "Dropout")
    kinds = [module.kind for module in rest]
    if kinds not in (["Pooling", *dense, *last] for dense in ([], ["Dense"]) for last in ([], ["Normalize"])):
        raise _refusal(
            folder / "modules.json",
            f"Transformer, {', '.join(kinds) or 'nothing'}; what can be expressed is Transformer, Pooling, "
            "at most one Dense, at most one Normalize",
        )
    _refuse_prompt(folder / "config_sentence_transformers.json")
    _refuse_wiring(first.folder / "sentence_bert_config.json")
    for module in rest:
        _refuse_wiring(module.folder / "config.json")
    pooling = _pooling(rest[0].folder / "config.json", config)
    projection, weights = "none", None
    if "Dense" in kinds:
        width = len(pooling) * config.hidden_size
        projection, weights = _dense(rest[kinds.index("Dense")].folder, width, config)
    readout = ReadoutConfig("last", " + ".join(pooling), projection)
    return Pipeline(readout, weights, "Normalize" in kinds, *_input(first.folder))


def _refusal(path: Path, what: str) -> InputError:
    return InputError(f"{path} has {what}. load(..., encoder_only=True) takes the encoder alone")


def _refuse_prompt(path: Path) -> None:
    name = read_json(path).get("default_prompt_name") if path.is_file() else None
    if name:
        raise _refusal(path, f"a default prompt ({name!r}), which sentence-transformers puts before every text")


def _refuse_wiring(path: Path) -> None:
    """Refuse a module that reads or writes something other than what its neighbours do."""
    raw = read_json(path) if path.is_file() else {}
    text = raw.get("modality_config", {}).get("text", {})
    found = {name: raw[name] for name in _WIRING if name in raw} | {
        name: text[name] for name in _WIRING if name in text
    }
    for name, value in found.items():
        if value not in (*_WIRING[name], None):
            raise _refusal(path, f"{name} {value!r}; known is {' or '.join(_WIRING[name])}")


def _pooling(path: Path, config: BertConfig) -> list[str]:
    raw = read_json(path)
    modes = raw.get("pooling_mode") or [m for m, name in _BOOLEANS.items() if raw.get(f"pooling_mode_{name}")]
    modes = [modes] if isinstance(modes, str) else list(modes) or ["mean"]  # the default, when every boolean is false
    unknown = [str(mode) for mode in modes if mode not in POOLINGS]
    if unknown:
        raise _refusal(path, f"pooling {', '.join(unknown)}; known are {', '.join(POOLINGS)}")
    width = raw.get("word_embedding_dimension", raw.get("embedding_dimension", config.hidden_size))
    if width != config.hidden_size:
        raise InputError(f"{path} pools vectors of {width}, where the encoder's have {config.hidden_size}")
    return [POOLINGS[mode] for mode in modes]


def _dense(folder: Path, width: int, config: BertConfig) -> tuple[str, Params]:
    """A Dense module as a projection and its weights."""
    path = folder / "config.json"
    raw = read_json(path)
    name = str(raw.get("activation_function", "Tanh")).rpartition(".")[2]
    if name not in ACTIVATIONS:
        raise _refusal(path, f"activation_function {name}; known are {', '.join(ACTIVATIONS)}")
    if raw.get("use_residual"):
        raise _refusal(path, "use_residual, a layer that is added to its own input")
    file = find_weights(folder)
    if file is None:
        raise InputError(f"{folder} has no model.safetensors and no pytorch_model.bin")
    tensors = {name: tensor.astype(np.float32) for name, tensor in read_weights(file).items()}
    shapes = {"linear.weight": (raw.get("out_features"), width), "linear.bias": (raw.get("out_features"),)}
    if not raw.get("bias", True):
        tensors.setdefault("linear.bias", np.zeros(raw.get("out_features"), np.float32))
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != shapes:
        raise InputError(f"{file} has {found}, where {shapes} would fit its config.json and the pooled vectors")
    settings = {"features": raw["out_features"], "activation": ACTIVATIONS[name]}
    usual = {"features": config.hidden_size, "activation": "tanh"}
    changed = ", ".join(f"{field}={value!r}" for field, value in settings.items() if value != usual[field])
    kernel = np.ascontiguousarray(tensors["linear.weight"].T)
    weights = {"dense": {"kernel": kernel, "bias": tensors["linear.bias"]}}
    return f"mlp({changed})" if changed else "mlp", weights


def _input(folder: Path) -> tuple[int | None, bool]:
    """Tokens that texts are cut to, and whether they are lowercased before they are tokenised."""
    tokenizer, own = (
        read_json(folder / name) if (folder / name).is_file() else {}
        for name in ("tokenizer_config.json", "sentence_bert_config.json")
    )
    length = own.get("max_seq_length") or tokenizer.get("model_max_length")
    return None if length is None else int(length), bool(own.get("do_lower_case"))
