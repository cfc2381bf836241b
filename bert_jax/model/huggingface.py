"""Hugging Face model directories: config.json and model.safetensors, both ways, without torch."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.types import Params

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

_FILES = ["config.json", "model.safetensors", "vocab.txt", "tokenizer.json", "tokenizer_config.json", "spiece.model"]
"""What is fetched of a repository on the hub."""

_EMBEDDINGS = {
    "token/embedding": "word_embeddings.weight",
    "position/embedding": "position_embeddings.weight",
    "segment/embedding": "token_type_embeddings.weight",
    "norm/scale": "LayerNorm.weight",
    "norm/bias": "LayerNorm.bias",
}
_DENSE = {"kernel": "weight", "bias": "bias"}
_NORM = {"scale": "weight", "bias": "bias"}
_BLOCK = {
    **{f"attention/query/{ours}": f"attention.self.query.{t}" for ours, t in _DENSE.items()},
    **{f"attention/key/{ours}": f"attention.self.key.{t}" for ours, t in _DENSE.items()},
    **{f"attention/value/{ours}": f"attention.self.value.{t}" for ours, t in _DENSE.items()},
    **{f"attention/output/{ours}": f"attention.output.dense.{t}" for ours, t in _DENSE.items()},
    **{f"attention_norm/{ours}": f"attention.output.LayerNorm.{t}" for ours, t in _NORM.items()},
    **{f"intermediate/{ours}": f"intermediate.dense.{t}" for ours, t in _DENSE.items()},
    **{f"output/{ours}": f"output.dense.{t}" for ours, t in _DENSE.items()},
    **{f"output_norm/{ours}": f"output.LayerNorm.{t}" for ours, t in _NORM.items()},
}
_HEADS = {
    **{f"pooler/{ours}": f"bert.pooler.dense.{t}" for ours, t in _DENSE.items()},
    **{f"mlm/dense/{ours}": f"cls.predictions.transform.dense.{t}" for ours, t in _DENSE.items()},
    **{f"mlm/norm/{ours}": f"cls.predictions.transform.LayerNorm.{t}" for ours, t in _NORM.items()},
    "mlm/bias": "cls.predictions.bias",
    **{f"nsp/dense/{ours}": f"cls.seq_relationship.{t}" for ours, t in _DENSE.items()},
}
# Copies of tied weights, and a buffer, that some versions of transformers write. They hold nothing of their own.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_DERIVED = {"bert.embeddings.position_ids", *_TIED}


class Checkpoint(NamedTuple):
    """A checkpoint's weights in our tree.

    encoder: the parameters of `Encoder`. pooler: {kernel, bias} of BERT's trained pooler, or None.
    mlm, nsp: the parameters of the pretraining heads, or None.
    """

    config: BertConfig
    encoder: Params
    pooler: Params | None = None
    mlm: Params | None = None
    nsp: Params | None = None


def read_config(folder: Path) -> BertConfig:
    """Read `config.json`.

    Raises:
        InputError: the file is missing or unreadable, or describes something other than a BERT.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} is no Hugging Face model directory: it has no config.json")
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not readable JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path} holds no JSON object")
    kind = raw.get("model_type", "bert")
    if kind != "bert":
        raise InputError(f"{path}: model_type is {kind!r}; only 'bert' can be loaded, its blocks differ from {kind}'s")
    if raw.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(f"{path}: position_embedding_type {raw['position_embedding_type']!r} is not supported")
    values = {ours: raw[theirs] for ours, theirs in _CONFIG_NAMES.items() if theirs in raw}
    if values.get("activation", "gelu") not in _ACTIVATIONS:
        raise InputError(f"{path}: hidden_act {values['activation']!r} is not one of {', '.join(_ACTIVATIONS)}")
    values["activation"] = _ACTIVATIONS[values.get("activation", "gelu")]
    try:
        return BertConfig(**values)
    except (InputError, TypeError) as error:
        raise InputError(f"{path}: {error}") from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read `config.json` and `model.safetensors`, strictly.

    Raises:
        InputError: a file is missing or damaged, or its tensors are not those of the config: each
            missing, unexpected and misshapen one is listed.
    """
    config = read_config(folder)
    path = _weights_file(folder)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or truncated ({error}); fetch or save it again") from error
    return _from_tensors(config, {_canonical(name): tensor for name, tensor in tensors.items()}, path)


def fingerprint(folder: Path) -> str:
    """What tells a directory's weights from others: the start of the SHA-256 of `model.safetensors`."""
    return hashlib.sha256(_weights_file(folder).read_bytes()).hexdigest()[:12]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `config.json` and `model.safetensors` as `transformers` names them; load gives the same bits back."""
    folder.mkdir(parents=True, exist_ok=True)
    raw: dict[str, Any] = {theirs: getattr(checkpoint.config, ours) for ours, theirs in _CONFIG_NAMES.items()}
    raw["hidden_act"] = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}[checkpoint.config.activation]
    raw |= {"model_type": "bert", "pad_token_id": 0}
    raw["architectures"] = ["BertForPreTraining" if checkpoint.mlm else "BertModel"]
    (folder / "config.json").write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")
    flat = dict(_flatten({name: part for name, part in checkpoint._asdict().items() if name != "config" and part}))
    table = _names(checkpoint.config)
    tensors = {table[ours]: _to_theirs(ours, np.asarray(value)) for ours, value in flat.items()}
    partial = folder / "model.safetensors.partial"
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(folder / "model.safetensors")


def resolve(name: str) -> Path:
    """A local model directory, or a Hugging Face hub id downloaded into its cache.

    Raises:
        InputError: it is neither.
    """
    path = Path(name).expanduser()
    if path.exists() or name.startswith((".", "/", "~")):
        if not path.is_dir():
            raise InputError(f"there is no model directory {name}")
        return path
    from huggingface_hub import snapshot_download  # slow to import, and not needed for a local directory

    try:
        return Path(snapshot_download(name, allow_patterns=_FILES))
    except Exception as error:  # network, authorisation and naming errors share no base class
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{name!r} is no directory here and cannot be fetched from the hub: {reason}") from error


def _weights_file(folder: Path) -> Path:
    path = folder / "model.safetensors"
    if not path.is_file():
        raise InputError(f"{folder} has no model.safetensors")
    return path


def _names(config: BertConfig) -> dict[str, str]:
    """Our parameter path to the canonical tensor name, for the whole of a BertForPreTraining."""
    table = {f"encoder/embeddings/{ours}": f"bert.embeddings.{theirs}" for ours, theirs in _EMBEDDINGS.items()}
    for n in range(config.num_layers):
        table |= {f"encoder/blocks_{n}/{ours}": f"bert.encoder.layer.{n}.{theirs}" for ours, theirs in _BLOCK.items()}
    return table | _HEADS


def _shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """Our parameter path to its shape in our layout."""
    d, f, v = config.hidden_size, config.intermediate_size, config.vocab_size
    special = {
        "encoder/embeddings/token/embedding": (v, d),
        "encoder/embeddings/position/embedding": (config.max_length, d),
        "encoder/embeddings/segment/embedding": (config.num_segments, d),
        "mlm/bias": (v,),
        "nsp/dense/kernel": (d, 2),
        "nsp/dense/bias": (2,),
    }

    def shape(path: str) -> tuple[int, ...]:
        if path in special:
            return special[path]
        if "/intermediate/" in path:
            return (d, f) if path.endswith("kernel") else (f,)
        if path.endswith("kernel"):
            return (f, d) if path.split("/")[-2] == "output" and "attention" not in path else (d, d)
        return (d,)

    return {path: shape(path) for path in _names(config)}


def _canonical(name: str) -> str:
    """The name as BertForPreTraining has it: with "bert.", and without TensorFlow's gamma and beta."""
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    return name if name.startswith(("bert.", "cls.", "classifier.")) else f"bert.{name}"


def _from_tensors(config: BertConfig, tensors: dict[str, np.ndarray], path: Path) -> Checkpoint:
    table, shapes = _names(config), _shapes(config)
    parts = {part: [p for p in table if p.startswith(f"{part}/")] for part in ("encoder", "pooler", "mlm", "nsp")}
    present = {part: part == "encoder" or any(table[p] in tensors for p in paths) for part, paths in parts.items()}
    wanted = {p for part, paths in parts.items() if present[part] for p in paths}
    problems = [f"missing {table[p]}" for p in sorted(wanted) if table[p] not in tensors]
    known = {table[p] for p in wanted} | _DERIVED
    problems += [f"unexpected {name}" for name in sorted(tensors) if name not in known]
    for p in sorted(p for p in wanted if table[p] in tensors):
        found, theirs = tensors[table[p]].shape, shapes[p][::-1] if p.endswith("kernel") else shapes[p]
        if found != theirs:
            problems.append(f"misshapen {table[p]}: {found} where the config says {theirs}")
    problems += [
        f"untied {copy}: it differs from {tied}" for copy, tied in _TIED.items() if _differ(tensors, copy, tied)
    ]
    if problems:
        raise InputError(f"{path} does not fit its config.json:\n  " + "\n  ".join(problems))
    tree = _unflatten({p: _to_ours(p, tensors[table[p]].astype(np.float32)) for p in wanted})
    trees: dict[str, Any] = {part: tree.get(part) for part in parts}
    return Checkpoint(config, **trees)


def _differ(tensors: dict[str, np.ndarray], copy: str, tied: str) -> bool:
    return copy in tensors and tied in tensors and not np.array_equal(tensors[copy], tensors[tied])


def _to_ours(path: str, tensor: np.ndarray) -> np.ndarray:
    """torch keeps a dense weight as [out in], we as [in out]; "B follows A" is NSP's class 0 for BERT, 1 for us."""
    tensor = tensor.T if path.endswith("kernel") else tensor
    return np.ascontiguousarray(tensor[..., ::-1] if path.startswith("nsp/") else tensor)


def _to_theirs(path: str, array: np.ndarray) -> np.ndarray:
    """The inverse of `_to_ours`."""
    array = array[..., ::-1] if path.startswith("nsp/") else array
    return np.ascontiguousarray(array.T if path.endswith("kernel") else array)


def _flatten(tree: Params) -> Iterator[tuple[str, np.ndarray]]:
    for keys, leaf in jax.tree_util.tree_leaves_with_path(tree):
        yield "/".join(key.key for key in keys), leaf


def _unflatten(flat: dict[str, np.ndarray]) -> Params:
    tree: Params = {}
    for path, leaf in flat.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree
