"""Fields of config.json: read as transformers reads them, written back as they were, or named in one line."""

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.huggingface import load_checkpoint, read_config, save_checkpoint
from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig
from bert_jax.data.batching import encode_texts
from bert_jax.data.one_segment import check_segments
from bert_jax.errors import InputError
from bert_jax.evaluate.features import extract_features
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.train.finetune import finetune, prepare_task

NUMBERS = {
    **dict.fromkeys(("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"), int),
    **dict.fromkeys(("intermediate_size", "max_position_embeddings", "type_vocab_size"), int),
    **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob", "layer_norm_eps"), float),
    "initializer_range": float,
}
DEEP = json.loads("[" * 500 + "]" * 500)
TINY = {
    "vocab_size": 60,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bare encoder of zeros."""
    config = BertConfig(60, 8, 1, 2, 12, 16)
    save_checkpoint(tmp_path, Checkpoint(config, zeros(config)))
    return tmp_path


def zeros(config: BertConfig):
    d, f, v = config.hidden_size, config.intermediate_size, config.vocab_size

    def dense(n, m):
        return {"kernel": np.zeros((n, m), np.float32), "bias": np.zeros(m, np.float32)}

    norm = {"scale": np.ones(d, np.float32), "bias": np.zeros(d, np.float32)}
    sizes = {"token": v, "position": config.max_length, "segment": config.num_segments}
    block = {"attention": {name: dense(d, d) for name in ("query", "key", "value", "output")}, "attention_norm": norm}
    block |= {"intermediate": dense(d, f), "output": dense(f, d), "output_norm": norm}
    tables = {name: {"embedding": np.zeros((size, d), np.float32)} for name, size in sizes.items()}
    return {"embeddings": {**tables, "norm": norm}, "blocks_0": block}


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400 + len(str(folder)), message
    return message


@pytest.mark.parametrize("value", [None, "1e-12", "24", [1], {"a": 1}, True, DEEP, 2.5], ids=lambda v: repr(v)[:9])
@pytest.mark.parametrize("name", NUMBERS)
def test_what_transformers_refuses_is_refused_by_field(name: str, value: object, folder: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    if NUMBERS[name] is float and value in (True, 2.5):
        return  # a number of the right kind, of which only the range is wrong
    with pytest.raises(Exception, match=name):
        transformers.BertConfig(**TINY | {name: value})
    configure(folder, **{name: value})
    kind = "a whole number" if NUMBERS[name] is int else "a number"
    message = refused(folder)
    assert message.startswith(f"{folder / 'config.json'}: {name} is ") and message.endswith(f"; it must be {kind}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is NaN; it must be finite"),
        ({"layer_norm_eps": float("inf")}, "layer_norm_eps is Infinity; it must be at most 1e+30"),
        ({"layer_norm_eps": -1e-12}, "layer_norm_eps must be positive"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000; it must be at most 1000"),
        ({"hidden_size": 10**40}, "hidden_size is 1000"),
        ({"type_vocab_size": 0}, "num_segments must be at least 1, not 0"),
        ({"model_type": ["bert"]}, 'model_type is ["bert"]; it must be a string'),
        ({"hidden_act": {}}, "hidden_act is {}; it must be a string"),
        ({"is_decoder": "no"}, 'is_decoder is "no"; it must be true or false'),
        ({"position_embedding_type": 3}, "position_embedding_type is 3; it must be a string"),
        ({"architectures": "BertModel"}, 'architectures is "BertModel"; it must be a list'),
        ({"architectures": [["BertModel"]]}, "it must be a list of strings"),
        ({"pad_token_id": "0"}, 'pad_token_id is "0"; it must be a whole number'),
        ({"classifier_dropout": [0.1]}, "classifier_dropout is [0.1]; it must be a number"),
    ],
)
def test_a_value_that_cannot_be(change: dict[str, object], reason: str, folder: Path) -> None:
    configure(folder, **change)
    assert reason in refused(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '{"hidden_size": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_read(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text)
    assert refused(folder).startswith(f"{folder / 'config.json'} is not JSON (")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "C64"])
def test_a_type_that_numpy_lacks_is_named(dtype: str, folder: Path) -> None:
    path = folder / "model.safetensors"
    header, data = {}, b""
    for name, tensor in load_file(path).items():
        size = {"F4": tensor.size // 2, "C64": 8 * tensor.size}.get(dtype, tensor.size)
        header[name] = {"dtype": dtype, "shape": tensor.shape, "data_offsets": [len(data), len(data) + size]}
        data += bytes(size)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    message = refused(folder)
    assert f"is of type {dtype}, which cannot be read" in message and str(path) in message and "float32" in message


@pytest.mark.parametrize(
    ("name", "ours"), [("gelu_python", "gelu"), ("gelu_fast", "gelu_tanh"), ("gelu_python_tanh", "gelu_tanh")]
)
def test_other_names_of_gelu(name: str, ours: str, folder: Path) -> None:
    """The same function in transformers, up to rounding."""
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[parity]'")
    activations = pytest.importorskip("transformers.activations", reason="needs pip install '.[parity]'").ACT2FN
    configure(folder, hidden_act=name)
    assert read_config(folder).activation == ours
    x = torch.linspace(-6, 6, 1001)
    usual = {"gelu": "gelu", "gelu_tanh": "gelu_new"}[ours]
    np.testing.assert_allclose(activations[name](x), activations[usual](x), rtol=0, atol=3e-6)


@pytest.mark.parametrize("pad", [None, 0, 3])
@pytest.mark.parametrize("dropout", [None, 0.3, 0])
def test_what_means_nothing_here_is_written_as_it_was_read(pad: object, dropout: object, folder: Path) -> None:
    configure(folder, pad_token_id=pad, classifier_dropout=dropout)
    checkpoint = load_checkpoint(folder)
    assert checkpoint.carried == ({} if pad == 0 else {"pad_token_id": pad}) | (
        {} if dropout is None else {"classifier_dropout": dropout}
    )
    save_checkpoint(folder, checkpoint)
    written = json.loads((folder / "config.json").read_text())
    assert (written["pad_token_id"], written["classifier_dropout"]) == (pad, dropout)


@pytest.mark.parametrize("name", ["gelu", "gelu_python", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"])
def test_an_activation_keeps_its_name(name: str, folder: Path) -> None:
    """Unless it is changed in between."""
    configure(folder, hidden_act=name)
    checkpoint = load_checkpoint(folder)
    save_checkpoint(folder, checkpoint)
    assert json.loads((folder / "config.json").read_text())["hidden_act"] == name
    save_checkpoint(folder, checkpoint._replace(config=dataclasses.replace(checkpoint.config, activation="relu")))
    assert json.loads((folder / "config.json").read_text())["hidden_act"] == "relu"


def test_two_numbers_of_labels_are_settled_as_in_transformers(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    rng, config = random.Random(0), BertConfig(60, 8, 1, 2, 12, 16)
    pooler = {"kernel": np.zeros((8, 8), np.float32), "bias": np.zeros(8, np.float32)}
    for _ in range(60):
        named = {str(n): f"name {n}" for n in rng.sample(range(6), rng.randint(1, 6)) if n < 4}
        number = rng.choice([None, rng.randint(1, 6), len(named)])
        settings = {} if number is None else {"num_labels": number}
        settings |= {"id2label": named} if named else {}
        if not settings:
            continue
        theirs = transformers.BertConfig(**TINY, **settings)
        outputs = theirs.num_labels
        if not outputs:
            continue
        head = {"dense": {"kernel": np.zeros((8, outputs), np.float32), "bias": np.zeros(outputs, np.float32)}}
        save_checkpoint(folder, Checkpoint(config, zeros(config), pooler, classifier=head))
        raw = {key: value for key, value in json.loads((folder / "config.json").read_text()).items() if "2" not in key}
        (folder / "config.json").write_text(json.dumps(raw | settings))
        if sorted(theirs.id2label) == list(range(outputs)):
            names = tuple(theirs.id2label[n] for n in range(outputs))
            assert load_checkpoint(folder).labels.names == names
        else:
            assert "id2label must map the numbers 0 to" in refused(folder)
    assert "which is ignored" in caplog.text


@pytest.fixture(scope="module")
def one_segment(tmp_path_factory: pytest.TempPathFactory) -> Pretrained:
    path = tmp_path_factory.mktemp("vocab") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b")))
    config = BertConfig(60, 8, 1, 2, 12, 16, num_segments=1)
    return Pretrained(Checkpoint(config, zeros(config)), WordPiece.from_vocabulary(path))


def test_an_encoder_of_one_segment_reads_no_pairs(one_segment: Pretrained) -> None:
    """The second segment would have no embedding: transformers ends in an IndexError there."""
    assert np.isfinite(one_segment.embed(["a b", "b"])).all()
    pairs = encode_texts(one_segment.tokenizer, ["a"], ["b"], 16)
    with pytest.raises(InputError, match=r"this encoder has one segment .* cannot read pairs"):
        extract_features(one_segment, pairs, [ReadoutConfig()])
    check_segments(BertConfig(), pairs)
    rows = Split(["a", "b"], ["b", "a"], np.array([0, 1]))
    task = Task("t", "T", ("a", "b"), ("no", "yes"), ("accuracy",))
    config = FinetuneConfig(epochs=1, batch_size=2, max_length=8)
    data = prepare_task(task, one_segment.tokenizer, rows, {"validation": rows}, config)
    with pytest.raises(InputError, match="cannot read pairs of texts together"):
        finetune(one_segment, data, ReadoutConfig(), config, 0)
