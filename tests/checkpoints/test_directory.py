"""Model directories of every layout: what is found in them, here and on the hub, and what is said of those without."""

import fnmatch
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import bert_jax
from bert_jax.checkpoints.checkpoint import Checkpoint, Labels
from bert_jax.checkpoints.directory import fingerprint, load_checkpoint, read_config, resolve
from bert_jax.checkpoints.huggingface import save_checkpoint
from bert_jax.config import BertConfig
from bert_jax.errors import InputError
from bert_jax.model.encoder import Encoder
from bert_jax.types import Params

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ba", "be", "##s"]


@pytest.fixture(scope="module")
def checkpoint(tiny: BertConfig, make_tokens) -> Checkpoint:
    shapes = jax.eval_shape(Encoder(tiny).init, jax.random.key(0), make_tokens([8]))["params"]
    rng = np.random.default_rng(0)
    encoder = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)

    def dense(width: int) -> Params:
        draw = rng.normal(size=(25, width)).astype(np.float32)
        return {"kernel": draw[:24], "bias": draw[24]}

    return Checkpoint(
        tiny,
        encoder,
        dense(24),
        nsp={"dense": dense(2)},
        classifier={"dense": dense(3)},
        labels=Labels(("a", "b", "c")),
    )


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path / "model", checkpoint)
    (tmp_path / "model" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return tmp_path / "model"


def shard(folder: Path) -> Path:
    """Deal the tensors out over two files with an index, which is given back."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"model-0000{n % 2 + 1}-of-00002.safetensors" for n, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: tensor for name, tensor in tensors.items() if files[name] == file}, folder / file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return index


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        bert_jax.load(folder)
    return str(caught.value)


def assert_same(one: Checkpoint, two: Checkpoint) -> None:
    assert (one.config, one.labels, one.heads) == (two.config, two.labels, two.heads)
    for part in ("encoder", *one.heads):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, part), getattr(two, part))


def test_shards_are_the_whole(folder: Path, checkpoint: Checkpoint) -> None:
    before = fingerprint(folder)
    shard(folder)
    assert_same(load_checkpoint(folder), checkpoint)
    assert fingerprint(folder) != before
    assert "model.safetensors.index.json" in repr(bert_jax.load(folder))


def test_shards_that_do_not_fit_their_index(folder: Path) -> None:
    index = shard(folder)
    content = json.loads(index.read_text())
    content["weight_map"] |= {"one": "model-00001-of-00002.safetensors", "two": "model-00001-of-00002.safetensors"}
    index.write_text(json.dumps(content))
    message = refused(folder)
    assert "one is not in model-00001-of-00002.safetensors" in message and "two is not in" in message
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert "lacks files that model.safetensors.index.json names: model-00002-of-00002.safetensors" in refused(folder)
    index.write_text(json.dumps({"weight_map": {"a": "../secret"}}))
    assert "names files outside its folder: ../secret" in refused(folder)
    for text in ("{}", "[]", '{"weight_map": 3}', "{"):
        index.write_text(text)
        assert str(index) in refused(folder)


def test_a_damaged_shard_is_named(folder: Path) -> None:
    shard(folder)
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-5])
    assert refused(folder).startswith(f"{path} is damaged or truncated")


def test_bfloat16_becomes_float32(folder: Path, checkpoint: Checkpoint) -> None:
    path = folder / "model.safetensors"
    short = {name: tensor.astype(jax.numpy.bfloat16) for name, tensor in load_file(path).items()}
    save_file(short, path)
    kernel = load_checkpoint(folder).pooler["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, checkpoint.pooler["kernel"].astype(jax.numpy.bfloat16).astype(np.float32))


def test_whole_numbers_are_no_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file(load_file(path) | {"bert.pooler.dense.bias": np.zeros(24, np.int8)}, path)
    assert "int8 in bert.pooler.dense.bias: weights must be floating-point numbers" in refused(folder)


def test_fingerprint_is_of_the_weights_alone(folder: Path, tmp_path: Path, checkpoint: Checkpoint) -> None:
    before = fingerprint(folder)
    configure(folder, hidden_dropout_prob=0.3)
    assert fingerprint(folder) == before
    save_checkpoint(tmp_path / "other", checkpoint._replace(classifier=None))
    assert fingerprint(tmp_path / "other") != before
    with pytest.raises(InputError, match="has no weights"):
        fingerprint(tmp_path)


def test_a_classifier_says_what_its_outputs_are(folder: Path) -> None:
    configure(folder, id2label={"0": "no", "1": "yes", "2": "?"}, problem_type="multi_label_classification")
    assert load_checkpoint(folder).labels == Labels(("no", "yes", "?"), "multi_label_classification")
    configure(folder, id2label=None)
    assert load_checkpoint(folder).labels.names == ("LABEL_0", "LABEL_1", "LABEL_2")
    configure(folder, id2label={"0": "no", "1": "yes"})
    assert "misshapen classifier.weight: (3, 24) where the config says (2, 24)" in refused(folder)
    configure(folder, id2label={"zero": "no"})
    assert "id2label must map the numbers 0 to" in refused(folder)


@pytest.mark.parametrize(("name", "what"), [("BertForTokenClassification", "labels tokens")])
def test_a_classifier_of_tokens_is_none_of_sentences(name: str, what: str, folder: Path) -> None:
    configure(folder, architectures=[name])
    assert f"describes a {name}, whose classifier {what} and not sentences" in refused(folder)


def test_a_head_of_another_class_is_named(folder: Path) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if not name.startswith("classifier.")}
    save_file(tensors | {"qa_outputs.weight": np.zeros((2, 24), np.float32)}, path)
    configure(folder, architectures=["BertForQuestionAnswering"])
    message = refused(folder)
    assert "unexpected qa_outputs.weight" in message
    assert "The config says BertForQuestionAnswering; known are BertForSequenceClassification, BertForPre" in message


@pytest.mark.parametrize(
    ("kind", "needed"),
    [
        ("mpnet", "relative position biases"),
        ("deberta-v2", "disentangled attention"),
        ("nomic_bert", "rotary positions"),
    ],
)
def test_another_architecture_is_named_with_what_it_would_need(kind: str, needed: str, folder: Path) -> None:
    configure(folder, model_type=kind)
    message = refused(folder)
    assert f"model_type is {kind!r}; 'albert', 'bert', 'distilbert', 'electra', " in message
    assert f"'xlm-roberta' and 'camembert' can be loaded; {kind} would need" in message and needed in message


def test_another_architecture_without_a_model_type(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({name.replace("bert.", "mpnet."): tensor for name, tensor in load_file(path).items()}, path)
    configure(folder, model_type="bert")
    message = refused(folder)
    assert "holds a mpnet encoder, which cannot be loaded" in message and "relative position biases" in message


@pytest.mark.parametrize("rows", [64, 128])
def test_a_vocabulary_matrix_padded_beyond_its_config(rows: int, folder: Path, tmp_path: Path) -> None:
    """60 words padded to a multiple of 8 or 128: the rows are kept, also when it is saved and loaded again."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    words = tensors["bert.embeddings.word_embeddings.weight"]
    padded = np.concatenate([words, np.full((rows - 60, 24), 7, np.float32)])
    save_file(tensors | {"bert.embeddings.word_embeddings.weight": padded}, path)
    bert = bert_jax.load(folder)
    assert bert.config.vocab_size == rows and bert.tokenizer.vocab_size == len(VOCABULARY)
    assert f"{len(VOCABULARY)} tokens in a matrix of {rows} rows" in repr(bert)
    bert.save(tmp_path / "again")
    again = bert_jax.load(tmp_path / "again")
    assert_same(again.checkpoint, bert.checkpoint)


@pytest.mark.parametrize("rows", [61, 56, 192])
def test_a_vocabulary_matrix_of_another_size(rows: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    words = {"bert.embeddings.word_embeddings.weight": np.zeros((rows, 24), np.float32)}
    save_file(load_file(path) | words, path)
    assert f"misshapen bert.embeddings.word_embeddings.weight: ({rows}, 24)" in refused(folder)


def test_a_tokenizer_larger_than_the_matrix(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join([*VOCABULARY, *map(str, range(53))]) + "\n")
    assert "the tokenizer has ids up to 60, config.json's vocab_size is 60" in refused(folder)


def test_what_is_missing(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    assert "has no tokenizer: one of spiece.model, tokenizer.json, vocab.txt, vocab.json is needed" in refused(folder)
    (folder / "model.safetensors").unlink()
    assert refused(folder) == f"{folder} has no model.safetensors and no pytorch_model.bin, whole or in shards"
    (folder / "config.json").unlink()
    assert "it has no config.json" in refused(folder)


def test_a_config_of_the_first_years(folder: Path, checkpoint: Checkpoint) -> None:
    """pytorch-pretrained-bert wrote bert_config.json beside its weights, with its own GELU, the one by erf."""
    (folder / "config.json").rename(folder / "bert_config.json")
    assert read_config(folder).activation == "gelu"
    assert_same(load_checkpoint(folder), checkpoint)


HUB = {
    "safetensors": (["model.safetensors", "pytorch_model.bin", "tf_model.h5"], ["model.safetensors"]),
    "shards": (
        ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ["model.safetensors.index.json", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
    ),
    "torch": (["pytorch_model.bin", "flax_model.msgpack", "onnx/model.onnx"], ["pytorch_model.bin"]),
    "original": (
        ["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.meta"],
        ["bert_model.ckpt.index", "bert_model.ckpt.data-00000-of-00001"],
    ),
}


@pytest.mark.parametrize("layout", HUB)
def test_what_is_fetched_of_the_hub(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is played by a list of names; what the patterns let through is there afterwards."""
    names, expected = HUB[layout]
    common = ["config.json", "vocab.txt", "tokenizer.json", "modules.json", "1_Pooling/config.json", "README.md"]
    cache = tmp_path / "cache"

    def snapshot_download(name: str, allow_patterns: list[str]) -> str:
        assert name == "someone/bert"
        for file in [*names, *common]:
            if any(fnmatch.fnmatch(file, pattern) for pattern in allow_patterns):
                (cache / file).parent.mkdir(parents=True, exist_ok=True)
                (cache / file).write_text('[{"type": "sentence_transformers.models.Transformer", "path": ""}]')
        return str(cache)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve("someone/bert") == cache
    found = {str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()}
    assert found == {*expected, *common} - {"README.md"}
