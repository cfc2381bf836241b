"""Directories of sentence-transformers: their readout is ours, their vectors too, and what has no equal is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.tokenizers.tokenizer import WordPiece

torch = pytest.importorskip("torch", reason="the reference needs torch: pip install '.[parity]'")
transformers = pytest.importorskip("transformers", reason="the reference needs transformers: pip install '.[parity]'")
reference = pytest.importorskip(
    "sentence_transformers", reason="the reference needs sentence-transformers: pip install '.[parity]'"
)

WORDS = [f"{a}{b}" for a in "bdgklm" for b in "aeiou"]
TEXTS = [" ".join(np.random.default_rng(n).choice(WORDS, n)) for n in (3, 5, 1, 40, 0)]
"""Of which one is cut; all are of one length when they are padded, so that little is compiled."""
POOLINGS = {
    "cls": "cls",
    "mean": "mean",
    "max": "max",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "weightedmean": "weightedmean",
    "lasttoken": "last_token",
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BertModel with a tokenizer."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    settings = {"hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 40}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=40, max_position_embeddings=32, **settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    path = folder / "vocab.txt"
    path.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    WordPiece.from_vocabulary(path).save(folder)
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 8}')
    return folder


def build(encoder: Path, folder: Path, *modules: torch.nn.Module, pooling: object = "mean") -> Path:
    """Save an encoder, a pooling and more modules with sentence-transformers."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    parts = [Transformer(str(encoder)), Pooling(24, pooling), *modules]
    reference.SentenceTransformer(modules=parts, device="cpu").save(str(folder), create_model_card=False)
    return folder


def theirs(folder: Path, texts: list[str] = TEXTS) -> np.ndarray:
    return reference.SentenceTransformer(str(folder), device="cpu").encode(texts)


def configure(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        bert_jax.load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("mode", [*POOLINGS, ("cls", "max", "mean")])
def test_every_pooling_gives_their_vectors(mode: str | tuple[str, ...], encoder: Path, tmp_path: Path) -> None:
    folder = build(encoder, tmp_path, pooling=mode)
    bert = bert_jax.load(folder)
    assert bert.readout == ReadoutConfig("last", POOLINGS[mode] if isinstance(mode, str) else "cls + max + mean")
    assert not bert.normalize
    np.testing.assert_allclose(bert.embed(TEXTS), theirs(folder), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("width", "bias", "activation"),
    [(24, True, "Tanh"), (10, False, "Identity"), (10, True, "GELU"), (24, True, "ReLU")],
)
def test_dense_and_normalize(width: int, bias: bool, activation: str, encoder: Path, tmp_path: Path) -> None:
    from sentence_transformers.base.modules import Dense, Normalize

    torch.manual_seed(1)
    dense = Dense(48, width, bias=bias, activation_function=getattr(torch.nn, activation)())
    folder = build(encoder, tmp_path, dense, Normalize(), pooling=("cls", "mean"))
    bert = bert_jax.load(folder)
    assert (bert.readout.pooling, bert.readout.projection[:3], bert.normalize) == ("cls + mean", "mlp", True)
    vectors = bert.embed(TEXTS)
    np.testing.assert_allclose(vectors, theirs(folder), rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert bert.embed([]).shape == (0, width)


def test_what_the_caller_names_counts(encoder: Path, tmp_path: Path) -> None:
    """Any choice of the caller's is made among the documented defaults, and not mixed with the directory's."""
    from sentence_transformers.base.modules import Normalize

    bert = bert_jax.load(build(encoder, tmp_path, Normalize(), pooling="max"))
    plain = bert_jax.load(encoder)
    assert plain.readout is None
    np.testing.assert_array_equal(bert.embed(TEXTS[:3], pooling="cls"), plain.embed(TEXTS[:3], pooling="cls"))
    np.testing.assert_array_equal(bert.embed(TEXTS[:3], layers="last"), plain.embed(TEXTS[:3]))
    np.testing.assert_array_equal(bert.embed(TEXTS[:3]), plain.embed(TEXTS[:3], pooling="max", normalize=True))


def test_texts_are_cut_where_theirs_are(encoder: Path, tmp_path: Path) -> None:
    folder = build(encoder, tmp_path)
    assert bert_jax.load(folder).max_length == 8
    configure(folder / "sentence_bert_config.json", max_seq_length=5)
    bert = bert_jax.load(folder)
    assert bert.max_length == 5
    np.testing.assert_allclose(bert.embed(TEXTS), theirs(folder), rtol=0, atol=1e-5)
    longer = bert.embed(TEXTS, max_length=8)
    assert np.abs(longer - bert.embed(TEXTS, pooling="mean")).max() > 1e-3, "the limit is of the input, not the readout"


OLD = ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]


@pytest.mark.parametrize("chosen", [["cls_token"], ["lasttoken"], ["mean_tokens", "cls_token", "max_tokens"], []])
def test_the_older_form(chosen: list[str], encoder: Path, tmp_path: Path) -> None:
    """Booleans, in whose order several are joined; names of modules as they were; the encoder in 0_Transformer."""
    folder = build(encoder, tmp_path / "model")
    (folder / "0_Transformer").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        if path.name not in ("modules.json", "config_sentence_transformers.json"):
            path.rename(folder / "0_Transformer" / path.name)
    modules = [
        {"idx": n, "name": str(n), "path": f"{n}_{kind}", "type": f"sentence_transformers.models.{kind}"}
        for n, kind in enumerate(["Transformer", "Pooling"])
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    flags = {f"pooling_mode_{name}": name in chosen for name in OLD}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 24, **flags}))
    bert = bert_jax.load(folder)
    assert bert.readout.pooling.count("+") == max(len(chosen) - 1, 0)
    np.testing.assert_allclose(bert.embed(TEXTS), theirs(folder), rtol=0, atol=1e-5)
    assert bert_jax.checkpoints.directory.fingerprint(folder) == bert_jax.checkpoints.directory.fingerprint(encoder)


def test_the_real_minilm_is_normalized(minilm: Path) -> None:
    bert = bert_jax.load(minilm)
    assert (bert.readout, bert.normalize, bert.max_length) == (ReadoutConfig("last", "mean", "none"), True, 256)
    assert repr(bert).endswith("readout last/mean/none, normalized>")
    texts = ["A man is playing a guitar.", "Nobody came.", ""]
    np.testing.assert_allclose(bert.embed(texts, batch_size=4), theirs(minilm, texts), rtol=0, atol=1e-5)


@pytest.fixture
def plain(encoder: Path, tmp_path: Path) -> Path:
    from sentence_transformers.base.modules import Dense, Normalize

    return build(encoder, tmp_path / "plain", Dense(24, 24), Normalize())


@pytest.mark.parametrize(
    ("file", "changes", "reason"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "median"}, "pooling median; known are cls, max"),
        ("1_Pooling/config.json", {"embedding_dimension": 25}, "pools vectors of 25, where the encoder's have 24"),
        ("2_Dense/config.json", {"activation_function": "torch.nn.Softplus"}, "activation_function Softplus"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual"),
        ("2_Dense/config.json", {"module_input_name": "token_embeddings"}, "module_input_name 'token_embeddings'"),
        ("2_Dense/config.json", {"out_features": 5}, "would fit its config.json and the pooled vectors"),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}, "a default prompt ('query')"),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}, "transformer_task 'fill-mask'"),
    ],
)
def test_what_cannot_be_expressed(file: str, changes: dict[str, object], reason: str, plain: Path) -> None:
    configure(plain / file, **changes)
    message = refused(plain)
    assert reason in message and str((plain / file).parent) in message
    bert = bert_jax.load(plain, encoder_only=True)
    assert (bert.readout, bert.normalize, bert.max_length) == (None, False, None)


@pytest.mark.parametrize(
    ("kinds", "reason"),
    [
        (["Transformer"], "Transformer, nothing; supported are"),
        (["Transformer", "Pooling", "Normalize", "Dense"], "Transformer, Pooling, Normalize, Dense; supported are"),
        (["Transformer", "Pooling", "Dense", "LSTM"], "Transformer, Pooling, Dense, LSTM; supported are"),
        (
            ["Transformer", "Pooling", "WeightedLayerPooling"],
            "Transformer, Pooling, WeightedLayerPooling; supported are",
        ),
        (["Transformer", "WeightedLayerPooling"], "Transformer, WeightedLayerPooling; supported are"),
        (["WordEmbeddings", "Pooling"], "begins with a WordEmbeddings; only a Transformer can be loaded"),
        ([], "lists no modules"),
    ],
)
def test_modules_that_cannot_be_expressed(kinds: list[str], reason: str, plain: Path) -> None:
    paths = {"Transformer": "", "WordEmbeddings": "", "Pooling": "1_Pooling", "Dense": "2_Dense"}
    rows = [{"type": f"sentence_transformers.models.{kind}", "path": paths.get(kind, "3_x")} for kind in kinds]
    (plain / "modules.json").write_text(json.dumps(rows))
    assert reason in refused(plain)


LONG = json.dumps([{"type": "a.Transformer", "path": "x" * 5000}])


@pytest.mark.parametrize(
    "text", ["{}", "[1]", "{", '[{"type": "a.Transformer"}]', '[{"type": "T", "path": "../.."}]', LONG, "[" * 100_000]
)
def test_a_damaged_list_of_modules(text: str, plain: Path) -> None:
    (plain / "modules.json").write_text(text)
    assert str(plain / "modules.json") in refused(plain)


def test_weights_of_a_dense_that_are_not_there(plain: Path) -> None:
    (plain / "2_Dense" / "model.safetensors").unlink()
    assert f"{plain / '2_Dense'} has no model.safetensors" in refused(plain)


def test_lowercasing_before_a_cased_tokenizer(encoder: Path, tmp_path: Path) -> None:
    folder = build(encoder, tmp_path)
    configure(folder / "sentence_bert_config.json", do_lower_case=True)
    assert bert_jax.load(folder).readout is not None, "this tokenizer lowercases anyway"
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "A", "a", "##a"]) + "\n")
    configure(folder / "tokenizer_config.json", do_lower_case=False)
    assert "before a tokenizer that tells capitals apart" in refused(folder)


def test_a_head_that_only_pooling_reads_is_still_there(encoder: Path, tmp_path: Path) -> None:
    checkpoint = bert_jax.load(build(encoder, tmp_path)).checkpoint
    assert isinstance(checkpoint, Checkpoint) and checkpoint.heads == ("pooler",)


def test_dense_weights_of_torch(plain: Path) -> None:
    """As older directories have them."""
    path = plain / "2_Dense" / "model.safetensors"
    expected = bert_jax.load(plain).embed(TEXTS)
    tensors = {name: torch.tensor(tensor) for name, tensor in load_file(path).items()}
    path.unlink()
    torch.save(tensors, plain / "2_Dense" / "pytorch_model.bin")
    np.testing.assert_array_equal(bert_jax.load(plain).embed(TEXTS), expected)
    save_file({"linear.weight": np.zeros((24, 24), np.float32)}, path)
    assert "would fit its config.json and the pooled vectors" in refused(plain)
