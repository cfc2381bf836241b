"""Layers, special tokens and projections by hand; and what a mistaken spec is told."""

import jax
import numpy as np
import pytest
from flax import linen as nn

from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.model.readout import LAYERS, POOLERS, PROJECTIONS, Readout, check, wants_pretrained
from bert_jax.types import Tokens


class NotAVector(nn.Module):
    """A pooler that forgot to pool."""

    @nn.compact
    def __call__(self, x, mask):
        return x


class Explodes(nn.Module):
    """A pooler with a bug in it."""

    @nn.compact
    def __call__(self, x, mask):
        raise RuntimeError("no such luck\nand more")


class Middle(nn.Module):
    """A choice of layers of a user's own."""

    def __call__(self, states):
        return states[len(states) // 2]


@pytest.fixture
def states(tiny: BertConfig) -> tuple[np.ndarray, ...]:
    """Four random hidden states [2 6 24]."""
    rng = np.random.default_rng(0)
    return tuple(rng.normal(size=(2, 6, tiny.hidden_size)).astype(np.float32) for _ in range(tiny.num_layers + 1))


@pytest.fixture
def tokens(make_tokens) -> Tokens:
    return make_tokens([6, 4])


def read(spec: ReadoutConfig, config: BertConfig, states, tokens, params=None) -> np.ndarray:
    readout = Readout(spec, config)
    params = params or readout.init(jax.random.key(0), states, tokens).get("params", {})
    return np.asarray(readout.apply({"params": params}, states, tokens))


@pytest.mark.parametrize(
    ("layers", "by_hand"),
    [
        ("last", lambda h: h[3]),
        ("-1", lambda h: h[3]),
        ("-2", lambda h: h[2]),
        ("0", lambda h: h[0]),
        ("-4", lambda h: h[0]),
        ("avg(1,-1)", lambda h: (h[1] + h[3]) / 2),
        ("avg(0,1,2,3)", lambda h: (h[0] + h[1] + h[2] + h[3]) / 4),
        ("max(1,-1,2)", lambda h: np.maximum(np.maximum(h[1], h[2]), h[3])),
        ("concat(-2,-1)", lambda h: np.concatenate([h[2], h[3]], -1)),
        ("mix", lambda h: (h[0] + h[1] + h[2] + h[3]) / 4),
        ("mix(2,3)", lambda h: (h[2] + h[3]) / 2),
        (f"{__name__}.Middle", lambda h: h[2]),
    ],
)
def test_layers_by_hand(layers: str, by_hand, tiny: BertConfig, states, tokens: Tokens) -> None:
    """A fresh mix weighs its layers equally."""
    spec = ReadoutConfig(layers, "cls")
    check(spec, tiny)
    np.testing.assert_allclose(read(spec, tiny, states, tokens), by_hand(states)[:, 0], atol=1e-6)


def test_mix_is_a_softmax_times_gamma(tiny: BertConfig, states, tokens: Tokens) -> None:
    weights = np.log(np.array([1, 2, 5], np.float32))
    params = {"layers": {"weights": weights, "gamma": np.float32(3)}}
    mixed = read(ReadoutConfig("mix(0,1,3)", "cls"), tiny, states, tokens, params)
    by_hand = 3 * (states[0] + 2 * states[1] + 5 * states[3])[:, 0] / 8
    np.testing.assert_allclose(mixed, by_hand, atol=1e-5)


def test_every_pooled_term_reads_the_chosen_layers(tiny: BertConfig, states, tokens: Tokens) -> None:
    pooled = read(ReadoutConfig("1", "cls + mean"), tiny, states, tokens)
    n = tokens.mask.sum(1)
    means = [state[:k].mean(0) for state, k in zip(states[1], n, strict=True)]
    np.testing.assert_allclose(pooled, np.concatenate([states[1][:, 0], means], -1), atol=1e-6)


def test_special_tokens_in_and_out(tiny: BertConfig, states, tokens: Tokens) -> None:
    for row, n in enumerate(tokens.mask.sum(1)):
        x = states[-1][row]
        within = read(ReadoutConfig(pooling="mean"), tiny, states, tokens)[row]
        without = read(ReadoutConfig(pooling="mean(special_tokens=False)"), tiny, states, tokens)[row]
        np.testing.assert_allclose(within, x[:n].mean(0), atol=1e-6)
        np.testing.assert_allclose(without, x[1 : n - 1].mean(0), atol=1e-6)


def test_the_separator_between_two_sentences_is_special(tiny: BertConfig, states, tokens: Tokens) -> None:
    special = tokens.special.copy()
    special[0, 2] = True
    pooled = read(ReadoutConfig(pooling="mean(special_tokens=False)"), tiny, states, tokens._replace(special=special))
    np.testing.assert_allclose(pooled[0], states[-1][0][[1, 3, 4]].mean(0), atol=1e-6)


def test_a_sentence_without_words_is_read_from_its_special_tokens(tiny: BertConfig, states, make_tokens) -> None:
    tokens = make_tokens([6, 2])
    pooled = read(ReadoutConfig(pooling="mean(special_tokens=False)"), tiny, states, tokens)
    np.testing.assert_allclose(pooled[1], states[-1][1, :2].mean(0), atol=1e-6)
    np.testing.assert_allclose(pooled[0], states[-1][0, 1:5].mean(0), atol=1e-6)


@pytest.mark.parametrize("projection", ["tanh", "mlp"])
def test_projection_is_a_dense_layer_and_tanh(projection: str, tiny: BertConfig, states, tokens: Tokens) -> None:
    rng = np.random.default_rng(1)
    kernel, bias = rng.normal(size=(48, 24)).astype(np.float32), rng.normal(size=24).astype(np.float32)
    params = {"projection": {"dense": {"kernel": kernel, "bias": bias}}}
    vectors = read(ReadoutConfig("concat(1,2)", "cls", projection), tiny, states, tokens, params)
    x = np.concatenate([states[1], states[2]], -1)[:, 0]
    np.testing.assert_allclose(vectors, np.tanh(x @ kernel + bias), atol=1e-5)


def test_only_tanh_wants_the_trained_pooler() -> None:
    wanted = {
        p: wants_pretrained(ReadoutConfig(projection=p)) for p in ("tanh", "tanh(pretrained=False)", "mlp", "none")
    }
    assert wanted == {"tanh": True, "tanh(pretrained=False)": False, "mlp": False, "none": False}


def refused(config: BertConfig, **parts: str) -> str:
    with pytest.raises(InputError) as caught:
        check(ReadoutConfig(**parts), config)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


@pytest.mark.parametrize("layers", ["4", "-5", "avg(1,4)", "concat(-5)", "mix(0,9)"])
def test_a_layer_that_is_not_there(layers: str, tiny: BertConfig) -> None:
    assert "0 (the embeddings) to 3, or from the end -1 to -4" in refused(tiny, layers=layers)


@pytest.mark.parametrize("layers", ["avg()", "max()", "concat()"])
def test_no_layer_at_all(layers: str, tiny: BertConfig) -> None:
    assert "names no layer" in refused(tiny, layers=layers)


@pytest.mark.parametrize(
    ("part", "typo", "meant", "registry"),
    [
        ("layers", "lsat", "last", LAYERS),
        ("pooling", "cls + maen", "mean", POOLERS),
        ("projection", "tahn", "tanh", PROJECTIONS),
    ],
)
def test_a_typo_is_told_what_was_meant(part: str, typo: str, meant: str, registry, tiny: BertConfig) -> None:
    message = refused(tiny, **{part: typo})
    assert f"Did you mean {meant!r}?" in message
    assert all(name in message for name in registry)


@pytest.mark.parametrize(
    ("part", "spec", "reason"),
    [
        ("pooling", "mean(num_heads=4)", "num_heads"),
        ("pooling", "token", "index"),
        ("pooling", "attention(num_heads=5)", "does not fit this encoder"),
        ("pooling", "map(num_heads=5)", "does not fit this encoder"),
        ("pooling", "gem(p='three')", "gem"),
        ("layers", "avg(1.5)", "avg"),
        ("layers", "concat('last')", "concat"),
        ("projection", "mlp(width=3)", "width"),
        ("layers", "index(1, 2)", "'index' does not take these settings"),
        ("layers", "last(2)", "'last' does not take these settings"),
    ],
)
def test_settings_that_do_not_fit(part: str, spec: str, reason: str, tiny: BertConfig) -> None:
    assert reason in refused(tiny, **{part: spec})


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("nowhere.to.be.Found", "cannot be imported: No module named 'nowhere'. Is its folder on PYTHONPATH?"),
        (f"{__name__}.Missing", "has no attribute 'Missing'"),
        ("os.getcwd()", "'os.getcwd' is no flax.linen.Module class"),
        (f"{__name__}.NotAVector", f"readout last/{__name__}.NotAVector/none"),
        (f"{__name__}.Explodes", "does not fit this encoder: no such luck"),
    ],
)
def test_a_dotted_path_that_is_no_pooler(path: str, reason: str, tiny: BertConfig) -> None:
    assert reason in refused(tiny, pooling=path)


def test_a_spec_calls_nothing_but_modules(tiny: BertConfig, tmp_path) -> None:
    refused(tiny, pooling=f"os.mkdir('{tmp_path / 'made'}')")
    assert not (tmp_path / "made").exists()
