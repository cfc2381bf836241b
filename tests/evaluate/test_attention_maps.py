"""Attention of [CLS], measured over texts of different lengths."""

import jax
import numpy as np
import pytest

from bert_jax.checkpoints.huggingface import Checkpoint
from bert_jax.config import BertConfig
from bert_jax.evaluate.attention_maps import first_attention, measure
from bert_jax.model.attention import attention_maps
from bert_jax.model.encoder import Encoder
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.template import Encoding, SpecialIds
from bert_jax.types import Tokens


class Reads:
    special = SpecialIds(0, 1, 2, 3, 4)
    vocab_size = 60


@pytest.fixture(scope="module")
def pretrained(tiny: BertConfig, make_tokens):
    params = jax.jit(Encoder(tiny).init)(jax.random.key(0), make_tokens([4]))["params"]
    return Pretrained(Checkpoint(tiny, jax.tree.map(lambda w: 10 * w if w.ndim > 1 else w, params)), Reads())


def test_shares_and_entropy_are_those_of_the_maps(pretrained, tiny: BertConfig):
    texts = [[2, 7, 8, 9, 3], [2, 10, 3], [2, *range(20, 33), 3, 40, 41, 3]]
    segments = [[0] * 5, [0] * 3, [0] * 15 + [1] * 3]
    found = first_attention(pretrained, [Encoding(*one) for one in zip(texts, segments, strict=True)], batch_size=8)
    shares, entropies, evenness = [], [], []
    for ids, segment in zip(texts, segments, strict=True):
        ids, segment = np.array([ids], np.int32), np.array([segment], np.int32)
        special = np.isin(ids, (2, 3))
        tokens = Tokens(ids, segment, np.ones_like(special), special)
        first = np.asarray(attention_maps(tiny, pretrained.checkpoint.encoder, tokens), float)[:, 0, :, 0]
        shares.append(
            np.stack([first[..., 0], first[..., special[0]][..., 1:].sum(-1), first[..., ~special[0]].sum(-1)], -1)
        )
        entropies.append(-(first * np.log(first)).sum(-1))
        evenness.append(entropies[-1] / np.log(ids.shape[1]))
    assert found.shares.shape == (tiny.num_layers, tiny.num_heads, 3)
    np.testing.assert_allclose(found.shares.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(found.shares, np.mean(shares, 0), atol=1e-5)
    np.testing.assert_allclose(found.entropy, np.mean(entropies, 0), atol=1e-5)
    np.testing.assert_allclose(found.evenness, np.mean(evenness, 0), atol=1e-5)


def test_even_attention_and_attention_to_one_place(make_tokens):
    tokens = make_tokens([6], width=8)
    even, single = np.zeros((2, 1, 1, 1, 8, 8), np.float32)
    even[..., :6], single[..., 3] = 1 / 6, 1
    np.testing.assert_allclose(measure(even, tokens)[0, 0, 0], [1 / 6, 1 / 6, 4 / 6, np.log(6)], atol=1e-6)
    np.testing.assert_array_equal(measure(single, tokens)[0, 0, 0], [0, 0, 1, 0])
