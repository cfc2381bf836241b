"""Checkpoint weights as our parameter tree, and their conversion to and from the names and layout of `transformers`."""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bert_jax.checkpoints.architectures import schema_of
from bert_jax.checkpoints.schema import HEADS, Schema
from bert_jax.checkpoints.weights import Tensors
from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.files import Json, Settings
from bert_jax.types import Params

_LOGGER = logging.getLogger(__name__)
_LISTED = 100
"""Most tensors that do not fit to list in an error."""
_OUTSIDE = "outside:"
"""Mark of names without the prefix of the encoder."""

ENCODER_ALONE = "load(..., encoder_only=True) or `convert --encoder-only` takes it"
"""Remedy if only heads do not fit."""


class Labels(NamedTuple):
    """The classifier outputs described in a config.json.

    names: names of the outputs, in order. problem_type: regression,
    single_label_classification, multi_label_classification, or None.
    """

    names: tuple[str, ...] = ()
    problem_type: str | None = None


Carried = Json
"""Fields of a config.json that have no effect here and are written back unchanged, without those that have the default
of `transformers`. Its fine-tuning applies classifier_dropout to the classifier's input."""
_NOTHING: Settings = {}


class Checkpoint(NamedTuple):
    """The weights of a checkpoint as our parameter tree.

    encoder: parameters of `Encoder`. pooler: {kernel, bias} of the dense layer that BERT has before its sentence heads,
    or None; {dense, norm} in ModernBERT. mlm, nsp, sop (sentence order, class 0 where in order), discriminator (of
    replaced tokens): parameters of the pretraining heads, or None. classifier: parameters of `Classifier` over the
    schema's readout, in BERT last/cls/tanh, or None. labels: the classifier's outputs. carried: further fields of
    config.json.
    """

    config: BertConfig
    encoder: Params
    pooler: Params | None = None
    mlm: Params | None = None
    nsp: Params | None = None
    sop: Params | None = None
    discriminator: Params | None = None
    classifier: Params | None = None
    labels: Labels = Labels()
    carried: Settings = _NOTHING

    @property
    def schema(self) -> Schema:
        """The names of its architecture."""
        return schema_of(self.config)

    @property
    def projection(self) -> Params | None:
        """Parameters of the projection in `schema.readout`, which a sentence classifier reads; None without pooler."""
        return self.pooler if self.pooler is None or "dense" in self.pooler else {"dense": self.pooler}

    @property
    def headless(self) -> "Checkpoint":
        """The encoder, and the pooler if its class has one, without any other head."""
        pooler = self.pooler if "pooler" in self.schema.heads else None
        return Checkpoint(self.config, self.encoder, pooler, carried=self.carried)

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
    schema, has_classifier = schema_of(config), _has_classifier(config, tensors)
    if has_classifier and (unused := [name for name in tensors if name.startswith(schema.unused)]):
        pass_over(path, unused, schema)
        tensors = {name: tensor for name, tensor in tensors.items() if name not in unused}
    config = _with_padded_vocabulary(config, tensors)
    problems = _problems(config, tensors, labels)
    if encoder_only and problems:
        tensors = _without_unfit_heads(config, tensors, problems, path)
        problems = _problems(config, tensors, labels)
    if problems:
        lines = [f"{path} does not fit its config:", *(f"  {problem.text}" for problem in problems[:_LISTED])]
        lines += [f"  ... and {len(problems) - _LISTED} more"] * (len(problems) > _LISTED)
        if all(problem.part != "encoder" for problem in problems):
            lines.append(f"  The encoder alone fits: {ENCODER_ALONE}")
        raise InputError("\n".join(lines))
    names = schema.names(config, _has_classifier(config, tensors))
    found = [(ours, tensors[theirs]) for ours, theirs in names.items() if theirs in tensors]
    tree = _unflatten({ours: _to_ours(ours, tensor.astype(np.float32)) for ours, tensor in found})
    heads: Params = {head: tree.get(head) for head in HEADS}
    checkpoint = Checkpoint(config, tree["encoder"], labels=labels)._replace(**heads)
    return checkpoint._replace(labels=output_labels(checkpoint))


def canonical(tensors: Tensors, path: Path, schema: Schema) -> Tensors:
    """Rename tensors as in a model with heads: with "bert.", and without TensorFlow's gamma and beta.

    A prefix in front of the encoder's names ("module.", "model.", "bert.bert.") is removed. Names without that prefix
    are marked, so that another model's `classifier` is not mistaken for BERT's.

    Raises:
        InputError: the tensors hold several encoders.
    """
    # A tensor that every encoder has and no head has; it reveals the prefix of all names.
    token = schema.encoder["embeddings/token"] + ".weight"
    roots = sorted({name.removesuffix(token) for name in tensors if f".{name}".endswith(f".{token}")})
    if len(roots) > 1:
        places = ", ".join(root or "(no prefix)" for root in roots)
        raise InputError(f"{path} holds {len(roots)} encoders ({places}); save the one to load by itself")
    root = roots[0] if roots else ""
    is_named = f".{root}".endswith(f".{schema.prefix}")
    prefix = root.removesuffix(schema.prefix) if is_named else root
    own = {name.partition(".")[0] for name in schema.encoder.values()} | {"pooler"}
    renamed = {}
    for name, tensor in tensors.items():
        inner = name.removeprefix(prefix)
        if prefix and inner == name:
            renamed[_OUTSIDE + name] = tensor
            continue
        inner = inner.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        lacks_prefix = not is_named and inner.partition(".")[0] in own
        renamed[schema.prefix + inner if lacks_prefix else inner] = tensor
    return renamed


class _Problem(NamedTuple):
    """A tensor that does not fit. part: its part of the checkpoint, None if unknown."""

    part: str | None
    text: str


def _problems(config: BertConfig, tensors: Tensors, labels: Labels) -> list[_Problem]:
    """List the tensors that do not fit a config: missing, unexpected, misshapen, of integers, not finite, untied."""
    schema, has_classifier = schema_of(config), _has_classifier(config, tensors)
    table = schema.names(config, has_classifier)
    shapes = schema.shapes(config, _num_outputs(schema, tensors, labels), has_classifier)
    parts = {"encoder", *(ours.partition("/")[0] for ours, theirs in table.items() if theirs in tensors)}
    # The classifier reads the pooler's output; without a pooler, the same name means another network.
    parts |= {"pooler"} if "classifier" in parts else set()
    wanted = {theirs: ours for ours, theirs in table.items() if ours.partition("/")[0] in parts}
    order = sorted(wanted, key=wanted.__getitem__)

    def problem(name: str, text: str) -> _Problem:
        return _Problem(schema.part(name, has_classifier), text)

    found = [problem(name, f"missing {name}") for name in order if name not in tensors]
    # Copies of tied weights, and a buffer, that some versions of transformers write, carry no information.
    known = {*wanted, *schema.tied, f"{schema.prefix}embeddings.position_ids"}
    strange = [name for name in sorted(tensors) if name not in known]
    found += [problem(name, f"unexpected {_as_saved(name)}") for name in strange]
    for name in (name for name in order if name in tensors):
        ours, tensor = wanted[name], tensors[name]
        shape = shapes[ours][::-1] if ours.endswith("kernel") else shapes[ours]
        if tensor.shape != shape:
            found.append(problem(name, f"misshapen {name}: {tensor.shape} where the config says {shape}"))
        if not jnp.issubdtype(tensor.dtype, jnp.floating):
            found.append(problem(name, f"{tensor.dtype} in {name}: weights must be floating-point numbers"))
        elif bad := np.count_nonzero(~np.isfinite(tensor)):
            found.append(problem(name, f"not finite {name}: {bad} of its {tensor.size} numbers"))
    untied = [(copy, tied) for copy, tied in schema.tied.items() if _differ(tensors, copy, tied)]
    return found + [problem(copy, f"untied {copy}: it differs from {tied}") for copy, tied in untied]


def _has_classifier(config: BertConfig, tensors: Tensors) -> bool:
    return f"{schema_of(config).sequence['classifier/dense']}.weight" in tensors


def _as_saved(name: str) -> str:
    inner = name.removeprefix(_OUTSIDE)
    return inner if inner == name else f"{inner}, which lacks the prefix of the encoder's names"


def _without_unfit_heads(config: BertConfig, tensors: Tensors, problems: list[_Problem], path: Path) -> Tensors:
    """Return the tensors of the encoder and of the heads that fit, and log the others in one line."""
    schema, has_classifier = schema_of(config), _has_classifier(config, tensors)
    unfit = {problem.part for problem in problems} - {"encoder"}
    unfit |= {"classifier"} if "pooler" in unfit else set()

    def is_kept(name: str) -> bool:
        part = schema.part(name, has_classifier)
        return part in {"encoder", *HEADS} - unfit and not ("classifier" in unfit and schema.of_classifier(name))

    pass_over(path, [name for name in tensors if not is_kept(name)], schema)
    return {name: tensor for name, tensor in tensors.items() if is_kept(name)}


def pass_over(path: Path, names: list[str], schema: Schema) -> None:
    """Log in one line the tensors that are skipped because they are not part of the encoder."""
    saved = (name.removeprefix(_OUTSIDE) for name in names)
    deep = (schema.prefix, "cls.")
    groups = sorted({".".join(name.split(".")[: 2 if name.startswith(deep) else 1]) for name in saved})
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
    """Inverse of `from_tensors`, with the names of the class of `transformers` that has the same heads."""
    schema, parts = checkpoint.schema, {part: getattr(checkpoint, part) for part in ("encoder", *checkpoint.heads)}
    table = schema.names(checkpoint.config, checkpoint.classifier is not None)
    tensors = {table[ours]: _to_theirs(ours, np.asarray(value)) for ours, value in _flatten(parts)}
    if set(checkpoint.heads) <= {"pooler"}:  # such a model is the encoder itself
        return {name.removeprefix(schema.prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _with_padded_vocabulary(config: BertConfig, tensors: Tensors) -> BertConfig:
    schema = schema_of(config)
    name = f"{schema.prefix}{schema.encoder['embeddings/token']}.weight"
    rows = len(np.atleast_1d(tensors.get(name, ())))
    is_padding = rows % 8 == 0 and 0 < rows - config.vocab_size < 128
    return dataclasses.replace(config, vocab_size=rows) if is_padding else config


def _num_outputs(schema: Schema, tensors: Tensors, labels: Labels) -> int:
    weight = tensors.get(f"{schema.sequence['classifier/dense']}.weight", ())
    return len(labels.names or np.atleast_1d(weight))


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
