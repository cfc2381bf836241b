"""`load` and `embed`: what a user calls."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.model.encoder import Encoder
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.tokenizer import WordPiece

WORDS = [f"{a}{b}" for a in "bdgklm" for b in "aeiou"]
rng = np.random.default_rng(0)
TEXTS = [" ".join(rng.choice(WORDS, n)) for n in (3, 20, 1, 7, 3, 0, 12, 1, 28, 5, 9)]
"""Of every length that the encoder takes, one of them empty, not sorted."""


@pytest.fixture(scope="module")
def bert(tiny: BertConfig, make_tokens, tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    """Random weights, large enough that every token matters, and a vocabulary of 30 words."""
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    params = jax.jit(Encoder(tiny).init)(jax.random.key(0), make_tokens([4]))["params"]
    params = jax.tree.map(lambda leaf: np.asarray(10 * leaf if leaf.ndim > 1 else leaf), params)
    draw = np.random.default_rng(1).normal(size=(24, 25), scale=0.2).astype(np.float32)
    pooler = {"kernel": draw[:, :24], "bias": draw[:, 24]}
    return Pretrained(Checkpoint(tiny, params, pooler), WordPiece.from_vocabulary(path))


def refused(function, *args: object, **settings: object) -> str:
    with pytest.raises(InputError) as caught:
        function(*args, **settings)
    assert str(caught.value).count("\n") <= 1
    return str(caught.value)


def by_hand(bert: Pretrained, text: str, max_length: int = 32) -> np.ndarray:
    """The last hidden state [L D] of one text, without padding."""
    ids = np.array([bert.tokenizer.encode(text, max_length=max_length)], np.int32)
    everywhere = np.ones(ids.shape, bool)
    tokens = bert_jax.types.Tokens(ids, np.zeros_like(ids), everywhere, everywhere)
    return np.asarray(jax.jit(Encoder(bert.config).apply)({"params": bert.checkpoint.encoder}, tokens)[-1][0])


def test_vectors_are_those_of_each_text_alone_in_input_order(bert: Pretrained) -> None:
    vectors = bert.embed(TEXTS, batch_size=4)
    assert vectors.shape == (len(TEXTS), 24)
    assert vectors.dtype == np.float32
    for text, vector in zip(TEXTS[:6], vectors, strict=False):
        np.testing.assert_allclose(vector, by_hand(bert, text).mean(0), atol=1e-5)


def test_pooling_cls_is_the_first_token(bert: Pretrained) -> None:
    vectors = bert.embed(TEXTS[:2], pooling="cls")
    np.testing.assert_allclose(vectors, [by_hand(bert, text)[0] for text in TEXTS[:2]], atol=1e-5)


def test_batch_size_does_not_matter(bert: Pretrained) -> None:
    vectors = bert.embed(TEXTS, batch_size=64)
    for batch_size in (1, 3, len(TEXTS)):
        np.testing.assert_allclose(bert.embed(TEXTS, batch_size=batch_size), vectors, rtol=0, atol=1e-6)


def test_equal_texts_have_equal_vectors_and_calls_repeat(bert: Pretrained) -> None:
    vectors = bert.embed([*TEXTS, TEXTS[0]], batch_size=5)
    np.testing.assert_allclose(vectors[-1], vectors[0], atol=1e-6)
    assert len(np.unique(vectors[:-1].round(4), axis=0)) == len(set(TEXTS))
    np.testing.assert_array_equal(bert.embed([*TEXTS, TEXTS[0]], batch_size=5), vectors)


def test_no_texts_give_no_rows_of_the_right_width(bert: Pretrained) -> None:
    assert bert.embed([]).shape == (0, 24)
    assert bert.embed([], pooling="cls + mean", layers="concat(1,2)").shape == (0, 96)
    assert bert.embed([]).dtype == np.float32


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean(special_tokens=False)", "last_token"])
def test_an_empty_text_has_a_vector(pooling: str, bert: Pretrained) -> None:
    vectors = bert.embed(["", "ba", "  \n"], pooling=pooling)
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-6)


def test_a_long_text_is_cut_at_the_encoders_limit(bert: Pretrained) -> None:
    words = ["ba", "de", "gi"] * 50
    long, fits, other = " ".join(words), " ".join(words[:30]), " ".join(words[:29])
    vectors = bert.embed([long, fits, other])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3
    np.testing.assert_allclose(bert.embed([long], max_length=1000), vectors[:1], atol=1e-6)


def test_max_length_cuts_earlier(bert: Pretrained) -> None:
    vector = bert.embed(["ba de gi ko lu"], max_length=5)[0]
    np.testing.assert_allclose(vector, bert.embed(["ba de gi"])[0], atol=1e-6)
    np.testing.assert_allclose(vector, by_hand(bert, "ba de gi ko lu", max_length=5).mean(0), atol=1e-5)


def test_projection_tanh_is_the_trained_pooler(bert: Pretrained) -> None:
    pooler = bert.checkpoint.pooler
    expected = np.tanh(bert.embed(TEXTS, "cls") @ pooler["kernel"] + pooler["bias"])
    np.testing.assert_allclose(bert.embed(TEXTS, "cls", projection="tanh"), expected, atol=1e-5)


def test_projection_tanh_of_a_real_model_is_that_of_transformers(minilm: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    texts = ["A man is playing a guitar.", "Nobody came.", ""]
    inputs = transformers.AutoTokenizer.from_pretrained(minilm)(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = transformers.BertModel.from_pretrained(minilm).eval()(**inputs).pooler_output.numpy()
    vectors = bert_jax.load(minilm).embed(texts, pooling="cls", projection="tanh", batch_size=4)
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("readout", [{"pooling": "gem(p=2.0)"}, {"layers": "concat(-2,-1)"}])
def test_weights_that_start_as_constants_can_embed(readout: dict[str, str], bert: Pretrained) -> None:
    assert np.isfinite(bert.embed(["ba de"], **readout)).all()


@pytest.mark.parametrize(
    "readout",
    [
        {"projection": "mlp"},
        {"projection": "tanh(pretrained=False)"},
        {"pooling": "attention"},
        {"pooling": "cls + map"},
    ],
)
def test_weights_drawn_at_random_cannot(readout: dict[str, str], bert: Pretrained) -> None:
    assert "has weights drawn at random: train it before embedding with it" in refused(bert.embed, ["ba"], **readout)


def test_an_untrained_pooler_under_a_trained_projection_cannot(bert: Pretrained) -> None:
    message = refused(bert.embed, ["ba"], pooling="attention", projection="tanh")
    assert "has weights drawn at random: train it before embedding with it" in message


def test_projection_tanh_needs_the_checkpoints_pooler(bert: Pretrained) -> None:
    bare = dataclasses.replace(bert, checkpoint=bert.checkpoint._replace(pooler=None))
    assert "this checkpoint has no trained pooler.dense; use mlp" in refused(bare.embed, ["ba"], projection="tanh")


def test_projection_tanh_needs_a_vector_as_wide_as_the_encoder(bert: Pretrained) -> None:
    message = refused(bert.embed, ["ba"], pooling="cls + mean", projection="tanh")
    assert "the trained pooler takes vectors of 24, last/cls + mean gives 48" in message


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"pooling": "maen"}, "unknown pooling 'maen'. Did you mean 'mean'?"),
        ({"layers": "9"}, "there is no layer 9"),
        ({"projection": "dense"}, "unknown projection 'dense'"),
        ({"pooling": "mean("}, "cannot read the spec 'mean('"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"batch_size": -8}, "batch_size must be at least 1, not -8"),
        ({"max_length": 2}, "max_length must be at least 3"),
        ({"max_length": 0}, "max_length must be at least 3"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, object], reason: str, bert: Pretrained) -> None:
    assert reason in refused(bert.embed, ["ba"], **settings)


def test_one_text_is_not_a_list_of_letters(bert: Pretrained) -> None:
    assert "write embed([text])" in refused(bert.embed, "ba de")
    assert "embed takes a list of texts, not None" in refused(bert.embed, None)


def test_texts_may_come_from_any_iterable(bert: Pretrained) -> None:
    np.testing.assert_array_equal(bert.embed(text for text in TEXTS[:3]), bert.embed(TEXTS[:3]))


@pytest.mark.parametrize(
    ("item", "found"),
    [
        (None, "is None"),
        (("ba", "de"), "is a tuple of 2"),
        (["ba"], "is a list of 1"),
        (float("nan"), "is nan"),
        (b"ba", "is b'ba'"),
        ("ba \ud800", "holds \\ud800, half of a surrogate pair"),
    ],
)
def test_an_item_that_is_no_text_is_named_by_its_place(item: object, found: str, bert: Pretrained) -> None:
    assert f"item 2 (counted from 0) {found}" in refused(bert.embed, ["ba", "de", item, "gi"])


def test_a_vector_that_is_not_finite_is_an_error_that_names_its_text(bert: Pretrained) -> None:
    encoder = jax.tree.map(np.array, bert.checkpoint.encoder)
    (word,) = bert.tokenizer.pieces(["gi"])[0]
    encoder["embeddings"]["token"]["embedding"][word] = 3e38
    large = dataclasses.replace(bert, checkpoint=bert.checkpoint._replace(encoder=encoder))
    assert np.isfinite(large.embed(["ba", "de"])).all()
    assert "the encoder's output for text 2 is not finite" in refused(large.embed, ["ba", "gi", "de"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_neither_loaded_nor_saved(
    value: float, bert: Pretrained, tmp_path: Path
) -> None:
    bert.save(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["embeddings.LayerNorm.bias"][3] = value
    save_file(tensors, path)
    assert "not finite bert.embeddings.LayerNorm.bias: 1 of its 24 numbers" in refused(bert_jax.load, tmp_path)
    before = path.read_bytes()
    encoder = jax.tree.map(np.array, bert.checkpoint.encoder)
    encoder["embeddings"]["norm"]["bias"][3] = value
    broken = dataclasses.replace(bert, checkpoint=bert.checkpoint._replace(encoder=encoder))
    assert "embeddings.LayerNorm.bias is not finite" in refused(broken.save, tmp_path)
    assert path.read_bytes() == before


def test_saved_and_loaded_is_the_same(bert: Pretrained, tmp_path: Path) -> None:
    bert.save(str(tmp_path / "model"))
    again = bert_jax.load(str(tmp_path / "model"))
    np.testing.assert_array_equal(again.embed(TEXTS), bert.embed(TEXTS))
    assert again.tokenizer.encode("ba de", "gi") == bert.tokenizer.encode("ba de", "gi")
    assert again.config == bert.config


def test_a_tokenizer_of_another_model_is_refused(bert: Pretrained, tmp_path: Path) -> None:
    bert.save(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with (tmp_path / "vocab.txt").open("a") as file:
        file.writelines(f"##more{n}\n" for n in range(26))
    message = refused(bert_jax.load, tmp_path)
    assert "the tokenizer has ids up to 60, config.json's vocab_size is 60" in message


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    assert refused(bert_jax.load, tmp_path / "nowhere") == f"there is no model directory {tmp_path / 'nowhere'}"
