"""The trained pooler of a checkpoint as the projection of a readout."""

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.model.readout import wants_pretrained
from bert_jax.types import Params


def with_trained_pooler(reader: Params, spec: ReadoutConfig, checkpoint: Checkpoint) -> Params:
    """The readout's parameters, with the checkpoint's pooler.dense inserted if the projection uses it.

    Raises:
        InputError: the checkpoint has no pooler, or the pooled vector's width differs from the pooler's input.
    """
    if not wants_pretrained(spec):
        return reader
    own = checkpoint.schema.projection
    if own != "tanh":
        raise InputError(
            f"projection tanh: a classifier of {checkpoint.schema.model_type} has {own} in its place, and no weights "
            "for it; use mlp, the same layer fresh"
        )
    if checkpoint.pooler is None:
        raise InputError("projection tanh: this checkpoint has no trained pooler.dense; use mlp, the same layer fresh")
    fresh = reader["projection"]["dense"]["kernel"].shape
    if fresh != checkpoint.pooler["kernel"].shape:
        raise InputError(
            f"projection tanh: the trained pooler takes vectors of {checkpoint.pooler['kernel'].shape[0]}, "
            f"{spec.layers}/{spec.pooling} gives {fresh[0]}; use mlp, the same layer fresh"
        )
    return {**reader, "projection": {"dense": checkpoint.pooler}}
