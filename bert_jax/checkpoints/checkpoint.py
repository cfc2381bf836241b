"""A checkpoint's weights in our tree, and the table from our parameters to the names and layout of `transformers`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.types import Params

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
    **{f"classifier/dense/{ours}": f"classifier.{t}" for ours, t in _DENSE.items()},
}
# Copies of tied weights, and a buffer, that some versions of transformers write. They hold nothing of their own.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_DERIVED = {"bert.embeddings.position_ids", *_TIED}

HEADS = ("pooler", "mlm", "nsp", "classifier")
"""The parts of a checkpoint that may be absent."""


class Labels(NamedTuple):
    """What a config.json says of a classifier's outputs.

    names: of the outputs, in their order. problem_type: regression,
    single_label_classification, multi_label_classification, or None.
    """

    names: tuple[str, ...] = ()
    problem_type: str | None = None


class Checkpoint(NamedTuple):
    """A checkpoint's weights in our tree.

    encoder: the parameters of `Encoder`. pooler: {kernel, bias} of BERT's trained pooler, or None.
    mlm, nsp: the parameters of the pretraining heads, or None. classifier: those of `Classifier` over
    last/cls/tanh, or None; labels says what its outputs are.
    """

    config: BertConfig
    encoder: Params
    pooler: Params | None = None
    mlm: Params | None = None
    nsp: Params | None = None
    classifier: Params | None = None
    labels: Labels = Labels()

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads that it has."""
        return tuple(head for head in HEADS if getattr(self, head) is not None)


def from_tensors(config: BertConfig, tensors: dict[str, np.ndarray], path: Path, labels: Labels) -> Checkpoint:
    """A checkpoint of tensors by the names of `transformers`, strictly.

    Half precision becomes float32. A vocabulary matrix padded to a multiple of 8, up to 128, makes config.vocab_size
    the number of its rows.

    Args:
        config: the architecture that the tensors should have.
        tensors: by name, as saved by any version of `transformers`.
        path: where they are from, for the error.
        labels: what is known of a classifier's outputs.

    Raises:
        InputError: the tensors are not those of the config: each missing, unexpected, misshapen or otherwise
            unfit one is listed.
    """
    tensors = _canonical(tensors)
    config = _with_padded_vocabulary(config, tensors)
    table, shapes = _names(config), _shapes(config, _num_outputs(tensors, labels))
    parts = {part: [p for p in table if p.startswith(f"{part}/")] for part in ("encoder", *HEADS)}
    present = {part: part == "encoder" or any(table[p] in tensors for p in paths) for part, paths in parts.items()}
    wanted = {p for part, paths in parts.items() if present[part] for p in paths}
    problems = [f"missing {table[p]}" for p in sorted(wanted) if table[p] not in tensors]
    known = {table[p] for p in wanted} | _DERIVED
    problems += [f"unexpected {name}" for name in sorted(tensors) if name not in known]
    for p in sorted(p for p in wanted if table[p] in tensors):
        tensor, theirs = tensors[table[p]], shapes[p][::-1] if p.endswith("kernel") else shapes[p]
        if tensor.shape != theirs:
            problems.append(f"misshapen {table[p]}: {tensor.shape} where the config says {theirs}")
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            problems.append(f"{tensor.dtype} in {table[p]}: weights must be floating-point numbers")
    problems += [
        f"untied {copy}: it differs from {tied}" for copy, tied in _TIED.items() if _differ(tensors, copy, tied)
    ]
    if problems:
        raise InputError(f"{path} does not fit its config:\n  " + "\n  ".join(problems))
    tree = _unflatten({p: _to_ours(p, tensors[table[p]].astype(np.float32)) for p in wanted})
    checkpoint = Checkpoint(config, tree["encoder"], **{head: tree.get(head) for head in HEADS}, labels=labels)
    return checkpoint._replace(labels=output_labels(checkpoint))


def output_labels(checkpoint: Checkpoint) -> Labels:
    """What is known of the classifier's outputs, named as `transformers` does where they have no names."""
    if checkpoint.classifier is None:
        return Labels()
    outputs = range(len(checkpoint.classifier["dense"]["bias"]))
    return checkpoint.labels._replace(names=checkpoint.labels.names or tuple(f"LABEL_{n}" for n in outputs))


def to_tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """The inverse of `from_tensors`, by the names of BertForPreTraining and BertForSequenceClassification."""
    parts = {part: getattr(checkpoint, part) for part in ("encoder", *checkpoint.heads)}
    table = _names(checkpoint.config)
    return {table[ours]: _to_theirs(ours, np.asarray(value)) for ours, value in _flatten(parts)}


def _names(config: BertConfig) -> dict[str, str]:
    """Our parameter path to the canonical tensor name, for the whole of a BERT with every head."""
    table = {f"encoder/embeddings/{ours}": f"bert.embeddings.{theirs}" for ours, theirs in _EMBEDDINGS.items()}
    for n in range(config.num_layers):
        table |= {f"encoder/blocks_{n}/{ours}": f"bert.encoder.layer.{n}.{theirs}" for ours, theirs in _BLOCK.items()}
    return table | _HEADS


def _shapes(config: BertConfig, num_outputs: int) -> dict[str, tuple[int, ...]]:
    """Our parameter path to its shape in our layout."""
    d, f, v = config.hidden_size, config.intermediate_size, config.vocab_size
    special = {
        "encoder/embeddings/token/embedding": (v, d),
        "encoder/embeddings/position/embedding": (config.max_length, d),
        "encoder/embeddings/segment/embedding": (config.num_segments, d),
        "mlm/bias": (v,),
        "nsp/dense/kernel": (d, 2),
        "nsp/dense/bias": (2,),
        "classifier/dense/kernel": (d, num_outputs),
        "classifier/dense/bias": (num_outputs,),
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


def _canonical(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """By the names of BertForPreTraining: with "bert.", and without TensorFlow's gamma and beta."""
    is_bare = not any(name.startswith("bert.") for name in tensors)
    renamed = {}
    for name, tensor in tensors.items():
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        renamed[f"bert.{name}" if is_bare and not name.startswith(("cls.", "classifier.")) else name] = tensor
    return renamed


def _with_padded_vocabulary(config: BertConfig, tensors: dict[str, np.ndarray]) -> BertConfig:
    rows = len(np.atleast_1d(tensors.get("bert.embeddings.word_embeddings.weight", ())))
    is_padding = rows % 8 == 0 and 0 < rows - config.vocab_size < 128
    return dataclasses.replace(config, vocab_size=rows) if is_padding else config


def _num_outputs(tensors: dict[str, np.ndarray], labels: Labels) -> int:
    return len(labels.names or np.atleast_1d(tensors.get("classifier.weight", ())))


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
