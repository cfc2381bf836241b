"""Attention maps beside a calculation by hand and beside transformers; attention that is taken away."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from bert_jax.checkpoints.huggingface import load_checkpoint
from bert_jax.config import BertConfig, ComputeConfig
from bert_jax.model.attention import attention_maps, without_attention_of_first
from bert_jax.model.encoder import Encoder, run_blocks
from bert_jax.types import Target, Tokens


@pytest.fixture(scope="module")
def params(tiny: BertConfig, make_tokens):
    """Weights ten times as large as at initialisation, so that attention is far from even."""
    params = jax.jit(Encoder(tiny).init)(jax.random.key(0), make_tokens([4]))["params"]
    return jax.tree.map(lambda w: 10 * w if w.ndim > 1 else w, params)


def states(config: BertConfig, params, tokens: Tokens, blind=None) -> np.ndarray:
    """[N+1 B L D]."""
    seen = None if blind is None else without_attention_of_first(jnp.array(blind), tokens.mask)
    return np.stack(jax.jit(Encoder(config).apply, static_argnums=2)({"params": params}, tokens, False, seen))


def test_a_map_is_what_numpy_finds(tiny: BertConfig, params, make_tokens) -> None:
    tokens = make_tokens([9, 5], width=11)
    x = states(tiny, params, tokens)
    maps = np.asarray(attention_maps(tiny, params, tokens))
    for block in range(tiny.num_layers):
        attention = params[f"blocks_{block}"]["attention"]
        query, key = (
            (x[block] @ np.asarray(attention[name]["kernel"]) + np.asarray(attention[name]["bias"])).reshape(
                2, 11, tiny.num_heads, -1
            )
            for name in ("query", "key")
        )
        scores = np.einsum("blhk,bmhk->bhlm", query, key) / np.sqrt(query.shape[-1])
        scores[~np.broadcast_to(tokens.mask[:, None, None], scores.shape)] = -np.inf
        np.testing.assert_allclose(maps[block], softmax(scores, -1), atol=1e-5)


def test_shares_sum_to_one_and_padding_gets_none(tiny: BertConfig, params, make_tokens) -> None:
    tokens = make_tokens([9, 5], width=12)
    maps = np.asarray(attention_maps(tiny, params, tokens))
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)
    assert not maps[:, 1, :, :, 5:].any()
    assert maps.std(-1).max() > 0.1  # uniform rows would pass, too


def test_a_causal_map_looks_back_only(tiny: BertConfig, params, make_tokens) -> None:
    causal = dataclasses.replace(tiny, causal=True)
    maps = np.asarray(attention_maps(causal, params, make_tokens([9])))
    assert not np.triu(maps, 1).any()
    np.testing.assert_allclose(maps.sum(-1), 1, atol=1e-6)


def test_maps_are_those_of_transformers(tmp_path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    shape = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=50, attn_implementation="eager", **shape)
    model = transformers.BertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    rng, mask = np.random.default_rng(0), np.arange(13) < np.array([[13], [7]])
    ids = np.where(mask, rng.integers(1, 50, mask.shape), 0).astype(np.int32)
    segments = (mask & (np.arange(13) > 4)).astype(np.int32)
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(ids).long(),
            attention_mask=torch.tensor(mask).long(),
            token_type_ids=torch.tensor(segments).long(),
            output_attentions=True,
        ).attentions
    ours = np.asarray(attention_maps(checkpoint.config, checkpoint.encoder, Tokens(ids, segments, mask, ~mask)))
    assert len(theirs) == len(ours) == 3
    for one, two in zip(theirs, ours, strict=True):
        np.testing.assert_allclose(two[0], one[0].numpy(), atol=1e-5)
        np.testing.assert_allclose(two[1, :, :7], one[1, :, :7].numpy(), atol=1e-5)


def test_blind_from_the_first_block_the_first_position_is_a_constant(tiny: BertConfig, params, make_tokens) -> None:
    tokens = make_tokens([9, 5, 7])
    ids = tokens.ids.copy()
    ids[:, 0] = 2
    tokens = tokens._replace(ids=ids)
    x = states(tiny, params, tokens, blind=[True] * 3)
    np.testing.assert_array_equal(x[:, 1:, 0], x[:, :1, 0].repeat(2, 1))
    assert np.abs(x[-1, 0, 1] - x[-1, 1, 1]).max() > 0.1
    # Attention in the first block alone, or in the last one alone, suffices to tell texts apart.
    for blind in ([False, True, True], [True, True, False]):
        x = states(tiny, params, tokens, blind)
        assert np.abs(x[-1, 0, 0] - x[-1, 1, 0]).max() > 0.1


def test_a_block_before_the_first_blind_one_is_untouched(tiny: BertConfig, params, make_tokens) -> None:
    tokens = make_tokens([9, 5])
    whole, part = states(tiny, params, tokens), states(tiny, params, tokens, blind=[False, True, False])
    np.testing.assert_array_equal(part[:2], whole[:2])
    np.testing.assert_array_equal(part[2][:, 1:], whole[2][:, 1:])
    assert np.abs(part[2][:, 0] - whole[2][:, 0]).max() > 0.1


def test_nothing_taken_away_is_the_encoder_as_it_is(tiny: BertConfig, params, make_tokens) -> None:
    tokens = make_tokens([9, 5], width=12)
    np.testing.assert_array_equal(states(tiny, params, tokens, [False] * 3), states(tiny, params, tokens))


def test_blind_in_a_scan_and_where_attention_would_be_fused(tiny: BertConfig, params, make_tokens) -> None:
    tokens, blind = make_tokens([9, 5]), [False, True, True]
    plain = states(tiny, params, tokens, blind)
    for compute in (ComputeConfig(scan=True), ComputeConfig(attention="fused"), ComputeConfig(remat=True)):
        other = states(dataclasses.replace(tiny, compute=compute), params, tokens, blind)
        np.testing.assert_allclose(other, plain, atol=1e-5)


def test_the_blocks_compile_to_what_they_did_without_maps(tiny: BertConfig, params, make_tokens) -> None:
    tokens = make_tokens([9, 5])
    blocks = [params[f"blocks_{i}"] for i in range(3)]
    x = np.zeros((2, 9, tiny.hidden_size), np.float32)
    lowered = jax.jit(lambda x: run_blocks(tiny, Target(), blocks, [None] * 3, x, tokens.mask)).lower(x)
    # One softmax, over what the padding mask alone hides: neither a second mask nor a kept map is in the program.
    kept = f"tensor<3x2x{tiny.num_heads}x9x9xf32>"
    assert kept not in lowered.as_text()
    assert (
        "9x9xi1"
        in jax.jit(
            lambda x: run_blocks(
                tiny,
                Target(),
                blocks,
                [None] * 3,
                x,
                tokens.mask,
                without_attention_of_first(jnp.array([True] * 3), tokens.mask),
            )
        )
        .lower(x)
        .as_text()
    )
    assert "3x2x9x9xi1" not in lowered.as_text()
