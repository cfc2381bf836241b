"""Readouts: hidden states to a sentence vector by layers, pooling over tokens, and projection."""

import functools
import importlib
import operator
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError, unknown
from bert_jax.model.layers import ACTIVATIONS, dense, gelu, layer_norm
from bert_jax.model.pooling import POOLERS
from bert_jax.spec import Spec, parse_spec, parse_sum
from bert_jax.types import Array, Tokens

States = tuple[Array, ...]


class Layers(nn.Module):
    """One of the hidden states, or several joined to one. Index 0 is the embedding layer."""

    indices: tuple[int, ...]
    join: Callable[[list[Array]], Array]

    @nn.compact
    def __call__(self, states: States) -> Float[Array, "B L E"]:
        return self.join([states[index] for index in self.indices])


def _average(states: list[Array]) -> Array:
    return functools.reduce(operator.add, states) / len(states)


def _concatenation(states: list[Array]) -> Array:
    return jnp.concatenate(states, -1)


def _maximum(states: list[Array]) -> Array:
    """The largest value of each feature, as MaxPoolBERT takes it over layers (arXiv 2505.15696)."""
    return functools.reduce(jnp.maximum, states)


class Mix(nn.Module):
    """ELMo's scalar mix (arXiv 1802.05365, equation 1): `gamma sum_n softmax(w)_n h_n`; all layers by default."""

    indices: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, states: States) -> Float[Array, "B L D"]:
        chosen = [states[index] for index in self.indices or range(len(states))]
        weights = nn.softmax(self.param("weights", nn.initializers.zeros, (len(chosen),)))
        gamma = self.param("gamma", nn.initializers.ones, ())
        mixed: Array = gamma * sum(weight * state for weight, state in zip(weights, chosen, strict=True))
        return mixed


LAYERS: dict[str, Callable[..., nn.Module]] = {
    "last": lambda: Layers((-1,), _average),
    "index": lambda index: Layers((index,), _average),
    "avg": lambda *indices: Layers(indices, _average),
    "max": lambda *indices: Layers(indices, _maximum),
    "concat": lambda *indices: Layers(indices, _concatenation),
    "mix": lambda *indices: Mix(indices),
}


class NoProjection(nn.Module):
    """The pooled vector as it is."""

    config: BertConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B E"]) -> Float[Array, "B E"]:
        return x


class Projection(nn.Module):
    """Dense layers with activations; by default one tanh layer of the encoder's width, BERT's "pooler".

    With `pretrained`, weights are loaded from a checkpoint's pooler.dense; without, they are freshly initialised.
    Several layers are written as `features=(64, 3), activation=('tanh', 'identity')`.
    """

    config: BertConfig
    pretrained: bool = True
    features: int | tuple[int, ...] | None = None
    activation: str | tuple[str, ...] = "tanh"

    @nn.compact
    def __call__(self, x: Float[Array, "B E"]) -> Float[Array, "B F"]:
        features = self.config.hidden_size if self.features is None else self.features
        widths = features if isinstance(features, tuple) else (features,)
        names = self.activation if isinstance(self.activation, tuple) else (self.activation,) * len(widths)
        if len(names) != len(widths):
            raise InputError(f"a projection of {len(widths)} layers with {len(names)} activations: write one for each")
        for n, (width, name) in enumerate(zip(widths, names, strict=True)):
            if name not in PROJECTION_ACTIVATIONS:
                raise unknown("activation of a projection", name, PROJECTION_ACTIVATIONS)
            x = PROJECTION_ACTIVATIONS[name](dense(self.config, width, dense_name(n))(x))
        return x


class PredictionHead(nn.Module):
    """A fresh dense layer without bias, GELU and layer normalisation: what ModernBERT's classifier reads."""

    config: BertConfig

    @nn.compact
    def __call__(self, x: Float[Array, "B E"]) -> Float[Array, "B D"]:
        hidden = gelu(dense(self.config, self.config.hidden_size, "dense", use_bias=False)(x))
        vectors: Array = layer_norm(self.config, "norm", use_bias=False)(hidden)
        return vectors


def dense_name(n: int) -> str:
    """Parameter name of a projection's n-th dense layer.

    >>> dense_name(0), dense_name(1)
    ('dense', 'dense_1')
    """
    return f"dense_{n}" if n else "dense"


PROJECTION_ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "identity": lambda x: x,
    **ACTIVATIONS,
}
PROJECTIONS: dict[str, Callable[..., nn.Module]] = {
    "none": NoProjection,
    "tanh": Projection,
    "mlp": partial(Projection, pretrained=False),
    "head": PredictionHead,
}


class Readout(nn.Module):
    """Hidden states to sentence vectors, as given by a `ReadoutConfig`."""

    spec: ReadoutConfig
    config: BertConfig

    def setup(self) -> None:
        self.layers = build("layers", parse_spec(self.spec.layers), LAYERS)
        terms = [_pooler(spec) for spec in parse_sum(self.spec.pooling)]
        self.poolers = [module for module, _ in terms]
        self.keeps_special = [keeps for _, keeps in terms]
        self.projection = build("projection", parse_spec(self.spec.projection), PROJECTIONS, config=self.config)

    def __call__(self, states: States, tokens: Tokens) -> Float[Array, "B E"]:
        words = tokens.mask & ~tokens.special
        # A sentence without words has only special tokens to pool.
        words = jnp.where(words.any(1, keepdims=True), words, tokens.mask)
        x = self.layers(states).astype(jnp.float32)
        pooled = [
            module(x, tokens.mask if keeps else words)
            for module, keeps in zip(self.poolers, self.keeps_special, strict=True)
        ]
        vectors: Array = self.projection(jnp.concatenate(pooled, -1))
        return vectors


def wants_pretrained(spec: ReadoutConfig) -> bool:
    """True if the projection's weights come from a checkpoint's pooler.dense."""
    projection = parse_spec(spec.projection)
    return projection.name == "tanh" and bool(projection.kwargs.get("pretrained", True))


def reads_first_only(spec: ReadoutConfig) -> bool:
    """True if the vector depends on no hidden state but the last of the first position."""
    return (spec.layers, spec.pooling) == ("last", "cls")


def check(spec: ReadoutConfig, config: BertConfig) -> None:
    """Build the readout and trace it, so that mistakes are found before anything runs.

    Raises:
        InputError: an unknown name, a setting that its class does not take, a layer that the encoder lacks, or
            an output that is not one vector per sentence.
    """
    trace(spec, config)


class Traced(NamedTuple):
    """width: size of the vectors. has_weights: True if there are parameters to be trained or loaded."""

    width: int
    has_weights: bool


@lru_cache(maxsize=1024)
def trace(spec: ReadoutConfig, config: BertConfig) -> Traced:
    """The width of a readout's vectors, and whether it has parameters. Raises the errors of `check`."""
    layers = build("layers", parse_spec(spec.layers), LAYERS)
    if isinstance(layers, (Layers, Mix)):
        _check_indices(spec, layers.indices, config.num_layers)
    if isinstance(layers, Layers) and not layers.indices:
        raise InputError(f"layers {spec.layers!r} names no layer: write for example avg(1,-1)")
    states = (np.zeros((2, 8, config.hidden_size), np.float32),) * (config.num_layers + 1)
    ids, mask = np.zeros((2, 8), np.int32), np.ones((2, 8), bool)
    init = Readout(spec, config).init_with_output
    try:
        out, variables = jax.eval_shape(init, jax.random.key(0), states, Tokens(ids, ids, mask, mask))
    except InputError:
        raise
    except Exception as error:  # a user's class may raise anything
        raise InputError(f"readout {spec} does not fit this encoder: {_first_line(error)}") from error
    if out.ndim != 2 or len(out) != 2:
        raise InputError(f"readout {spec} gives {out.shape} for two sentences, where one vector each is needed")
    return Traced(out.shape[1], bool(jax.tree.leaves(variables)))


def has_layers(spec: ReadoutConfig, num_layers: int) -> bool:
    """True if an encoder of `num_layers` blocks has every layer that a readout names by its index."""
    layers = build("layers", parse_spec(spec.layers), LAYERS)
    named = layers.indices if isinstance(layers, (Layers, Mix)) else ()
    return all(_is_layer(index, num_layers) for index in named)


def _is_layer(index: object, num_layers: int) -> bool:
    return isinstance(index, int) and -num_layers - 1 <= index <= num_layers


def _check_indices(spec: ReadoutConfig, indices: tuple[int, ...], num_layers: int) -> None:
    for index in indices:
        if not _is_layer(index, num_layers):
            raise InputError(
                f"layers {spec.layers!r}: there is no layer {index!r}; this encoder has 0 (the embeddings) "
                f"to {num_layers}, or from the end -1 to {-num_layers - 1}"
            )


def build(kind: str, spec: Spec, registry: Mapping[str, Callable[..., nn.Module]], **given: object) -> nn.Module:
    """Build the module that a spec names, from a registry or from the dotted path of a class.

    Raises:
        InputError: the name is unknown, the path cannot be imported, or the settings do not fit.
    """
    if spec.name in registry:
        make = registry[spec.name]
    elif "." in spec.name:
        make = _imported(kind, spec.name)
    else:
        raise InputError(f"{unknown(kind, spec.name, registry)}; or the path of your own: mylab.poolers.Mine")
    try:
        return make(*spec.args, **spec.kwargs, **given)
    except TypeError as error:
        raise InputError(f"{kind} {spec.name!r} does not take these settings: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _pooler(spec: Spec) -> tuple[nn.Module, bool]:
    """The pooler, and whether it pools [CLS] and [SEP] too."""
    settings = dict(spec.kwargs)
    keeps = settings.pop("special_tokens", True)
    return build("pooling", spec._replace(kwargs=settings), POOLERS), bool(keeps)


def _imported(kind: str, path: str) -> Callable[..., nn.Module]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(f"{kind} {path!r} cannot be imported: {error}. Is its folder on PYTHONPATH?") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"{kind} {path!r} is no flax.linen.Module class")
    return found
