"""Attention of [CLS] by layer and head, averaged over texts."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from bert_jax.config import BertConfig
from bert_jax.data.batching import choose_buckets
from bert_jax.data.one_segment import check_segments
from bert_jax.model.attention import attention_maps
from bert_jax.parallel.devices import map_predict_step, replicate
from bert_jax.parallel.inference import check_finite, predict_rows
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.template import Encoding
from bert_jax.types import Array, Params, Step, Tokens

TARGETS = ("[CLS]", "[SEP]", "words")
"""Kinds of tokens that [CLS] attends to, in the order of `FirstAttention.shares`."""


class FirstAttention(NamedTuple):
    """Attention of [CLS] by block and head, averaged over texts.

    shares [N H 3]: attention on each of TARGETS; they sum to one. entropy [N H]: of the distribution over positions, in
    nats. evenness [N H]: the entropy divided by its maximum, the logarithm of the text's length.
    """

    shares: np.ndarray
    entropy: np.ndarray
    evenness: np.ndarray


def first_attention(pretrained: Pretrained, encodings: Sequence[Encoding], batch_size: int = 64) -> FirstAttention:
    """Measure the attention of [CLS] over one or more texts.

    Args:
        encodings: tokenized texts, at most as long as the encoder's limit.
        batch_size: texts in a step, all devices together.

    Raises:
        InputError: pairs of texts for an encoder with one segment, or attention that is not finite.
    """
    check_segments(pretrained.config, encodings)
    lengths = np.array([len(encoding.ids) for encoding in encodings])
    buckets = choose_buckets(lengths, 4, pretrained.config.max_length)
    step = _step(pretrained.config)
    special = pretrained.tokenizer.special
    params = replicate(pretrained.checkpoint.encoder)
    rows = predict_rows(step, params, encodings, special, batch_size, buckets)
    check_finite(rows, np.arange(len(rows)))
    shares, entropy = rows[..., :3].mean(0, dtype=np.float64), rows[..., 3]
    evenness = entropy / np.log(lengths)[:, None, None]
    return FirstAttention(shares, entropy.mean(0, dtype=np.float64), evenness.mean(0, dtype=np.float64))


def measure(maps: Array, tokens: Tokens) -> Array:
    """Shares of the first position's attention and its entropy, for each text, block and head [B N H 4]."""
    first = maps[:, :, :, 0]
    place = jnp.arange(first.shape[-1])[None]
    kinds = (place == 0, tokens.special & (place > 0), tokens.mask & ~tokens.special & (place > 0))
    shares = [jnp.where(kind[None, :, None], first, 0).sum(-1) for kind in kinds]
    entropy = -jnp.where(first > 0, first * jnp.log(jnp.where(first > 0, first, 1)), 0).sum(-1)
    return jnp.stack([*shares, entropy], -1).swapaxes(0, 1)


@lru_cache(maxsize=8)
def _step(config: BertConfig) -> Step:
    def step(params: Params, tokens: Tokens) -> Array:
        return measure(attention_maps(config, params, tokens), tokens)

    return map_predict_step(step, config.compute.evaluation_precision)
