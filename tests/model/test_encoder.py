"""Properties of the encoder: its attention masks, dropout and initialisation."""

import dataclasses
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.special import erf

from bert_jax.config import PRESETS, BertConfig, ComputeConfig, ReadoutConfig
from bert_jax.model.bert import SentenceEncoder
from bert_jax.model.encoder import Encoder
from bert_jax.model.layers import ACTIVATIONS, Dropout, hash_keys, layer_norm
from bert_jax.model.readout import Readout, reads_first_only
from bert_jax.types import Tokens

TRUNCATED = 0.87962566
"""The standard deviation of a standard normal cut at +-2: TensorFlow's initialiser does not make up for it."""


@pytest.fixture(scope="module")
def encoder(tiny: BertConfig, make_tokens):
    """`(tokens) -> hidden states`, with weights ten times as large as at initialisation so that all of them matter."""
    model = Encoder(tiny)
    params = jax.jit(model.init)(jax.random.key(0), make_tokens([4]))["params"]
    params = jax.tree.map(lambda w: 10 * w if w.ndim > 1 else w, params)
    run = jax.jit(lambda params, tokens: model.apply({"params": params}, tokens))
    return lambda tokens, **changed: [np.asarray(h) for h in run({**params, **changed}, tokens)], params


def test_states_are_the_embeddings_and_every_block(encoder, tiny: BertConfig, make_tokens) -> None:
    states = encoder[0](make_tokens([9, 5]))
    assert [h.shape for h in states] == [(2, 9, tiny.hidden_size)] * (tiny.num_layers + 1)
    for h in states:
        np.testing.assert_allclose(h.mean(-1), 0, atol=1e-5)
        np.testing.assert_allclose(h.std(-1), 1, atol=1e-4)


def test_a_row_alone_padded_or_in_a_batch_is_the_same(encoder, make_tokens) -> None:
    run, _ = encoder
    batch = make_tokens([9, 5, 2], width=14)
    for row, n in enumerate((9, 5, 2)):
        alone = Tokens(*(field[row : row + 1, :n] for field in batch))
        padded = Tokens(*(field[row : row + 1] for field in batch))
        for one, two, three in zip(run(alone), run(padded), run(batch), strict=True):
            np.testing.assert_allclose(two[0, :n], one[0], atol=1e-5)
            np.testing.assert_allclose(three[row, :n], one[0], atol=1e-5)


def test_what_stands_in_the_padding_is_not_seen(encoder, make_tokens) -> None:
    run, _ = encoder
    tokens = make_tokens([9, 5], width=12)
    other = tokens._replace(
        ids=np.where(tokens.mask, tokens.ids, 17), segments=np.where(tokens.mask, tokens.segments, 1)
    )
    for one, two in zip(run(tokens), run(other), strict=True):
        np.testing.assert_array_equal(one[tokens.mask], two[tokens.mask])


@pytest.mark.parametrize("field", ["ids", "segments"])
def test_every_token_sees_a_change_of_one(field: str, encoder, make_tokens) -> None:
    run, _ = encoder
    tokens = make_tokens([9])
    values = getattr(tokens, field).copy()
    values[0, 4] = {"ids": 58, "segments": 1 - values[0, 4]}[field]
    one, two = run(tokens), run(tokens._replace(**{field: values}))
    changed = np.abs(one[-1] - two[-1]).max(-1)[0]
    assert (changed > 1e-3).all()
    assert (np.abs(one[0] - two[0]).max(-1)[0] > 1e-3).tolist() == [place == 4 for place in range(9)]


def test_order_is_seen_through_the_position_embedding_alone(encoder, make_tokens) -> None:
    run, params = encoder
    tokens = make_tokens([9])
    order = np.array([0, 6, 2, 3, 4, 5, 1, 7, 8])
    swapped = Tokens(*(field[:, order] for field in tokens))
    assert np.abs(run(swapped)[-1] - run(tokens)[-1][:, order]).max() > 0.1
    embeddings = params["embeddings"]
    nowhere = {**embeddings, "position": jax.tree.map(jnp.zeros_like, embeddings["position"])}
    one, two = run(tokens, embeddings=nowhere)[-1], run(swapped, embeddings=nowhere)[-1]
    np.testing.assert_allclose(two, one[:, order], atol=1e-5)


def test_a_token_of_one_row_never_reaches_another(encoder, make_tokens) -> None:
    run, _ = encoder
    tokens = make_tokens([6, 6])
    other = tokens._replace(ids=np.stack([tokens.ids[0], tokens.ids[1][::-1]]))
    np.testing.assert_array_equal(run(tokens)[-1][0], run(other)[-1][0])


# Dropout


def drop(key: jax.Array, rate: float, x: np.ndarray) -> np.ndarray:
    return np.asarray(Dropout(rate).apply({}, x, True, rngs={"dropout": key}))


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_dropout_keeps_its_rate_and_the_mean(rate: float) -> None:
    x = np.full((2**10, 2**10), 3, np.float32)
    dropped = drop(jax.random.key(0), rate, x)
    kept = dropped != 0
    np.testing.assert_allclose(dropped[kept], 3 / (1 - rate), rtol=1e-6)
    sigma = np.sqrt(rate * (1 - rate) / x.size)
    assert abs(kept.mean() - (1 - rate)) < 4 * sigma
    assert abs(dropped.mean() / 3 - 1) < 4 * sigma / (1 - rate)
    # No row and no column is dropped more than another.
    for axis in (0, 1):
        assert np.abs(kept.mean(axis) - (1 - rate)).max() < 5 * np.sqrt(rate * (1 - rate) / 2**10)


def test_dropout_has_no_pattern_along_positions() -> None:
    kept = drop(jax.random.key(1), 0.5, np.ones(2**20, np.float32)) != 0
    signs = np.where(kept, 1, -1)
    for lag in (1, 2, 3, 4, 8, 16, 64, 128, 384, 768, 1024, 2**16):
        assert abs((signs[lag:] * signs[:-lag]).mean()) < 5 / np.sqrt(len(signs) - lag), lag


def test_dropout_of_the_keys_of_a_run_is_independent() -> None:
    """Keys made by fold_in(step), as the training step does: 300 masks, every pair and every position."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(2), jnp.arange(300))
    dropped = jax.vmap(lambda key: Dropout(0.5).apply({}, jnp.ones(4096), True, rngs={"dropout": key}))(keys)
    signs = np.where(np.asarray(dropped) != 0, 1, -1)
    pairs = np.triu(signs @ signs.T / 4096, 1)
    assert np.abs(pairs).max() < 6 / np.sqrt(4096)
    assert abs(pairs[np.triu_indices(300, 1)].std() * np.sqrt(4096) - 1) < 0.05
    assert np.abs(signs.mean(0)).max() < 5 / np.sqrt(300)


def test_layers_of_a_model_drop_independently() -> None:
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return [Dropout(0.5)(x, True) != 0 for _ in range(2)]

    one, two = Two().apply({}, np.ones(2**16, np.float32), rngs={"dropout": jax.random.key(0)})
    assert abs(np.corrcoef(one, two)[0, 1]) < 5 / 2**8


def test_all_places_of_all_blocks_drop_independently() -> None:
    """Twelve blocks with eight places each, at the same position and at any other within the same mask."""

    class Places(nn.Module):
        @nn.compact
        def __call__(self, x):
            return jnp.stack([Dropout(0.5)(x, True) for _ in range(8)])

    keys = hash_keys(jax.random.key(3), (12,))
    masks = jax.vmap(lambda key: Places().apply({}, jnp.ones(2**14), rngs={"dropout": key}))(keys).reshape(96, -1)
    signs = np.where(np.asarray(masks) != 0, 1.0, -1.0)
    pairs = np.triu(signs @ signs.T / 2**14, 1)
    assert np.abs(pairs).max() < 5.5 / 2**7
    assert abs(pairs[np.triu_indices(96, 1)].std() * 2**7 - 1) < 0.05
    # Masks differ by constants that are xored to the position, so their likeness would be at xored positions.
    spectrum = np.fft.fftn(signs[:16].reshape(16, *(2,) * 14), axes=range(1, 15)).real
    for one, two in itertools.combinations(range(16), 2):
        assert np.abs(np.fft.ifftn(spectrum[one] * spectrum[two]).real / 2**14).max() < 6.5 / 2**7, (one, two)


def test_the_blocks_take_their_dropout_from_one_draw(make_tokens) -> None:
    def draws(layers: int) -> int:
        config, tokens = BertConfig(60, 24, layers, 2, 40, 32), make_tokens([7, 4])
        params = jax.eval_shape(Encoder(config).init, jax.random.key(0), tokens)
        program = jax.jit(lambda params, key: Encoder(config).apply(params, tokens, True, rngs={"dropout": key})[-1])
        return program.lower(params, jax.random.key(0)).as_text().count("call @threefry2x32")

    assert 0 < draws(1) == draws(5)


def test_dropout_is_off_unless_training(tiny: BertConfig, make_tokens) -> None:
    model, tokens = Encoder(tiny), make_tokens([7, 4])
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    train = jax.jit(lambda seed: model.apply(variables, tokens, True, rngs={"dropout": jax.random.key(seed)}))
    still = model.apply(variables, tokens)
    for place in range(tiny.num_layers + 1):
        one, same, other = train(1)[place], train(1)[place], train(2)[place]
        np.testing.assert_array_equal(one, same)
        assert np.abs(one - other).max() > 0.01
        assert np.abs(one - still[place]).max() > 0.01


def test_without_rates_training_is_evaluation(make_tokens) -> None:
    config = BertConfig(60, 24, 1, 2, 40, 32, dropout=0, attention_dropout=0)
    model, tokens = Encoder(config), make_tokens([7, 4])
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    np.testing.assert_array_equal(model.apply(variables, tokens, True)[-1], model.apply(variables, tokens)[-1])


# Initialisation and the published details


def test_initialisation_is_that_of_tensorflow(make_tokens) -> None:
    """Matrices: normal(0, 0.02) cut at two standard deviations. Biases 0, layer norms 1 and 0."""
    config = BertConfig(vocab_size=500, hidden_size=128, num_layers=2, num_heads=2, intermediate_size=256)
    params = jax.jit(Encoder(config).init)(jax.random.key(0), make_tokens([8]))["params"]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = path[-1].key
        if name in ("kernel", "embedding"):
            assert np.abs(leaf).max() <= 0.04
            assert abs(leaf.mean()) < 5 * 0.02 / np.sqrt(leaf.size), path
            # The standard error of a standard deviation, here 5 of them: a corrected initialiser would be 14% off.
            assert abs(leaf.std() / (0.02 * TRUNCATED) - 1) < 5 / np.sqrt(2 * leaf.size), path
        else:
            np.testing.assert_array_equal(leaf, {"bias": 0, "scale": 1}[name])


def test_activations() -> None:
    x = np.linspace(-6, 6, 1001)
    exact = x * (1 + erf(x / np.sqrt(2))) / 2
    approximate = x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    assert np.abs(exact - approximate).max() > 4e-4
    np.testing.assert_allclose(ACTIVATIONS["gelu"](jnp.float32(x)), exact, atol=2e-6)
    np.testing.assert_allclose(ACTIVATIONS["gelu_tanh"](jnp.float32(x)), approximate, atol=2e-6)
    np.testing.assert_array_equal(ACTIVATIONS["relu"](jnp.float32(x)), np.maximum(np.float32(x), 0))


def test_gelu_keeps_one_array_for_its_derivative() -> None:
    x = np.linspace(-6, 6, 1001)
    exact = (1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    _, backward = jax.vjp(ACTIVATIONS["gelu"], jnp.float32(x))
    np.testing.assert_allclose(backward(jnp.ones(1001))[0], exact, atol=1e-6)
    assert len(jax.tree.leaves(backward)) == 1


def test_the_variance_of_bfloat16_in_one_pass_is_that_in_two() -> None:
    config = BertConfig(60, 768, 1, 2, 40, 32, compute=ComputeConfig(dtype="bfloat16"))
    x = jnp.bfloat16(np.random.default_rng(0).normal(3, 1, (32, 768)))  # a mean far larger than in any BERT
    exact = np.asarray(x, np.float64)
    exact = (exact - exact.mean(-1, keepdims=True)) / exact.std(-1, keepdims=True)
    params = layer_norm(config).init(jax.random.key(0), x)
    found = np.asarray(layer_norm(config).apply(params, x), np.float64)
    np.testing.assert_allclose(found, exact, rtol=2**-8, atol=1e-5)


def test_layer_norm_has_berts_epsilon() -> None:
    """With a variance of 1e-12 an epsilon of 1e-12 halves the square; 1e-6 would leave nothing."""
    x = np.float32([[1e-6, -1e-6]])
    normed = layer_norm(BertConfig()).apply({"params": {"scale": np.ones(2), "bias": np.zeros(2)}}, x)
    np.testing.assert_allclose(normed, [[np.sqrt(0.5), -np.sqrt(0.5)]], rtol=1e-5)


@pytest.mark.parametrize(("name", "published"), [("tiny", 4_385_920), ("base", 109_482_240), ("large", 335_141_888)])
def test_presets_have_the_published_number_of_parameters(name: str, published: int, make_tokens) -> None:
    config = PRESETS[name]
    params = jax.eval_shape(Encoder(config).init, jax.random.key(0), make_tokens([8]))
    pooler = config.hidden_size**2 + config.hidden_size
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) + pooler == published


# Of the last block no more than is read


@pytest.mark.parametrize("changes", [{}, {"causal": True}, {"compute": ComputeConfig(scan=True)}])
def test_the_first_position_alone_is_that_of_all(changes, tiny: BertConfig, make_tokens) -> None:
    config, tokens = dataclasses.replace(tiny, **changes), make_tokens([9, 5, 1])
    model = Encoder(config)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]

    def first(params, first_only):
        states = model.apply({"params": params}, tokens, first_only=first_only)
        return (states[-1][:, :1] ** 3).sum(), states

    grad = jax.jit(jax.value_and_grad(first, has_aux=True), static_argnums=1)
    (_, whole), wanted = grad(params, False)
    (_, cut), found = grad(params, True)
    assert cut[-1].shape == (3, 1, tiny.hidden_size) and whole[-1].shape == (3, 9, tiny.hidden_size)
    for one, two in zip((*cut[:-1], cut[-1]), (*whole[:-1], whole[-1][:, :1]), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-4), found, wanted)


def test_the_first_position_alone_sees_what_it_may(tiny: BertConfig, make_tokens) -> None:
    model, tokens = Encoder(tiny), make_tokens([9, 5])
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    seen = np.random.default_rng(0).random((tiny.num_layers, 2, 9, 9)) < 0.5
    seen |= np.eye(9, dtype=bool)
    run = jax.jit(partial(model.apply, {"params": params}), static_argnames=("train", "first_only"))
    whole, cut = run(tokens, seen=seen), run(tokens, seen=seen, first_only=True)
    np.testing.assert_allclose(cut[-1], whole[-1][:, :1], atol=1e-5)


@pytest.mark.parametrize(
    "spec", ["last/cls/none", "last/cls/tanh", "last/mean/none", "-2/cls/none", "last/cls+mean/none"]
)
def test_a_sentence_encoder_reads_the_same_whatever_it_leaves_out(spec: str, tiny: BertConfig, make_tokens) -> None:
    readout, tokens = ReadoutConfig(*spec.split("/")), make_tokens([9, 5, 2])
    model = SentenceEncoder(tiny, readout)
    params = jax.jit(model.init)(jax.random.key(0), tokens)["params"]
    states = jax.jit(Encoder(tiny).apply)({"params": params["encoder"]}, tokens)
    wanted = Readout(readout, tiny).apply({"params": params.get("reader", {})}, states, tokens)
    np.testing.assert_allclose(jax.jit(model.apply)({"params": params}, tokens), wanted, atol=1e-5)
    assert reads_first_only(readout) == spec.startswith("last/cls/")


def test_less_is_computed_where_less_is_read(tiny: BertConfig, make_tokens) -> None:
    def operations(pooling: str) -> float:
        model, tokens = SentenceEncoder(tiny, ReadoutConfig(pooling=pooling)), make_tokens([32, 32])
        params = jax.eval_shape(model.init, jax.random.key(0), tokens)["params"]
        return jax.jit(model.apply).lower({"params": params}, tokens).compile().cost_analysis()["flops"]

    assert operations("cls") < (1 - 0.6 / tiny.num_layers) * operations("mean")
