"""What attends to what: attention maps of an encoder, and attention that is taken away."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Bool, Float

from bert_jax.config import BertConfig
from bert_jax.model.encoder import Block, Embeddings
from bert_jax.types import Array, Params, Tokens


def attention_maps(
    config: BertConfig, params: Params, tokens: Tokens, seen: Bool[Array, "N B L L"] | None = None
) -> Float[Array, "N B H L L"]:
    """How every position (second to last axis) spreads its attention over the others (last axis), in each head.

    The probabilities that `Encoder` computes on its way; rows sum to one, and padding gets nothing. They are kept for
    all blocks, which takes N H L times the memory of the tokens: for small batches.

    Args:
        config: the architecture.
        params: of `Encoder`.
        tokens: the texts.
        seen: as `Encoder` takes it.
    """
    compute = dataclasses.replace(config.compute, attention="plain")
    config = dataclasses.replace(config, compute=compute)
    x = Embeddings(config, parent=None).apply({"params": params["embeddings"]}, tokens.ids, tokens.segments)
    maps = []
    for i in range(config.num_layers):
        block = {"params": params[f"blocks_{i}"]}
        allowed = None if seen is None else seen[i]
        x, kept = Block(config, parent=None).apply(block, x, tokens.mask, False, allowed, mutable=["intermediates"])
        maps.append(kept["intermediates"]["attention"]["probabilities"][0])
    return jnp.stack(maps)


def without_attention_of_first(blind: Bool[Array, " N"], mask: Bool[Array, "B L"]) -> Bool[Array, "N B L L"]:
    """`seen` for `Encoder`: in the blocks where `blind` is True, position 0 attends to itself only.

    Nothing else changes: other positions see it and one another as before.
    """
    place = jnp.arange(mask.shape[1])
    itself = (place[:, None] > 0) | (place[None] == 0)
    seen = jnp.where(blind[:, None, None, None], itself[None, None], True)
    return jnp.broadcast_to(seen, (len(blind), *mask.shape, mask.shape[1]))
