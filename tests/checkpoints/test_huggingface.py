"""Model directories: what is saved comes back to the bit, transformers reads it, and what does not fit is listed."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.directory import resolve
from bert_jax.checkpoints.huggingface import load_checkpoint, read_config, save_checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining

READOUT = ReadoutConfig("last", "cls", "tanh")


@pytest.fixture(scope="module")
def checkpoint(tiny: BertConfig, make_tokens) -> Checkpoint:
    """Random weights everywhere, biases and scales included."""
    model = BertForPretraining(tiny, READOUT)
    shapes = jax.eval_shape(model.init, jax.random.key(0), make_tokens([8]), np.zeros((1, 2), np.int32))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32), shapes)
    pooler = params["reader"]["projection"]["dense"]
    return Checkpoint(tiny, params["encoder"], pooler, params["mlm"], params["nsp"])


@pytest.fixture
def folder(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    save_checkpoint(tmp_path / "model", checkpoint)
    return tmp_path / "model"


def rewrite(folder: Path, change) -> None:
    """Pass the tensors of a saved model through `change`, which may edit them or return others."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path)


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    return str(caught.value)


def assert_same(one: Checkpoint, two: Checkpoint) -> None:
    assert one.config == two.config
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y, strict=True), one[1:], two[1:])


def test_saved_and_loaded_is_the_same_to_the_bit(folder: Path, checkpoint: Checkpoint) -> None:
    assert_same(load_checkpoint(folder), checkpoint)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_every_setting_comes_back(activation: str, tmp_path: Path, checkpoint: Checkpoint) -> None:
    config = BertConfig(60, 24, 3, 2, 40, 32, 2, activation, 0.2, 0.3, 1e-6, 0.01)
    save_checkpoint(tmp_path, checkpoint._replace(config=config))
    assert read_config(tmp_path) == config


def test_heads_are_optional(tmp_path: Path, checkpoint: Checkpoint) -> None:
    bare = checkpoint._replace(pooler=None, mlm=None, nsp=None)
    save_checkpoint(tmp_path, bare)
    assert_same(load_checkpoint(tmp_path), bare)


def test_transformers_reads_what_we_write(folder: Path, checkpoint: Checkpoint, make_tokens) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install '.[parity]'")
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install '.[parity]'")
    theirs, info = transformers.BertForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(info[problem] for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = make_tokens([9, 5])
    with torch.no_grad():
        expected = theirs.eval()(
            input_ids=torch.tensor(tokens.ids).long(),
            token_type_ids=torch.tensor(tokens.segments).long(),
            attention_mask=torch.tensor(tokens.mask).long(),
        )
    params = {
        "encoder": checkpoint.encoder,
        "reader": {"projection": {"dense": checkpoint.pooler}},
        "mlm": checkpoint.mlm,
        "nsp": checkpoint.nsp,
    }
    positions = np.tile(np.arange(9, dtype=np.int32), (2, 1))
    mlm, nsp = BertForPretraining(checkpoint.config, READOUT).apply({"params": params}, tokens, positions)
    np.testing.assert_allclose(
        np.asarray(mlm)[tokens.mask], expected.prediction_logits.numpy()[tokens.mask], rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(nsp[:, ::-1], expected.seq_relationship_logits.numpy(), rtol=0, atol=1e-4)


def test_class_0_of_a_published_checkpoint_is_that_b_follows(folder: Path, checkpoint: Checkpoint) -> None:
    """A head that always answers "B follows A", as BERT's own code numbers its classes, does so with us."""

    def always_next(tensors: dict[str, np.ndarray]) -> None:
        tensors["cls.seq_relationship.weight"] *= 0
        tensors["cls.seq_relationship.bias"] = np.float32([9, -9])

    rewrite(folder, always_next)
    nsp = load_checkpoint(folder).nsp
    assert nsp["dense"]["bias"].argmax() == 1, "PretrainBatch.is_next is 1 where segment B follows A"
    save_checkpoint(folder, checkpoint._replace(nsp=nsp))
    np.testing.assert_array_equal(load_file(folder / "model.safetensors")["cls.seq_relationship.bias"], [9, -9])


def test_names_without_bert_in_front(folder: Path, checkpoint: Checkpoint) -> None:
    """As BertModel is saved, by itself."""
    rewrite(
        folder, lambda tensors: {name.removeprefix("bert."): t for name, t in tensors.items() if "cls." not in name}
    )
    assert_same(load_checkpoint(folder), checkpoint._replace(mlm=None, nsp=None))


def test_names_of_tensorflows_layer_norm(folder: Path, checkpoint: Checkpoint) -> None:
    def old(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    rewrite(folder, lambda tensors: {old(name): tensor for name, tensor in tensors.items()})
    assert any(name.endswith("gamma") for name in load_file(folder / "model.safetensors"))
    assert_same(load_checkpoint(folder), checkpoint)


def test_buffers_and_copies_of_tied_weights_are_passed_over(folder: Path, checkpoint: Checkpoint) -> None:
    def as_some_versions_save(tensors: dict[str, np.ndarray]) -> None:
        tensors["bert.embeddings.position_ids"] = np.arange(32)[None]
        tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].copy()

    rewrite(folder, as_some_versions_save)
    assert_same(load_checkpoint(folder), checkpoint)


def test_an_output_matrix_of_its_own_is_refused(folder: Path) -> None:
    """We tie the output to the embedding; another matrix must not be dropped in silence."""
    rewrite(folder, lambda tensors: tensors.update({"cls.predictions.decoder.weight": np.ones((60, 24), np.float32)}))
    assert "untied cls.predictions.decoder.weight" in refused(folder)


def test_half_precision_becomes_float32(folder: Path, checkpoint: Checkpoint) -> None:
    rewrite(folder, lambda tensors: {name: tensor.astype(np.float16) for name, tensor in tensors.items()})
    halved = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), checkpoint[1:5])
    assert_same(load_checkpoint(folder), Checkpoint(checkpoint.config, *halved))


def test_every_misfit_is_listed(folder: Path) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> None:
        del tensors["bert.encoder.layer.1.output.dense.bias"]
        del tensors["cls.seq_relationship.bias"]
        tensors["bert.encoder.layer.3.output.dense.bias"] = np.zeros(24, np.float32)
        tensors["classifier.weight"] = np.zeros((2, 24), np.float32)
        tensors["bert.encoder.layer.0.intermediate.dense.weight"] = np.zeros((24, 40), np.float32)
        tensors["cls.predictions.bias"] = np.zeros((), np.float32)

    rewrite(folder, spoil)
    head, *problems = refused(folder).splitlines()
    assert head == f"{folder / 'model.safetensors'} does not fit its config:"
    assert [problem.strip() for problem in problems] == [
        "missing classifier.bias",
        "missing bert.encoder.layer.1.output.dense.bias",
        "missing cls.seq_relationship.bias",
        "unexpected bert.encoder.layer.3.output.dense.bias",
        "misshapen bert.encoder.layer.0.intermediate.dense.weight: (24, 40) where the config says (40, 24)",
        "misshapen cls.predictions.bias: () where the config says (60,)",
    ]


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    configure(folder, vocab_size=61)
    message = refused(folder)
    assert "misshapen bert.embeddings.word_embeddings.weight: (60, 24) where the config says (61, 24)" in message
    configure(folder, vocab_size=60, num_hidden_layers=2)
    assert "unexpected bert.encoder.layer.2.output.dense.weight" in refused(folder)


@pytest.mark.parametrize("keep", [0, 4, 100, 5000])
def test_a_truncated_file_is_refused(keep: int, folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert refused(folder).startswith(f"{path} is damaged or truncated")


def test_a_folder_without_its_files(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refused(folder) == f"{folder} has no model.safetensors and no pytorch_model.bin, whole or in shards"
    assert refused(tmp_path) == f"{tmp_path} is not a Hugging Face model directory: it has no config.json"


@pytest.mark.parametrize("text", ["{", "", "[]", "3", "\xff"])
def test_a_config_that_is_no_json_object(text: str, folder: Path) -> None:
    (folder / "config.json").write_text(text, encoding="latin-1")
    assert str(folder / "config.json") in refused(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "xlnet"}, "model_type is 'xlnet'; 'albert', 'bert', 'distilbert', 'electra', "),
        ({"hidden_act": "swish"}, "hidden_act 'swish' is not one of gelu, gelu_python, gelu_new, gelu_pytorch_tanh"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key' is not supported"),
        ({"num_attention_heads": 7}, "hidden_size 24 is not a multiple of num_heads 7"),
        ({"hidden_size": "24"}, "config.json: "),
        ({"num_hidden_layers": 0}, "num_layers must be at least 1, not 0"),
    ],
)
def test_a_config_of_something_else(change: dict[str, object], reason: str, folder: Path) -> None:
    configure(folder, **change)
    message = refused(folder)
    assert reason in message and "\n" not in message


@pytest.mark.parametrize("name", ["/no/such/folder", "./model", "~/no/such/folder"])
def test_a_directory_that_is_not_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"there is no model directory {name}"):
        resolve(name)


def test_a_file_is_no_model_directory(folder: Path) -> None:
    with pytest.raises(InputError, match="there is no model directory"):
        resolve(str(folder / "config.json"))


def test_a_hub_id_that_cannot_be_fetched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> str:
        raise OSError("no network\nand a long story")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(InputError) as caught:
        resolve("someone/bert")
    assert str(caught.value) == "'someone/bert' is not a local directory and cannot be fetched from the hub: no network"
