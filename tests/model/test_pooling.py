"""One contract for every pooler, registered now or later, and what each one computes."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import pytest
from flax import linen as nn

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.model.pooling import POOLERS, masked
from bert_jax.model.readout import Readout, check
from bert_jax.types import Tokens

CONFIG = BertConfig(hidden_size=12, num_heads=2)
SETTINGS = {"token": "(index=2)", "attention": "(num_heads=3)"}


class Gated(nn.Module):
    """A pooler of a user's own."""

    temperature: float = 1.0

    @nn.compact
    def __call__(self, x, mask):
        gate = nn.sigmoid(nn.Dense(1)(masked(x, mask)) / self.temperature) * mask[..., None]
        return (gate * masked(x, mask)).sum(1) / gate.sum(1)


EVERY = [name + SETTINGS.get(name, "") for name in POOLERS]
SPECS = [
    *EVERY,
    "cls + mean",
    "max + attention(num_heads=4) + last_token",
    "mean(special_tokens=False)",
    "max(special_tokens=False) + cls",
    "token(index=-2)",
    f"{__name__}.Gated(temperature=2.0)",
]
each_spec = pytest.mark.parametrize("spec", SPECS)


def sentences(lengths=(7, 4, 3), width=9, seed=0) -> tuple[np.ndarray, Tokens]:
    """Random vectors [B L 12] and which of them are tokens: the first and last of a row are special."""
    x = np.random.default_rng(seed).normal(size=(len(lengths), width, 12)).astype(np.float32)
    place, n = np.arange(width)[None], np.array(lengths)[:, None]
    mask = np.broadcast_to(place < n, x.shape[:2])
    ids = np.zeros(mask.shape, np.int32)
    return x, Tokens(ids, ids, mask, mask & ((place == 0) | (place == n - 1)))


@cache
def build(spec: str) -> tuple[Callable[..., jax.Array], Callable[..., Any]]:
    """`(x, tokens) -> vectors`, and the gradient of their squares by the weights and by x. The weights are one draw."""
    readout = Readout(ReadoutConfig(pooling=spec), CONFIG)
    x, tokens = sentences()
    variables = jax.jit(readout.init)(jax.random.key(1), (x,), tokens)

    def squares(variables, x, tokens):
        return (readout.apply(variables, (x,), tokens) ** 2).sum()

    gradient = jax.jit(jax.grad(squares, argnums=(0, 1)))
    return jax.jit(partial(lambda v, x, t: readout.apply(v, (x,), t), variables)), partial(gradient, variables)


def pool(spec: str, x: np.ndarray, tokens: Tokens) -> np.ndarray:
    return np.asarray(build(spec)[0](x, tokens))


@each_spec
def test_one_vector_a_row(spec: str) -> None:
    check(ReadoutConfig(pooling=spec), CONFIG)
    vectors = pool(spec, *sentences())
    assert vectors.shape == (3, 12 * len(spec.split(" + ")))
    assert np.isfinite(vectors).all()


@each_spec
@pytest.mark.parametrize("fill", [1e4, -1e4, np.inf, np.nan])
def test_padding_is_not_seen(spec: str, fill: float) -> None:
    x, tokens = sentences()
    filled = np.where(tokens.mask[..., None], x, np.float32(fill))
    np.testing.assert_array_equal(pool(spec, filled, tokens), pool(spec, x, tokens))


@each_spec
@pytest.mark.parametrize("fill", [0, np.nan])
def test_gradient_is_finite_and_zero_on_padding(spec: str, fill: float) -> None:
    x, tokens = sentences()
    filled = np.where(tokens.mask[..., None], x, np.float32(fill))
    weights, inputs = build(spec)[1](filled, tokens)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((weights, inputs)))
    assert (inputs[~tokens.mask] == 0).all()
    assert np.abs(inputs).sum((1, 2)).all(), "each row must be trainable"


@each_spec
def test_a_single_token_is_enough(spec: str) -> None:
    x, tokens = sentences(lengths=(1, 5, 2))
    vectors, gradient = build(spec)
    assert np.isfinite(vectors(x, tokens)).all()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient(x, tokens)))


@each_spec
def test_a_row_is_read_alone(spec: str) -> None:
    x, tokens = sentences()
    alone = pool(spec, x[1:2, :4], Tokens(*(field[1:2, :4] for field in tokens)))
    np.testing.assert_allclose(pool(spec, x, tokens)[1:2], alone, atol=1e-6)


@each_spec
def test_the_input_is_left_as_it_was(spec: str) -> None:
    x, tokens = sentences()
    before = x.copy()
    pool(spec, x, tokens)
    np.testing.assert_array_equal(x, before)


BY_HAND = {
    "cls": lambda r: r[0],
    "last_token": lambda r: r[-1],
    "token(index=2)": lambda r: r[min(2, len(r) - 1)],
    "token(index=-2)": lambda r: r[max(len(r) - 2, 0)],
    "token(index=50)": lambda r: r[-1],
    "mean": lambda r: r.mean(0),
    "mean_sqrt_len": lambda r: r.sum(0) / np.sqrt(len(r)),
    "weightedmean": lambda r: np.average(r, 0, weights=np.arange(1, len(r) + 1)),
    "max": lambda r: r.max(0),
    "lse": lambda r: np.log(np.exp(r).mean(0)),
    "lse(temperature=0.25)": lambda r: np.log(np.exp(4 * r).mean(0)) / 4,
    "gem": lambda r: (np.maximum(r, 1e-6) ** 3).mean(0) ** (1 / 3),
    "landmark(every=2)": lambda r: r[sorted({*range(1, len(r), 2), len(r) - 1})].mean(0),
    "landmark": lambda r: r[-1],
    "gem(p=2.0)": lambda r: (np.maximum(r, 1e-6) ** 2).mean(0) ** 0.5,
}


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("spec", BY_HAND)
def test_by_hand(spec: str, special: bool) -> None:
    """Each row by numpy, over its own tokens only; without the special ones the first word comes first."""
    x, tokens = sentences()
    read = tokens.mask if special else tokens.mask & ~tokens.special
    expected = [BY_HAND[spec](row[keep].astype(np.float64)) for row, keep in zip(x, read, strict=True)]
    if not special:
        spec = f"{spec[:-1]}, special_tokens=False)" if "(" in spec else f"{spec}(special_tokens=False)"
    np.testing.assert_allclose(pool(spec, x, tokens), expected, rtol=1e-5, atol=1e-6)


def test_a_sum_joins_its_terms_in_order() -> None:
    x, tokens = sentences()
    joined = np.concatenate([pool("mean(special_tokens=False)", x, tokens), pool("cls", x, tokens)], -1)
    np.testing.assert_array_equal(pool("mean(special_tokens=False) + cls", x, tokens), joined)


UNORDERED = ["mean", "mean_sqrt_len", "max", "lse", "gem", "attention(num_heads=3)", "map", "latent_attention"]


@pytest.mark.parametrize("spec", UNORDERED)
def test_order_of_tokens_is_not_seen(spec: str) -> None:
    x, tokens = sentences(lengths=(9, 9, 9))
    np.testing.assert_allclose(pool(spec, x[:, ::-1], tokens), pool(spec, x, tokens), atol=1e-5)


def test_the_first_token_attends_to_the_others_in_any_order() -> None:
    x, tokens = sentences(lengths=(9, 9, 9))
    other = np.concatenate([x[:, :1], x[:, :0:-1]], 1)
    found = pool("cls_attention", x, tokens)
    np.testing.assert_allclose(pool("cls_attention", other, tokens), found, atol=1e-5)
    assert np.abs(found - x[:, 0]).max() > 0.1 and np.abs(pool("cls_attention", x[:, ::-1], tokens) - found).max() > 0.1


def test_latent_attention_mixes_its_latents_for_each_token() -> None:
    """One head, without its feed-forward layer: softmax(x K^T / sqrt d) K, averaged over the row's tokens."""
    x, tokens = sentences(lengths=(7, 4))
    module = POOLERS["latent_attention"](num_latents=5, num_heads=1)
    eye, latents = np.eye(12, dtype=np.float32), np.random.default_rng(3).normal(size=(5, 12)).astype(np.float32)
    attention = {
        name: {"kernel": eye[:, None], "bias": np.zeros((1, 12), np.float32)} for name in ("query", "key", "value")
    }
    attention["out"] = {"kernel": eye[None], "bias": np.zeros(12, np.float32)}
    wide, narrow = np.zeros((12, 48), np.float32), np.zeros((48, 12), np.float32)
    wide[:, :12], narrow[:12] = 1000 * eye, eye / 1000  # far from zero GELU passes what is positive
    params = {
        "latents": np.abs(latents),
        "MultiHeadDotProductAttention_0": attention,
        "Dense_1": {"bias": np.zeros(48, np.float32), "kernel": wide},
        "Dense_0": {"bias": np.zeros(12, np.float32), "kernel": narrow},
    }
    pooled = module.apply({"params": params}, x, tokens.mask)
    for row, n, vector in zip(x, (7, 4), pooled, strict=True):
        weights = np.exp(row[:n] @ np.abs(latents).T / np.sqrt(12))
        expected = (weights / weights.sum(1, keepdims=True)) @ np.abs(latents)
        np.testing.assert_allclose(vector, expected.mean(0), atol=1e-3)


@pytest.mark.parametrize("spec", ["cls", "last_token", "token(index=2)", "weightedmean"])
def test_order_of_tokens_is_seen(spec: str) -> None:
    x, tokens = sentences(lengths=(9, 9, 9))
    assert np.abs(pool(spec, x[:, ::-1], tokens) - pool(spec, x, tokens)).max() > 0.1


def test_lse_lies_between_mean_and_max() -> None:
    x, tokens = sentences()
    mean, largest = pool("mean", x, tokens), pool("max", x, tokens)
    between = pool("lse", x, tokens)
    assert (mean - 1e-6 <= between).all() and (between <= largest + 1e-6).all()
    np.testing.assert_allclose(pool("lse(temperature=1e4)", x, tokens), mean, atol=1e-2)
    np.testing.assert_allclose(pool("lse(temperature=1e-3)", x, tokens), largest, atol=1e-2)


def test_gem_goes_from_mean_to_max() -> None:
    x, tokens = sentences()
    x = np.abs(x) + 0.1
    np.testing.assert_allclose(pool("gem(p=1.0)", x, tokens), pool("mean", x, tokens), rtol=1e-5)
    np.testing.assert_allclose(pool("gem(p=60.0)", x, tokens), pool("max", x, tokens), rtol=0.05)


def test_attention_weighs_by_its_query_slice_by_slice() -> None:
    x, tokens = sentences(lengths=(7, 4))
    query = np.random.default_rng(5).normal(size=(3, 4)).astype(np.float32)
    pooled = POOLERS["attention"](num_heads=3).apply({"params": {"query": query}}, x, tokens.mask)
    for row, n, vector in zip(x, (7, 4), pooled, strict=True):
        for head in range(3):
            values = row[:n, 4 * head : 4 * head + 4]
            weights = np.exp(values @ query[head] / 2)
            expected = weights @ values / weights.sum()
            np.testing.assert_allclose(vector[4 * head : 4 * head + 4], expected, atol=1e-5)


def test_attention_without_a_preference_is_the_mean() -> None:
    x, tokens = sentences()
    pooled = POOLERS["attention"](num_heads=2).apply(
        {"params": {"query": np.zeros((2, 6), np.float32)}}, x, tokens.mask
    )
    np.testing.assert_allclose(pooled, pool("mean", x, tokens), atol=1e-6)
