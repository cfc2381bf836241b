"""Attention maps of an encoder, and masks that stop [CLS] from attending."""

import dataclasses

import jax.numpy as jnp
from jaxtyping import Bool, Float

from bert_jax.config import BertConfig
from bert_jax.model.encoder import architecture
from bert_jax.types import Array, Params, Target, Tokens


def attention_maps(
    config: BertConfig, params: Params, tokens: Tokens, seen: Bool[Array, "N B L L"] | None = None
) -> Float[Array, "N B H L L"]:
    """Attention probabilities of every block and head: from each position (second to last axis) to all (last axis).

    The probabilities that `Encoder` computes internally: rows sum to one, and padding gets zero. Keeping them for all
    blocks takes N H L times the memory of the tokens, so use small batches.

    Args:
        config: the architecture.
        params: the parameters of `Encoder`.
        tokens: the texts.
        seen: the positions that each position may attend to, as in `Encoder`; by default all.
    """
    compute = dataclasses.replace(config.compute, attention="plain")
    config = dataclasses.replace(config, compute=compute)
    parts = architecture(config)
    embeddings = parts.embeddings(config)
    x = embeddings.apply({"params": params["embeddings"]}, tokens.ids, tokens.segments)
    maps = []
    for n, layer in enumerate(parts.layers(config)):
        block = parts.block(config, Target(), layer.kind, parent=None)
        variables = {"params": params[f"blocks_{layer.block}"]}
        allowed = None if seen is None else seen[n]
        x, kept = block.apply(variables, x, tokens.mask, False, allowed, mutable=["intermediates"])
        maps.append(kept["intermediates"]["attention"]["probabilities"][0])
    return jnp.stack(maps)


def without_attention_of_first(blind: Bool[Array, " N"], mask: Bool[Array, "B L"]) -> Bool[Array, "N B L L"]:
    """The `seen` argument of `Encoder` by which position 0 attends only to itself in the blocks where `blind` is True.

    All other attention is unchanged: the other positions attend to position 0 and to one another as before.
    """
    place = jnp.arange(mask.shape[1])
    itself = (place[:, None] > 0) | (place[None] == 0)
    seen = jnp.where(blind[:, None, None, None], itself[None, None], True)
    return jnp.broadcast_to(seen, (len(blind), *mask.shape, mask.shape[1]))
