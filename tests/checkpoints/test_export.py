"""Exported models give the same outputs in transformers and sentence-transformers, or export raises with the reason."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.export import (
    Tuned,
    label_settings,
    resize_vocabulary,
    save_huggingface,
    save_sentence_transformers,
    target_of,
)
from bert_jax.checkpoints.huggingface import load_checkpoint, save_checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts, pad_tokens
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining, SentenceEncoder, SequenceClassifier
from bert_jax.tokenizers.tokenizer import Tokenizer, WordPiece
from bert_jax.tokenizers.tokenizer_json import save_for_transformers

TEXTS = ["the cat sees a dog", "", "runs", "very very red and blue dog sleeps the unknown", "a", "cat and dog and cat"]
PAIRS = ["a dog", "the", "", "sleeps very", "a cat runs", "red"]
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat dog red blue sees runs sleeps very and".split()
LABELS = ("no", "maybe", "yes")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return WordPiece.from_vocabulary(path)


@pytest.fixture(scope="module")
def config(tiny: BertConfig) -> BertConfig:
    return BertConfig(**{**vars(tiny), "vocab_size": len(WORDS)})


def random_params(model, tokens, *more):
    """Weights far from their initialisation, scales and biases included."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), tokens, *more)["params"]
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32), shapes)


def tokens_of(tokenizer: Tokenizer, pairs: list[str] | None = None):
    encodings = encode_texts(tokenizer, TEXTS, pairs, 32)
    return pad_tokens(encodings, tokenizer.special, len(TEXTS), 32)


def make(config: BertConfig, tokenizer: Tokenizer, pooling: str, layers: str, projection: str, labels=LABELS):
    """A classifier with random weights, and its logits of single texts and of pairs."""
    readout = ReadoutConfig(layers, pooling, projection)
    model = SequenceClassifier(config, readout, len(labels) or 1)
    params = random_params(model, tokens_of(tokenizer))
    tuned = Tuned(
        Checkpoint(config, params["encoder"]), readout, params.get("reader", {}), params["classifier"], labels
    )
    apply = jax.jit(lambda tokens: model.apply({"params": params}, tokens))
    return tuned, np.asarray(apply(tokens_of(tokenizer))), np.asarray(apply(tokens_of(tokenizer, PAIRS)))


def make_vectors(config: BertConfig, tokenizer: Tokenizer, pooling: str, layers: str = "last"):
    """An encoder with random weights, and its vectors of `TEXTS`."""
    readout = ReadoutConfig(layers, pooling)
    model = SentenceEncoder(config, readout)
    params = random_params(model, tokens_of(tokenizer))
    vectors = jax.jit(lambda tokens: model.apply({"params": params}, tokens))(tokens_of(tokenizer))
    return Tuned(Checkpoint(config, params["encoder"]), readout, params.get("reader", {})), np.asarray(vectors)


def in_sentence_transformers(folder: Path, tuned: Tuned, tokenizer: Tokenizer, texts) -> np.ndarray:
    library = pytest.importorskip(
        "sentence_transformers", reason="needs sentence-transformers: pip install '.[parity]'"
    )
    save_sentence_transformers(folder, tuned, 32)
    save_for_transformers(tokenizer, folder, 32)
    model = library.SentenceTransformer(str(folder), device="cpu")
    assert model.max_seq_length == 32
    return model.encode(texts, batch_size=4, show_progress_bar=False)


@pytest.mark.parametrize(
    ("pooling", "layers"),
    [
        ("cls", "last"),
        ("mean", "last"),
        ("max", "last"),
        ("mean_sqrt_len", "last"),
        ("weightedmean", "last"),
        ("last_token", "last"),
        ("cls + mean", "last"),
        ("token(index=0) + max + mean_sqrt_len + last_token(special_tokens=True)", "last"),
        ("mean", "-2"),
        ("cls", "1"),
        ("mean", "0"),
        ("mean + weightedmean", "avg(1,-1)"),
        ("cls", "avg(0,2,2)"),
    ],
)
def test_vectors_are_those_of_sentence_transformers(pooling, layers, config, tokenizer, tmp_path) -> None:
    tuned, vectors = make_vectors(config, tokenizer, pooling, layers)
    assert np.abs(vectors).max() > 0.5
    np.testing.assert_allclose(
        in_sentence_transformers(tmp_path / "model", tuned, tokenizer, TEXTS), vectors, rtol=0, atol=1e-5
    )


@pytest.mark.parametrize(
    ("pooling", "layers", "projection", "labels"),
    [
        ("mean", "last", "none", LABELS),
        ("mean", "last", "mlp", ()),
        ("mean + cls", "last", "none", LABELS),
        ("max + cls + mean", "-2", "mlp", LABELS),
        ("weightedmean", "mix", "none", LABELS),
        ("cls", "mix(-1,0,2)", "tanh", LABELS),
        ("cls", "last", "none", LABELS),
    ],
)
def test_a_classifier_answers_the_same_in_sentence_transformers(
    pooling, layers, projection, labels, config, tokenizer, tmp_path
) -> None:
    tuned, single, pairs = make(config, tokenizer, pooling, layers, projection, labels)
    assert target_of(tuned.readout, config) == "sentence-transformers"
    both = [*TEXTS, *zip(TEXTS, PAIRS, strict=True)]
    theirs = in_sentence_transformers(tmp_path / "model", tuned, tokenizer, TEXTS)
    np.testing.assert_allclose(theirs, single, rtol=0, atol=1e-4)
    theirs = in_sentence_transformers(tmp_path / "pairs", tuned, tokenizer, both[len(TEXTS) :])
    np.testing.assert_allclose(theirs, pairs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("labels", [LABELS, ()])
@pytest.mark.parametrize(
    ("layers", "projection"), [("last", "tanh"), ("last", "mlp"), ("-2", "tanh(pretrained=False)")]
)
def test_a_classifier_answers_the_same_in_transformers(labels, layers, projection, config, tokenizer, tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    tuned, single, pairs = make(config, tokenizer, "cls", layers, projection, labels)
    assert target_of(tuned.readout, config) == "huggingface"
    save_huggingface(tmp_path, tuned)
    save_for_transformers(tokenizer, tmp_path, 32)
    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert model.config.num_labels == (len(labels) or 1) and list(model.config.id2label.values()) == list(
        labels or ("score",)
    )
    assert model.config.problem_type == ("single_label_classification" if labels else "regression")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for expected, inputs in ((single, (TEXTS,)), (pairs, (TEXTS, PAIRS))):
        with torch.no_grad():
            logits = model.eval()(**theirs(*inputs, padding=True, truncation=True, return_tensors="pt")).logits
        np.testing.assert_allclose(logits.numpy(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("pooling", "layers", "projection", "reason"),
    [
        (
            "attention(num_heads=2)",
            "last",
            "none",
            "pooling attention(num_heads=2) cannot be saved: neither transformers",
        ),
        ("gem", "last", "mlp", "pooling gem cannot be saved"),
        ("cls + lse", "last", "none", "pooling lse cannot be saved"),
        ("mean(special_tokens=False)", "last", "tanh", "pooling mean(special_tokens=False) cannot be saved"),
        ("cls(special_tokens=False)", "last", "tanh", "pooling cls(special_tokens=False) cannot be saved"),
        ("token(index=3)", "last", "tanh", "pooling token(index=3) cannot be saved"),
        ("mean + mean", "last", "none", "sentence-transformers has each pooling once"),
        ("cls", "concat(-2,-1)", "none", "layers concat(-2,-1) cannot be saved: sentence-transformers can average"),
        ("cls", "mix(1,1)", "none", "layers mix(1,1) cannot be saved: it has a layer twice"),
        (
            "cls",
            "last",
            "mylab.Gate",
            "projection mylab.Gate cannot be saved: sentence-transformers has no such module",
        ),
        ("mylab.poolers.First", "last", "none", "pooling mylab.poolers.First cannot be saved"),
    ],
)
def test_what_cannot_be_expressed_is_refused(pooling, layers, projection, reason, config) -> None:
    with pytest.raises(InputError) as caught:
        target_of(ReadoutConfig(layers, pooling, projection), config)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("pooling", "layers", "projection", "reason"),
    [
        ("mean", "last", "tanh", "reads [CLS], not mean"),
        ("cls", "avg(0,1)", "tanh", "reads one layer, not avg(0,1)"),
        ("cls", "last", "none", "a dense layer with tanh before the classifier"),
    ],
)
def test_transformers_alone_takes_less(pooling, layers, projection, reason, config, tokenizer, tmp_path) -> None:
    tuned, _, _ = make(config, tokenizer, pooling, layers, projection)
    with pytest.raises(InputError) as caught:
        save_huggingface(tmp_path / "model", tuned)
    assert reason in str(caught.value) and not (tmp_path / "model").exists()


def test_vectors_in_another_order_are_refused_with_the_order(config, tokenizer, tmp_path) -> None:
    tuned, _ = make_vectors(config, tokenizer, "mean + cls")
    with pytest.raises(InputError, match=r"concatenates as 'cls \+ mean'; ask for it"):
        save_sentence_transformers(tmp_path / "model", tuned, 32)
    assert not (tmp_path / "model").exists()


def test_a_mix_whose_scale_has_no_place_is_refused(config, tokenizer, tmp_path) -> None:
    tuned, _ = make_vectors(config, tokenizer, "mean", "mix")
    with pytest.raises(InputError, match="layers mix cannot be saved: sentence-transformers has no gamma"):
        save_sentence_transformers(tmp_path / "model", tuned, 32)


def test_the_config_names_the_class_that_has_the_heads(config, tokenizer, tmp_path) -> None:
    tuned, _, _ = make(config, tokenizer, "cls", "last", "tanh")
    pooler = tuned.reader["projection"]["dense"]
    head = {"dense": {"kernel": np.ones((24, 2), np.float32), "bias": np.ones(2, np.float32)}}
    model = BertForPretraining(config, ReadoutConfig(projection="tanh"))
    mlm = random_params(model, tokens_of(tokenizer), np.zeros((len(TEXTS), 2), np.int32))["mlm"]
    encoder = tuned.checkpoint.encoder
    for kind, checkpoint in {
        "BertModel": Checkpoint(config, encoder, pooler),
        "BertForMaskedLM": Checkpoint(config, encoder, mlm=mlm),
        "BertForNextSentencePrediction": Checkpoint(config, encoder, pooler, nsp=head),
        "BertForPreTraining": Checkpoint(config, encoder, pooler, mlm, head),
        "BertForSequenceClassification": Checkpoint(config, encoder, pooler, classifier=tuned.classifier),
    }.items():
        save_checkpoint(tmp_path, checkpoint, label_settings(LABELS) if kind.endswith("Classification") else None)
        assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [kind]
    saved = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(saved["classifier.weight"], tuned.classifier["dense"]["kernel"].T)


@pytest.mark.parametrize("multiple", [8, 128])
def test_a_filled_vocabulary_changes_nothing_and_can_be_emptied(multiple, config, tokenizer, tmp_path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    positions, used = np.zeros((len(TEXTS), 2), np.int32), len(WORDS)
    model = BertForPretraining(config, ReadoutConfig(projection="tanh"))
    tokens = tokens_of(tokenizer)
    params = random_params(model, tokens, positions)
    before = Checkpoint(
        config, params["encoder"], params["reader"]["projection"]["dense"], params["mlm"], params["nsp"]
    )
    after = resize_vocabulary(before, used, multiple)
    assert after.config.vocab_size % multiple == 0 and after.config.vocab_size - used < multiple
    save_checkpoint(tmp_path, after)
    loaded = load_checkpoint(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, resize_vocabulary(loaded, used, 1)[1:5], before[1:5])
    theirs = transformers.BertForPreTraining.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        shares = theirs(
            input_ids=torch.tensor(tokens.ids).long(),
            token_type_ids=torch.tensor(tokens.segments).long(),
            attention_mask=torch.tensor(tokens.mask).long(),
        ).prediction_logits.softmax(-1)[:, 0]
    mlm, _ = jax.jit(lambda: model.apply({"params": params}, tokens, positions))()
    np.testing.assert_allclose(shares[:, :used], jax.nn.softmax(mlm[:, 0]), rtol=0, atol=1e-5)
    assert not shares[:, used:].any()
