"""Checkpoint weights as our parameter tree, and their conversion to and from the names and layout of `transformers`."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.checkpoints.weights import Tensors
from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.types import Params

_LOGGER = logging.getLogger(__name__)
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
# Copies of tied weights, and a buffer, that some versions of transformers write. They carry no information.
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
_DERIVED = {"bert.embeddings.position_ids", *_TIED}

_ROOT = "embeddings.word_embeddings.weight"
"""A tensor that every encoder has and no head has; it reveals the prefix of all names."""
_UNPREFIXED = ("embeddings.", "encoder.", "pooler.")
"""Prefixes of the names in a `BertModel` saved by itself."""

_LISTED = 100
"""Most tensors that do not fit to list in an error."""
_OUTSIDE = "outside:"
"""Mark of names without the prefix of the encoder."""

ENCODER_ALONE = "load(..., encoder_only=True) or `convert --encoder-only` takes it"
"""Remedy if only heads do not fit."""

HEADS = ("pooler", "mlm", "nsp", "classifier")
"""Optional parts of a checkpoint."""


class Labels(NamedTuple):
    """The classifier outputs described in a config.json.

    names: names of the outputs, in order. problem_type: regression,
    single_label_classification, multi_label_classification, or None.
    """

    names: tuple[str, ...] = ()
    problem_type: str | None = None


class Carried(NamedTuple):
    """Fields of a config.json that have no effect here and are written back unchanged.

    Defaults are those of `transformers`, whose fine-tuning applies classifier_dropout to the classifier's input.
    """

    pad_token_id: int | None = 0
    classifier_dropout: float | None = None


class Checkpoint(NamedTuple):
    """The weights of a checkpoint as our parameter tree.

    encoder: parameters of `Encoder`. pooler: {kernel, bias} of BERT's trained pooler, or None.
    mlm, nsp: parameters of the pretraining heads, or None. classifier: parameters of `Classifier` over
    last/cls/tanh, or None. labels: the classifier's outputs. carried: further fields of config.json.
    """

    config: BertConfig
    encoder: Params
    pooler: Params | None = None
    mlm: Params | None = None
    nsp: Params | None = None
    classifier: Params | None = None
    labels: Labels = Labels()
    carried: Carried = Carried()

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the heads in the checkpoint."""
        return tuple(head for head in HEADS if getattr(self, head) is not None)


def from_tensors(
    config: BertConfig, tensors: Tensors, path: Path, labels: Labels, encoder_only: bool = False
) -> Checkpoint:
    """Convert tensors with the names of `transformers` to a checkpoint, strictly.

    Half precision becomes float32. If the vocabulary matrix is padded to a multiple of 8, by less than 128 rows,
    config.vocab_size becomes the number of its rows.

    Args:
        config: architecture that the tensors should have.
        tensors: tensors by canonical name, see `canonical`.
        path: file of the tensors, for error messages.
        labels: known labels of the classifier's outputs.
        encoder_only: skip heads that are unknown or do not fit, and log them in one line.

    Raises:
        InputError: the tensors do not match the config; the first hundred that are missing, unexpected,
            misshapen or otherwise unfit are listed.
    """
    config = _with_padded_vocabulary(config, tensors)
    problems = _problems(config, tensors, labels)
    if encoder_only and problems:
        tensors = _without_unfit_heads(tensors, problems, path)
        problems = _problems(config, tensors, labels)
    if problems:
        lines = [f"{path} does not fit its config:", *(f"  {problem.text}" for problem in problems[:_LISTED])]
        lines += [f"  ... and {len(problems) - _LISTED} more"] * (len(problems) > _LISTED)
        if all(problem.part != "encoder" for problem in problems):
            lines.append(f"  The encoder alone fits: {ENCODER_ALONE}")
        raise InputError("\n".join(lines))
    found = [(ours, tensors[theirs]) for ours, theirs in _names(config).items() if theirs in tensors]
    tree = _unflatten({ours: _to_ours(ours, tensor.astype(np.float32)) for ours, tensor in found})
    heads: Params = {head: tree.get(head) for head in HEADS}
    checkpoint = Checkpoint(config, tree["encoder"], labels=labels)._replace(**heads)
    return checkpoint._replace(labels=output_labels(checkpoint))


def canonical(tensors: Tensors, path: Path) -> Tensors:
    """Rename tensors as in BertForPreTraining: with "bert.", and without TensorFlow's gamma and beta.

    A prefix in front of the encoder's names ("module.", "model.", "bert.bert.") is removed. Names without that prefix
    are marked, so that another model's `classifier` is not mistaken for BERT's.

    Raises:
        InputError: the tensors hold several encoders.
    """
    roots = sorted({name.removesuffix(_ROOT) for name in tensors if f".{name}".endswith(f".{_ROOT}")})
    if len(roots) > 1:
        places = ", ".join(root or "(no prefix)" for root in roots)
        raise InputError(f"{path} holds {len(roots)} encoders ({places}); save the one to load by itself")
    root = roots[0] if roots else ""
    is_named = f".{root}".endswith(".bert.")
    prefix = root.removesuffix("bert.") if is_named else root
    renamed = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix(prefix)
        if prefix and inner == name:
            renamed[_OUTSIDE + name] = tensor
            continue
        inner = inner.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        renamed[f"bert.{inner}" if not is_named and inner.startswith(_UNPREFIXED) else inner] = tensor
    return renamed


class _Problem(NamedTuple):
    """A tensor that does not fit. part: its part of the checkpoint, None if unknown."""

    part: str | None
    text: str


def _problems(config: BertConfig, tensors: Tensors, labels: Labels) -> list[_Problem]:
    """List the tensors that do not fit a config: missing, unexpected, misshapen, of integers, not finite, untied."""
    table, shapes = _names(config), _shapes(config, _num_outputs(tensors, labels))
    parts = {"encoder", *(ours.partition("/")[0] for ours, theirs in table.items() if theirs in tensors)}
    # The classifier reads the pooler's output; without a pooler, the same name means another network.
    parts |= {"pooler"} if "classifier" in parts else set()
    wanted = {theirs: ours for ours, theirs in table.items() if ours.partition("/")[0] in parts}
    order = sorted(wanted, key=wanted.__getitem__)
    found = [_problem(name, f"missing {name}") for name in order if name not in tensors]
    known = {*wanted, *_DERIVED}
    strange = [name for name in sorted(tensors) if name not in known]
    found += [_problem(name, f"unexpected {_as_saved(name)}") for name in strange]
    for name in (name for name in order if name in tensors):
        ours, tensor = wanted[name], tensors[name]
        shape = shapes[ours][::-1] if ours.endswith("kernel") else shapes[ours]
        if tensor.shape != shape:
            found.append(_problem(name, f"misshapen {name}: {tensor.shape} where the config says {shape}"))
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            found.append(_problem(name, f"{tensor.dtype} in {name}: weights must be floating-point numbers"))
        elif bad := np.count_nonzero(~np.isfinite(tensor)):
            found.append(_problem(name, f"not finite {name}: {bad} of its {tensor.size} numbers"))
    untied = [(copy, tied) for copy, tied in _TIED.items() if _differ(tensors, copy, tied)]
    return found + [_problem(copy, f"untied {copy}: it differs from {tied}") for copy, tied in untied]


def _as_saved(name: str) -> str:
    inner = name.removeprefix(_OUTSIDE)
    return inner if inner == name else f"{inner}, which lacks the prefix of the encoder's names"


def _problem(name: str, text: str) -> _Problem:
    return _Problem(_part(name), text)


def _part(name: str) -> str | None:
    """Return the part of a checkpoint that a canonical name belongs to.

    >>> _part("bert.encoder.layer.0.output.dense.bias"), _part("classifier.bias"), _part("qa_outputs.bias")
    ('encoder', 'classifier', None)
    """
    prefixes = {"bert.pooler.": "pooler", "bert.": "encoder", "cls.predictions.": "mlm", "cls.seq_relationship.": "nsp"}
    prefixes |= {"classifier.": "classifier"}
    return next((part for prefix, part in prefixes.items() if name.startswith(prefix)), None)


def _without_unfit_heads(tensors: Tensors, problems: list[_Problem], path: Path) -> Tensors:
    """Return the tensors of the encoder and of the heads that fit, and log the others in one line."""
    unfit = {problem.part for problem in problems}
    kept = {"encoder", *HEADS} - (unfit | {"classifier"} if "pooler" in unfit else unfit) | {"encoder"}
    pass_over(path, [name for name in tensors if _part(name) not in kept])
    return {name: tensor for name, tensor in tensors.items() if _part(name) in kept}


def pass_over(path: Path, names: list[str]) -> None:
    """Log in one line the tensors that are skipped because they are not part of the encoder."""
    saved = (name.removeprefix(_OUTSIDE) for name in names)
    groups = sorted({".".join(name.split(".")[: 2 if name.startswith(("bert.", "cls.")) else 1]) for name in saved})
    shown = ", ".join(groups[:5]) + (f" and {len(groups) - 5} more" if len(groups) > 5 else "")
    if names:
        _LOGGER.warning("%s: skipped tensors that are not part of the encoder: %s", path, shown)


def output_labels(checkpoint: Checkpoint) -> Labels:
    """Return the labels of the classifier's outputs; unnamed ones are named as in `transformers`."""
    if checkpoint.classifier is None:
        return Labels()
    outputs = range(len(checkpoint.classifier["dense"]["bias"]))
    return checkpoint.labels._replace(names=checkpoint.labels.names or tuple(f"LABEL_{n}" for n in outputs))


def to_tensors(checkpoint: Checkpoint) -> Tensors:
    """Inverse of `from_tensors`, with the names of BertForPreTraining and BertForSequenceClassification."""
    parts = {part: getattr(checkpoint, part) for part in ("encoder", *checkpoint.heads)}
    table = _names(checkpoint.config)
    return {table[ours]: _to_theirs(ours, np.asarray(value)) for ours, value in _flatten(parts)}


def _names(config: BertConfig) -> dict[str, str]:
    """Map our parameter paths to canonical tensor names, for a BERT with every head."""
    table = {f"encoder/embeddings/{ours}": f"bert.embeddings.{theirs}" for ours, theirs in _EMBEDDINGS.items()}
    for n in range(config.num_layers):
        table |= {f"encoder/blocks_{n}/{ours}": f"bert.encoder.layer.{n}.{theirs}" for ours, theirs in _BLOCK.items()}
    return table | _HEADS


def _shapes(config: BertConfig, num_outputs: int) -> dict[str, tuple[int, ...]]:
    """Map our parameter paths to shapes in our layout."""
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


def _with_padded_vocabulary(config: BertConfig, tensors: Tensors) -> BertConfig:
    rows = len(np.atleast_1d(tensors.get("bert.embeddings.word_embeddings.weight", ())))
    is_padding = rows % 8 == 0 and 0 < rows - config.vocab_size < 128
    return dataclasses.replace(config, vocab_size=rows) if is_padding else config


def _num_outputs(tensors: Tensors, labels: Labels) -> int:
    return len(labels.names or np.atleast_1d(tensors.get("classifier.weight", ())))


def _differ(tensors: Tensors, copy: str, tied: str) -> bool:
    return copy in tensors and tied in tensors and not np.array_equal(tensors[copy], tensors[tied])


def _to_ours(path: str, tensor: np.ndarray) -> np.ndarray:
    """Convert a tensor: dense weights from [out in] to [in out], NSP's class "B follows A" from 0 to 1."""
    tensor = tensor.T if path.endswith("kernel") else tensor
    return np.ascontiguousarray(tensor[..., ::-1] if path.startswith("nsp/") else tensor)


def _to_theirs(path: str, array: np.ndarray) -> np.ndarray:
    """Inverse of `_to_ours`."""
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
