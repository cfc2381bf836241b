"""Features from one pass are those of as many calls of embed."""

import numpy as np
import pytest
from worlds import sentence, write_encoder

from bert_jax.config import ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate import features
from bert_jax.evaluate.features import extract_features

TEXTS = [sentence(np.random.default_rng(seed), 1 + seed % 11) for seed in range(23)] + [""]
POOLINGS = ("cls", "mean", "max(special_tokens=False)", "cls + weightedmean", "gem")
LAYERS = ("0", "1", "last", "avg(0,1)")
GRID = [ReadoutConfig(layers, pooling) for layers in LAYERS for pooling in POOLINGS] + [
    ReadoutConfig(projection="tanh")
]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    import bert_jax

    folder = tmp_path_factory.mktemp("features") / "encoder"
    write_encoder(folder)
    return bert_jax.load(folder)


def encodings(pretrained, texts=TEXTS):
    return encode_texts(pretrained.tokenizer, texts, None, 32)


@pytest.mark.parametrize("limit", [features.IN_MEMORY, 0], ids=["in memory", "in a file"])
def test_they_equal_embed_for_every_layer_pooling_and_projection(pretrained, monkeypatch, tmp_path, limit):
    monkeypatch.setattr(features, "IN_MEMORY", limit)
    found = extract_features(pretrained, encodings(pretrained), GRID, 8, tmp_path)
    assert list(found) == GRID and not list(tmp_path.iterdir())
    for spec, vectors in found.items():
        assert isinstance(vectors, np.memmap) == (limit == 0)
        wanted = pretrained.embed(TEXTS, spec.pooling, spec.layers, spec.projection, batch_size=8)
        np.testing.assert_allclose(vectors, wanted, atol=1e-5, err_msg=str(spec))


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_neither_order_nor_batches_matter(pretrained, batch_size):
    order = np.random.default_rng(0).permutation(len(TEXTS))
    one = extract_features(pretrained, encodings(pretrained), GRID[:5], 8)
    other = extract_features(pretrained, encodings(pretrained, [TEXTS[i] for i in order]), GRID[:5], batch_size)
    for spec in GRID[:5]:
        np.testing.assert_allclose(other[spec], one[spec][order], atol=1e-5)


def test_the_encoder_reads_every_text_once(pretrained, monkeypatch):
    read, real = [], features.predict_batches

    def counted(step, params, rows, *rest):
        read.append(len(rows))
        return real(step, params, rows, *rest)

    monkeypatch.setattr(features, "predict_batches", counted)
    told = []
    extract_features(pretrained, encodings(pretrained), GRID, 8, on_rows=told.append)
    assert read == [len(TEXTS)] and sum(told) == len(TEXTS)


def test_no_texts_give_arrays_without_rows_as_wide_as_embed_gives_them(pretrained, monkeypatch):
    monkeypatch.setattr(features, "predict_batches", lambda *_: pytest.fail("the encoder reads nothing"))
    found = extract_features(pretrained, [], GRID)
    assert list(found) == GRID
    for spec, vectors in found.items():
        wanted = pretrained.embed([], spec.pooling, spec.layers, spec.projection)
        assert (vectors.shape, vectors.dtype) == (wanted.shape, np.float32)


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        (ReadoutConfig(pooling="attention"), "drawn at random"),
        (ReadoutConfig(projection="mlp"), "drawn at random"),
        (ReadoutConfig(pooling="maen"), "Did you mean 'mean'"),
        (ReadoutConfig(layers="9"), "no layer 9"),
    ],
)
def test_a_readout_that_cannot_be_read_from_a_frozen_encoder_is_refused(pretrained, readout, message):
    with pytest.raises(InputError, match=message):
        extract_features(pretrained, encodings(pretrained), [GRID[0], readout])


def test_a_blind_first_token_reads_nothing_and_an_open_one_all(pretrained):
    grid = [ReadoutConfig("last", "cls"), ReadoutConfig("last", "mean")]
    whole = extract_features(pretrained, encodings(pretrained), grid, 8)
    open_eyed = extract_features(pretrained, encodings(pretrained), grid, 8, blind=np.array([False]))
    blind = extract_features(pretrained, encodings(pretrained), grid, 8, blind=np.array([True]))
    assert np.ptp(whole[grid[0]], 0).max() > 0.1
    np.testing.assert_allclose(np.ptp(blind[grid[0]], 0), 0, atol=1e-6)
    assert np.ptp(blind[grid[1]], 0).max() > 0.1
    for readout in grid:
        np.testing.assert_array_equal(open_eyed[readout], whole[readout])
