"""Axis letters, and the batches of arrays that are passed from `data` to `model`.

B batch, L length, D width, H heads, K head width, F feed-forward, V vocabulary,
M masked slots, C classes, N layers. Signatures and einsum strings use the same letters.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Array = jax.Array | np.ndarray
Params = dict[str, Any]
"""A nested dictionary of arrays, as `flax.linen.Module.init` returns under "params"."""
Tree = Any
"""A pytree of arrays: a batch, a state, a model's output. Its structure is known to JAX and not to type checkers."""
Step = Callable[..., Any]
"""A function of pytrees that JAX traces, or has mapped over devices; the docstring of its maker gives its arguments."""


class Model(Protocol):
    """A `flax.linen.Module`, for code that must not import Flax."""

    def __hash__(self) -> int:
        """Equal modules have equal hashes."""

    def init(self, rngs: jax.Array, /, *args: Tree) -> Tree:
        """Fresh variables for inputs of these shapes."""

    def apply(self, variables: Params, /, *args: Tree, **kwargs: Tree) -> Tree:
        """Outputs of the model with these variables."""


class Target(NamedTuple):
    """The devices that a program is made for, as JAX calls them.

    platform: "cpu", "gpu" or "tpu". compute_capability: of an NVIDIA GPU, "8.0" for an A100; another name of AMD's.
    """

    platform: str = "cpu"
    compute_capability: str = ""


class Tokens(NamedTuple):
    """Inputs of an encoder.

    ids [B L] int32, segments [B L] int32 (0 or 1), mask [B L] bool (False on padding),
    special [B L] bool (True on [CLS] and [SEP]).
    """

    ids: Array
    segments: Array
    mask: Array
    special: Array


class TaskBatch(NamedTuple):
    """A batch of a labelled task.

    labels [B]: int32 classes, or float32 scores for a regression task. weights [B] float32:
    1 for an example, 0 for a row that pads the batch.
    """

    tokens: Tokens
    labels: Array
    weights: Array


class PairBatch(NamedTuple):
    """A batch of text pairs whose two texts are encoded separately.

    first, second: Tokens [B L]. labels [B]: int32 classes, or float32 similarities. weights [B] float32:
    1 for a pair, 0 for a row that pads the batch.
    """

    first: Tokens
    second: Tokens
    labels: Array
    weights: Array


class PretrainBatch(NamedTuple):
    """A batch for MLM and a sentence-pair objective.

    masked_positions, masked_ids [B M] int32 and masked_weights [B M] float32: the slots to
    predict (weight 0 on unused slots). is_next [B] int32: 1 where segment B follows segment A.
    weights [B] float32: 1 for a pair, 0 for a row that is not a pair or pads the batch.
    """

    tokens: Tokens
    masked_positions: Array
    masked_ids: Array
    masked_weights: Array
    is_next: Array
    weights: Array
