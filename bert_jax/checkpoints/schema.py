"""Schemas: under which names `transformers` stores the weights and settings of an architecture."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.files import Json
from bert_jax.json_object import JsonObject
from bert_jax.model.encoder import parameter_shapes

HEADS = ("pooler", "mlm", "nsp", "sop", "discriminator", "classifier")
"""Optional parts of a checkpoint."""

_LEAVES = {"kernel": "weight", "embedding": "weight", "scale": "weight", "bias": "bias"}
"""Our parameter of a module -> theirs."""

EMBEDDINGS = {
    "embeddings/token": "embeddings.word_embeddings",
    "embeddings/position": "embeddings.position_embeddings",
    "embeddings/segment": "embeddings.token_type_embeddings",
    "embeddings/norm": "embeddings.LayerNorm",
}
"""Modules of the embeddings, as most architectures call them."""
BLOCK = {
    "attention/query": "attention.self.query",
    "attention/key": "attention.self.key",
    "attention/value": "attention.self.value",
    "attention/output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "intermediate": "intermediate.dense",
    "output": "output.dense",
    "output_norm": "output.LayerNorm",
}
"""Modules of a block, as most architectures call them."""
FIELDS = {
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
"""Our field of a config -> theirs, as most architectures call them."""


HIDDEN_ACTS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
"""Our activation -> `hidden_act` to write, in most architectures."""


def in_blocks(pattern: str, block: Mapping[str, str] = BLOCK) -> dict[str, str]:
    """Names of the modules of every block: `{n}` stands for its number.

    >>> in_blocks("layer.{n}.", {"output": "lin2"})
    {'blocks_{n}/output': 'layer.{n}.lin2'}
    """
    return {f"blocks_{{n}}/{ours}": pattern + theirs for ours, theirs in block.items()}


def _as_read(raw: JsonObject, values: Json) -> Json:
    return values


def _as_is(config: BertConfig, fields: Json) -> Json:
    return fields


@dataclasses.dataclass(frozen=True)
class Schema:
    """The names of an architecture. Names of tensors are canonical: with the prefix of the encoder.

    Modules are written as our path -> their name; those that a config has no parameters for are left out.
    """

    model_type: str
    """In config.json."""
    config: type[BertConfig]
    prefix: str
    """In front of the encoder's names in a model with heads: `bert.`."""
    stem: str
    """Beginning of the names of its classes: `Bert`."""
    encoder: Mapping[str, str]
    """Modules of the encoder, without the prefix."""
    heads: Mapping[str, str]
    """Modules of the heads of a model without a sentence classifier."""
    sequence: Mapping[str, str]
    """Modules of the heads of a model with a sentence classifier."""
    parts: Mapping[str, str]
    """Beginning of a name -> the head that it belongs to, where `heads` and `sequence` do not say it."""
    classes: Mapping[str, tuple[str, ...]]
    """End of the name of a class -> the heads that it has; the first whose heads are all there is written."""
    tied: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Name of a copy that some versions write -> the tensor that it must equal."""
    unused: str = "(none)"
    """Beginning of the names that a model with a sentence classifier may hold without using them."""
    fields: Mapping[str, str] = dataclasses.field(default_factory=lambda: FIELDS)
    """Our field of the config -> theirs."""
    hidden_acts: Mapping[str, str] = dataclasses.field(default_factory=lambda: HIDDEN_ACTS)
    """Our activation -> theirs."""
    fixed: Mapping[str, object] = dataclasses.field(default_factory=dict)
    """Field of config.json -> the only value that is supported, which is also the default."""
    carried: Mapping[str, tuple[type, Any]] = dataclasses.field(default_factory=dict)
    """Fields of config.json that are only written back: type and default."""
    read: Callable[[JsonObject, Json], Json] = _as_read
    """Completes the values of our fields, of which it gets those in `fields`."""
    write: Callable[[BertConfig, Json], Json] = _as_is
    """Completes the fields of config.json: the inverse of `read`."""
    projection: str = "tanh"
    """Projection of the readout of its sentence classifier."""
    without_bias: tuple[str, ...] = ()
    """Modules of heads without a bias."""
    can_be_cut: Callable[[BertConfig], bool] = lambda config: True
    """Do the first layers of an encoder compute the same in an encoder with fewer layers?"""

    @property
    def own_heads(self) -> tuple[str, ...]:
        """The heads that the architecture can have, in the order of `HEADS`."""
        known = {module.partition("/")[0] for module in (*self.heads, *self.sequence)}
        return tuple(head for head in HEADS if head in known)

    def class_of(self, heads: tuple[str, ...]) -> str:
        """The class of `transformers` with these heads."""
        ends = (end for end, needed in self.classes.items() if set(needed) <= set(heads))
        return self.stem + next(ends)

    def readout(self, config: BertConfig) -> ReadoutConfig:
        """The readout that its sentence classifier reads."""
        return ReadoutConfig("last", getattr(config, "classifier_pooling", "cls"), self.projection)

    def names(self, config: BertConfig, has_classifier: bool) -> dict[str, str]:
        """Map our parameter paths to canonical tensor names, for a model with every head."""
        shapes = self.shapes(config, 1, has_classifier)
        return {path: self._name(path, self.sequence if has_classifier else self.heads) for path in shapes}

    def _name(self, path: str, heads: Mapping[str, str]) -> str:
        module, _, leaf = path.rpartition("/")
        if not module.startswith("encoder/"):
            return f"{heads[module]}.{_LEAVES[leaf]}"
        module, number = module.removeprefix("encoder/"), re.search(r"(?<=^blocks_)\d+", module[8:])
        found = self.encoder[re.sub(r"^blocks_\d+", "blocks_{n}", module)]
        return f"{self.prefix}{found.format(n=number and number[0])}.{_LEAVES[leaf]}"

    def shapes(self, config: BertConfig, num_outputs: int, has_classifier: bool) -> dict[str, tuple[int, ...]]:
        """Map our parameter paths to shapes in our layout, for a model with every head."""
        encoder = parameter_shapes(config)
        d, (v, e) = config.hidden_size, encoder["embeddings/token/embedding"]
        kernels = {"mlm/dense": (d, e), "nsp/dense": (d, 2), "sop/dense": (d, 2), "discriminator/prediction": (d, 1)}
        kernels["classifier/dense"] = (d, num_outputs)
        shapes = {f"encoder/{path}": shape for path, shape in encoder.items()}
        for module in self.sequence if has_classifier else self.heads:
            kernel = kernels.get(module, (d, d))
            if module == "mlm":
                shapes["mlm/bias"] = (v,)
                continue
            is_norm = module.endswith("/norm")
            width = e if module.startswith("mlm/") else kernel[1]
            shapes[f"{module}/{'scale' if is_norm else 'kernel'}"] = (width,) if is_norm else kernel
            if module not in self.without_bias:
                shapes[f"{module}/bias"] = (width,)
        return shapes

    def part(self, name: str, has_classifier: bool = True) -> str | None:
        """The part of a checkpoint that a canonical name belongs to; None if unknown."""
        heads = self.sequence if has_classifier else self.heads
        exact = {theirs: ours.partition("/")[0] for ours, theirs in heads.items()}
        if (found := exact.get(name.rpartition(".")[0])) is not None:
            return found
        found = next((part for start, part in self.parts.items() if name.startswith(start)), None)
        return found or ("encoder" if name.startswith(self.prefix) else None)

    def of_classifier(self, name: str) -> bool:
        """True for the names of a sentence classifier, with the dense layer before it if no other model has that."""
        part = self.part(name)
        return part == "classifier" or (part == "pooler" and not name.startswith(self.heads.get("pooler", "(none)")))
