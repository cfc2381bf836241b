"""Compute settings change memory, time and rounding, and nothing else."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import BertConfig, ComputeConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining
from bert_jax.model.encoder import Encoder, has_kernel
from bert_jax.pretrain_config import PretrainConfig
from bert_jax.types import Target, Tokens

WAYS = {
    "remat": ComputeConfig(remat=True),
    "scan": ComputeConfig(scan=True),
    "remat and scan": ComputeConfig(remat=True, scan=True),
    "fused": ComputeConfig(attention="fused"),
}


def computed(config: BertConfig, way: ComputeConfig) -> BertConfig:
    return dataclasses.replace(config, compute=way)


def run(config: BertConfig, params, tokens, train: bool):
    """All states at the real tokens, and the gradient of something that all of them matter to."""
    rngs = {"dropout": jax.random.key(1)}

    def loss(params):
        states = Encoder(config).apply({"params": params}, tokens, train, rngs=rngs)
        states = [jnp.where(tokens.mask[..., None], state, 0) for state in states]
        return sum((i + 1) * jnp.sin(3 * state).sum() for i, state in enumerate(states)), states

    return jax.jit(jax.value_and_grad(loss, has_aux=True))(params)


@pytest.fixture(scope="module")
def inputs(tiny: BertConfig, make_tokens):
    tokens = make_tokens([9, 5, 1], width=12)
    params = jax.jit(Encoder(tiny).init)(jax.random.key(0), tokens)["params"]
    return jax.tree.map(lambda w: 5 * w if w.ndim > 1 else w, params), tokens


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("train", [False, True])
def test_states_and_gradients_are_the_same(way: str, train: bool, tiny: BertConfig, inputs) -> None:
    rates = {"attention_dropout": 0.0} if way == "fused" else {}
    config = dataclasses.replace(tiny, **rates, compute=ComputeConfig(attention="plain"))
    (loss, states), grads = run(config, *inputs, train)
    (other, others), others_grads = run(computed(config, WAYS[way]), *inputs, train)
    assert float(other) == pytest.approx(float(loss), rel=1e-5)
    for one, two in zip(states, others, strict=True):
        np.testing.assert_allclose(two, one, atol=2e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3), others_grads, grads)
    if train:
        (_, still), _ = run(config, *inputs, False)
        assert np.abs(still[-1] - states[-1]).max() > 0.01, "nothing was dropped, so nothing was compared"


def deep(way: ComputeConfig):
    """The compiled gradient of an encoder of eight layers."""
    config = BertConfig(60, 32, 8, 2, 128, 64, dropout=0, attention_dropout=0, compute=way)
    ids = np.ones((16, 64), np.int32)
    tokens = Tokens(ids, ids * 0, ids > 0, ids < 0)
    params = jax.eval_shape(Encoder(config).init, jax.random.key(0), tokens)["params"]
    return jax.jit(
        jax.grad(lambda params: Encoder(config).apply({"params": params}, tokens, True)[-1].sum()),
    ).lower(params)


def test_rematerialisation_takes_less_memory() -> None:
    """In a loop over layers: without it, XLA for CPUs orders the work so that nothing is saved."""
    ways = (WAYS["scan"], WAYS["remat and scan"])
    plain, remat = (deep(way).compile().memory_analysis().temp_size_in_bytes for way in ways)
    assert remat < 0.3 * plain, (remat, plain)


def test_rematerialisation_computes_again_without_a_loop_too() -> None:
    plain, remat = (deep(way).compile().as_text().count(" dot(") for way in (ComputeConfig(), WAYS["remat"]))
    assert remat > 1.1 * plain, (remat, plain)


def test_a_loop_over_layers_is_one_layer_to_the_compiler() -> None:
    plain, scan = (deep(way).compile().as_text().count(" dot(") for way in (ComputeConfig(), WAYS["scan"]))
    assert 0 < scan < 0.3 * plain, (scan, plain)


def test_bfloat16_is_of_activations_only(tiny: BertConfig, inputs) -> None:
    params, tokens = inputs
    half = computed(tiny, ComputeConfig(dtype="bfloat16"))
    (_, exact), _ = run(tiny, params, tokens, False)
    (_, states), grads = run(half, params, tokens, False)
    assert {state.dtype.name for state in states} == {"bfloat16"}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(grads)} == {"float32"}
    for one, two in zip(exact, states, strict=True):
        error = np.abs(one - two.astype(jnp.float32))
        # Eight bits of mantissa, through three layers with large weights.
        assert 1e-3 < error.max() < 0.15 and error.mean() < 0.02


def test_logits_are_float32_whatever_the_rest(tiny: BertConfig, make_tokens) -> None:
    model = BertForPretraining(computed(tiny, ComputeConfig(dtype="bfloat16")), ReadoutConfig(projection="tanh"))
    tokens, positions = make_tokens([9, 5]), np.ones((2, 3), np.int32)
    logits, variables = jax.jit(model.init_with_output)(jax.random.key(0), tokens, positions)
    assert logits.mlm.dtype == logits.nsp.dtype == jnp.float32
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}


def test_softmax_and_layer_normalisation_are_computed_in_float32(tiny: BertConfig, make_tokens) -> None:
    """No exponential, no square root and no sum over an axis of a bfloat16 array."""
    config = computed(tiny, ComputeConfig(dtype="bfloat16", attention="plain"))
    tokens = make_tokens([9, 5])
    params = jax.eval_shape(Encoder(config).init, jax.random.key(0), tokens)["params"]
    text = str(jax.make_jaxpr(lambda params: Encoder(config).apply({"params": params}, tokens))(params))
    lines = [line for line in text.splitlines() if any(f"= {name}" in line for name in ("exp", "rsqrt", "reduce_sum"))]
    assert len(lines) >= 3 * 3
    assert not [line for line in lines if "bf16" in line.split("=")[0]]


@pytest.mark.parametrize(
    ("capability", "head_width", "expected"),
    [
        ("9.0", 64, True),
        ("8.0", 128, True),
        ("10.3", 8, True),
        ("7.5", 64, False),
        ("9.0", 20, False),
        ("9.0", 256, False),
        ("gfx90a", 64, False),
    ],
)
def test_attention_is_fused_only_where_there_is_a_kernel(capability: str, head_width: int, expected: bool) -> None:
    assert has_kernel(Target("gpu", capability), head_width) == expected


def test_fused_attention_in_training_must_not_drop() -> None:
    with pytest.raises(InputError, match="attention_dropout"):
        PretrainConfig(compute=ComputeConfig(attention="fused"))


def test_a_causal_token_sees_only_those_before_it(tiny: BertConfig, inputs) -> None:
    params, tokens = inputs
    for way in ("plain", "fused"):
        config = dataclasses.replace(tiny, causal=True, compute=ComputeConfig(attention=way))

        def state(embedding, place, config=config):
            changed = {**params, "embeddings": {**params["embeddings"], "position": {"embedding": embedding}}}
            return jnp.abs(Encoder(config).apply({"params": changed}, tokens)[-1][0, place]).sum()

        position = params["embeddings"]["position"]["embedding"]
        for place in (0, 4, 8):
            grad = np.abs(jax.jit(jax.grad(state), static_argnums=1)(position, place)).sum(-1)
            assert (grad[: place + 1] > 1e-3).all() and (grad[place + 1 :] == 0).all()
