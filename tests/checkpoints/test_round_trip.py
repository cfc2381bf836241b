"""Every readout that export writes comes back with the same vectors: here, converted again, and in the library."""

import itertools
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax.checkpoints.checkpoint import Carried, Checkpoint
from bert_jax.checkpoints.export import Tuned, express, save_sentence_transformers
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts, pad_tokens
from bert_jax.errors import InputError
from bert_jax.model.encoder import Encoder
from bert_jax.model.pooling import POOLERS
from bert_jax.model.readout import LAYERS, PROJECTIONS, Readout
from bert_jax.pretrained import Pretrained
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.tokenizers.tokenizer_json import save_for_transformers
from experiments import convert
from experiments.cli import run

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog red blue sees runs sleeps very and".split()
TEXTS = ["the cat sees a dog", "", "runs", "very very red and blue dog sleeps"]
CONFIG = BertConfig(len(WORDS), 16, 3, 2, 24, 16)

EXPORTED_LAYERS = ["last", "-2", "0", "avg(1,-1)", "avg(0,2,2)", "mix", "mix(-1,1)"]
EXPORTED_POOLINGS = ["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "last_token", "cls + max", "token(index=0)"]
EXPORTED_PROJECTIONS = [
    *("none", "tanh", "mlp", "mlp(features=5, activation='relu')", "mlp(activation='identity')"),
    "mlp(features=(7, 3), activation=('gelu', 'identity'))",
]
REFUSED = {
    "layers": ["concat(-2,-1)", "max(-2,-1)"],
    "pooling": [
        *("random_token", "lse", "gem", "attention", "map", "mean(special_tokens=False)"),
        *("cls_attention", "latent_attention", "landmark(every=2)"),
    ],
    "projection": ["head"],
}
TO = ("--to", "sentence-transformers")
PROJECTION_OF = itertools.cycle(EXPORTED_PROJECTIONS)
CASES = [(*both, next(PROJECTION_OF)) for both in itertools.product(EXPORTED_LAYERS, EXPORTED_POOLINGS)]
"""Every pair of layers and pooling, and every projection with each of both."""


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> WordPiece:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return WordPiece.from_vocabulary(path)


@pytest.fixture(scope="module")
def encoder(tokenizer: WordPiece) -> Checkpoint:
    shapes = jax.eval_shape(Encoder(CONFIG).init, jax.random.key(0), tokens_of(tokenizer))["params"]
    return Checkpoint(CONFIG, random_like(shapes), carried=Carried(pad_token_id=3, classifier_dropout=0.25))


@pytest.fixture(scope="module")
def states(encoder: Checkpoint, tokenizer: WordPiece):
    """Hidden states of all layers; those of an encoder that was cut are the first of them."""
    return jax.jit(Encoder(CONFIG).apply)({"params": encoder.encoder}, tokens_of(tokenizer))


def random_like(shapes):
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.4).astype(np.float32), shapes)


def tokens_of(tokenizer):
    encodings = encode_texts(tokenizer, TEXTS, None, 16)
    return pad_tokens(encodings, tokenizer.special, len(TEXTS), 16)


def make(encoder: Checkpoint, states, tokenizer: WordPiece, readout: ReadoutConfig, normalize: bool = False) -> Tuned:
    """A model whose readout has random weights, with a gamma that sentence-transformers can express."""
    init = Readout(readout, CONFIG).init
    reader = random_like(jax.eval_shape(init, jax.random.key(0), states, tokens_of(tokenizer)).get("params", {}))
    if "layers" in reader:
        reader["layers"]["gamma"] = np.float32(1 if "projection" not in reader else 1.5)
    return Tuned(encoder, readout, reader, normalize=normalize)


def vectors(tuned: Tuned, tokenizer: WordPiece, encoder: Checkpoint, states) -> np.ndarray:
    """Sentence vectors. The encoder is compared and not run again."""
    jax.tree.map(
        np.testing.assert_array_equal,
        tuned.checkpoint.encoder,
        {k: encoder.encoder[k] for k in tuned.checkpoint.encoder},
    )
    config = tuned.checkpoint.config
    apply = Readout(tuned.readout, config).apply
    rows = np.asarray(apply({"params": tuned.reader}, states[: config.num_layers + 1], tokens_of(tokenizer)))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if tuned.normalize else rows


def as_tuned(bert: Pretrained) -> Tuned:
    assert bert.readout is not None
    return Tuned(bert.checkpoint, bert.readout, bert.reader_params(bert.readout), normalize=bert.normalize)


@pytest.mark.parametrize(("layers", "pooling", "projection"), CASES)
def test_what_is_exported_comes_back(layers, pooling, projection, encoder, states, tokenizer, tmp_path) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs pip install '.[parity]'")
    tuned = make(encoder, states, tokenizer, ReadoutConfig(layers, pooling, projection), pooling == "max")
    expected = vectors(tuned, tokenizer, encoder, states)
    assert np.abs(expected).max() > 0.05
    for folder in (tmp_path / "one", tmp_path / "two"):
        if folder.name == "one":
            folder.mkdir()
            save_sentence_transformers(folder, tuned, 16)
            save_for_transformers(tokenizer, folder, 16)
        else:
            run(convert.main, convert.ConvertConfig, [str(tmp_path / "one"), str(folder), *TO])
        loaded = bert_jax.load(folder)
        assert loaded.checkpoint.carried == encoder.carried
        np.testing.assert_allclose(
            vectors(as_tuned(loaded), loaded.tokenizer, encoder, states), expected, rtol=0, atol=1e-5
        )
    theirs = library.SentenceTransformer(str(tmp_path / "two"), device="cpu").encode(TEXTS, show_progress_bar=False)
    np.testing.assert_allclose(theirs, expected, rtol=0, atol=1e-5)


def test_every_entry_of_the_registries_is_exported_or_refused(encoder, states, tokenizer) -> None:
    """A new layers spec, pooling or projection needs an example above."""
    examples = {
        "layers": (LAYERS, EXPORTED_LAYERS),
        "pooling": (POOLERS, EXPORTED_POOLINGS),
        "projection": (PROJECTIONS, EXPORTED_PROJECTIONS),
    }
    for field, (registry, exported) in examples.items():
        named = {spec.partition("(")[0] for spec in [*exported, *REFUSED[field]]}
        assert set(registry) <= named | {"index"}
        for spec in REFUSED[field]:
            with pytest.raises(InputError, match="cannot be saved"):
                express(make(encoder, states, tokenizer, ReadoutConfig(**{field: spec})))


def test_embed_takes_the_average_of_a_converted_directory(encoder, tokenizer, tmp_path) -> None:
    """The published complaint: `convert --layers avg(1,-1)` wrote a directory that nothing here could load."""
    Pretrained(encoder, tokenizer).save(tmp_path / "plain")
    flags = [str(tmp_path / "plain"), str(tmp_path / "average"), *TO, "--layers", "avg(1,-1)"]
    run(convert.main, convert.ConvertConfig, flags)
    bert = bert_jax.load(tmp_path / "average")
    assert bert.readout == ReadoutConfig("avg(1,3)", "mean", "none")
    expected = bert_jax.load(tmp_path / "plain").embed(TEXTS, layers="avg(1,-1)")
    np.testing.assert_allclose(bert.embed(TEXTS), expected, rtol=0, atol=1e-5)


@pytest.fixture
def averaged(encoder, states, tokenizer, tmp_path) -> Path:
    save_sentence_transformers(tmp_path / "model", make(encoder, states, tokenizer, ReadoutConfig("avg(1,-1)")), 16)
    save_for_transformers(tokenizer, tmp_path / "model", 16)
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("weights", "layers"),
    [
        ([0, 1, 0, 0], "1"),
        ([2, 0, 1, 0], "avg(0,0,2)"),
        ([0.5, 0, 0, 1.5], "mix(0,3)"),
        ([1, 0, 0, -1], "not an average"),
        ([0, 0, 0, 0], "not an average"),
        ([0, np.nan, 0, 1], "layer_weights is not finite"),
        ([1, 1, 1], "needs layer_weights of (4,)"),
    ],
)
def test_weights_of_layers(weights, layers, averaged) -> None:
    save_file({"layer_weights": np.float32(weights)}, averaged / "1_WeightedLayerPooling" / "model.safetensors")
    if " " not in layers:
        assert bert_jax.load(averaged).readout.layers == layers
        return
    with pytest.raises(InputError) as caught:
        bert_jax.load(averaged)
    assert layers in str(caught.value) and "\n" not in str(caught.value)


def test_layers_from_a_later_one_on(averaged) -> None:
    """sentence-transformers counts from layer_start, which is 4 by default."""
    folder = averaged / "1_WeightedLayerPooling"
    settings = json.loads((folder / "config.json").read_text()) | {"layer_start": 2}
    (folder / "config.json").write_text(json.dumps(settings))
    save_file({"layer_weights": np.float32([1, 3])}, folder / "model.safetensors")
    assert bert_jax.load(averaged).readout.layers == "avg(2,3,3,3)"


def test_layers_that_the_encoder_does_not_give(averaged) -> None:
    """Without output_hidden_states the library passes over the weights and pools the last layer."""
    settings = json.loads((averaged / "config.json").read_text())
    assert settings.pop("output_hidden_states") is True
    (averaged / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="lacks output_hidden_states"):
        bert_jax.load(averaged)
    assert len(load_file(averaged / "model.safetensors")) > 10
