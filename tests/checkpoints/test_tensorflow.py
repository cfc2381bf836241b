"""BERT's original checkpoints: the same weights as Hugging Face's, with the other GELU, and without the optimizer's."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from tensor_bundles import write_bundle

import bert_jax
from bert_jax.checkpoints import huggingface, tensorflow
from bert_jax.checkpoints.directory import fingerprint
from bert_jax.checkpoints.tensor_bundle import read_bundle
from bert_jax.errors import InputError

torch = pytest.importorskip("torch", reason="the reference needs torch: pip install '.[parity]'")
transformers = pytest.importorskip("transformers", reason="the reference needs transformers: pip install '.[parity]'")

CONFIG = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "initializer_range": 0.02,
}
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ba", "be", "##bi"]


def originals_name(name: str) -> str:
    """The variable that google-research/bert has for a tensor of transformers."""
    for ours, theirs in [
        ("cls.predictions.bias", "cls/predictions/output_bias"),
        ("cls.seq_relationship.weight", "cls/seq_relationship/output_weights"),
        ("cls.seq_relationship.bias", "cls/seq_relationship/output_bias"),
        ("classifier.weight", "output_weights"),
        ("classifier.bias", "output_bias"),
    ]:
        if name == ours:
            return theirs
    name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    name = name.replace("_embeddings.weight", "_embeddings")
    return re.sub(r"layer\.(\d+)", r"layer_\1", name.replace(".weight", ".kernel")).replace(".", "/")


def write_both(folder: Path, kind: str, **settings: object) -> tuple[Path, Path]:
    """One model as transformers saves it and as google-research/bert does, with the slots of its optimizer."""
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**CONFIG | settings))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs, original = folder / "huggingface", folder / "original"
    model.save_pretrained(theirs)
    variables = {"global_step": np.array(7, np.int64)}
    for name, tensor in model.named_parameters():
        name, value = originals_name(name), tensor.detach().numpy()
        variables[name] = value.T if name.endswith("/kernel") else value
        variables |= {f"{name}/{slot}": np.zeros_like(variables[name]) for slot in ("adam_m", "adam_v")}
    write_bundle(original / "bert_model.ckpt", variables)
    (original / "bert_config.json").write_text(json.dumps(CONFIG))
    for path in (theirs, original):
        (path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return theirs, original


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_both(tmp_path_factory.mktemp("pretraining"), "BertForPreTraining")


@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertForSequenceClassification"])
def test_the_same_weights_as_hugging_faces(kind: str, tmp_path: Path) -> None:
    theirs, original = write_both(tmp_path, kind, num_labels=3)
    one, two = huggingface.load_checkpoint(theirs), tensorflow.load_checkpoint(original)
    assert one.heads == two.heads
    assert one.labels == two.labels
    assert (one.config.activation, two.config.activation) == ("gelu", "gelu_tanh")
    assert one.config.layer_norm_eps == two.config.layer_norm_eps == 1e-12
    for part in ("encoder", *one.heads):
        jax.tree.map(np.testing.assert_array_equal, getattr(one, part), getattr(two, part))


def test_its_gelu_is_the_approximation(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Its vectors are those of transformers with `gelu_new`, and not with `gelu`."""
    theirs, original = pair
    bert = bert_jax.load(original)
    ids = torch.tensor([bert.tokenizer.encode("ba be babi")])
    vectors = {}
    for name in ("gelu", "gelu_new"):
        model = transformers.BertModel.from_pretrained(theirs, hidden_act=name).eval()
        with torch.no_grad():
            vectors[name] = model(input_ids=ids).last_hidden_state.numpy().mean(1)
    ours = bert.embed(["ba be babi"])
    np.testing.assert_allclose(ours, vectors["gelu_new"], rtol=0, atol=1e-5)
    assert np.abs(ours - vectors["gelu"]).max() > 1e-4


def test_load_says_what_it_found(pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture) -> None:
    _, original = pair
    with caplog.at_level("INFO"):
        bert = bert_jax.load(original)
    assert repr(bert) == (
        f"<Pretrained: 3 layers of 24, gelu (tanh approximation); from {original} (bert_model.ckpt of TensorFlow 1); "
        "heads: pooler, mlm, nsp; absent: classifier; "
        "lowercased (no word piece of vocab.txt has a capital); 8 tokens in a matrix of 60 rows>"
    )
    assert [record.getMessage() for record in caplog.records if "Pretrained" in record.getMessage()] == [
        f"loaded {bert!r}"
    ]


def test_saved_it_is_a_hugging_face_directory(pair: tuple[Path, Path], tmp_path: Path) -> None:
    bert = bert_jax.load(pair[1])
    bert.save(tmp_path / "model")
    again = bert_jax.load(tmp_path / "model")
    assert again.config == bert.config, "its activation too"
    jax.tree.map(np.testing.assert_array_equal, again.checkpoint[1:6], bert.checkpoint[1:6])


def test_its_fingerprint_is_of_its_weights(pair: tuple[Path, Path], tmp_path: Path) -> None:
    theirs, original = pair
    assert len({fingerprint(theirs), fingerprint(original)}) == 2
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in original.glob("bert_model*"):
        (copy / path.name).write_bytes(path.read_bytes())
    assert fingerprint(copy) == fingerprint(original)
    data = copy / "bert_model.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1] + b"\1")
    assert fingerprint(copy) != fingerprint(original)


def test_a_vocabulary_with_capitals_is_cased(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """An original checkpoint says it nowhere else."""
    folder = tmp_path / "cased"
    folder.mkdir()
    for path in pair[1].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert bert_jax.load(folder).tokenizer.encode("Ba") == [2, 5, 3]
    with (folder / "vocab.txt").open("a") as file:
        file.write("Ba\n")
    with pytest.warns(UserWarning, match="taken as cased, because of 'Ba'"):
        assert bert_jax.load(folder).tokenizer.encode("Ba") == [2, len(VOCABULARY), 3]


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        bert_jax.load(folder)
    return str(caught.value)


def test_every_difference_is_listed(tmp_path: Path) -> None:
    variables = {
        "bert/embeddings/word_embeddings": np.zeros((60, 23), np.float32),
        "bert/gate": np.zeros(2, np.float32),
    }
    write_bundle(tmp_path / "bert_model.ckpt", variables)
    assert "no bert_config.json" in refused(tmp_path)
    (tmp_path / "bert_config.json").write_text(json.dumps(CONFIG))
    message = refused(tmp_path)
    assert message.startswith(f"{tmp_path / 'bert_model.ckpt'} does not fit its config:")
    assert "misshapen bert.embeddings.word_embeddings.weight: (60, 23) where the config says (60, 24)" in message
    assert "unexpected bert.gate" in message
    assert "missing bert.encoder.layer.2.output.dense.weight" in message


def test_a_checkpoint_of_tensorflow_2(tmp_path: Path) -> None:
    (tmp_path / "bert_config.json").write_text(json.dumps(CONFIG))
    write_bundle(tmp_path / "ckpt-1", {"model/layer-0/kernel/.ATTRIBUTES/VARIABLE_VALUE": np.zeros(2, np.float32)})
    assert "is an object checkpoint of TensorFlow 2" in refused(tmp_path)


SLOTS = [
    "BERTAdam",
    "BERTAdam_1",
    "AdamWeightDecayOptimizer_1",
    "Momentum",
    "ExponentialMovingAverage",
    "LAMB",
    "adam_v",
]


def test_what_a_training_keeps_of_each_variable_is_passed_over(tmp_path: Path, caplog) -> None:
    """Slots hang below the name of their variable, whatever the optimizer is called."""
    _, original = write_both(tmp_path, "BertForPreTraining")
    expected = tensorflow.load_checkpoint(original)
    prefix = original / "bert_model.ckpt"
    variables = read_bundle(prefix, lambda names: names)
    weights = {name: value for name, value in variables.items() if not name.endswith(("adam_m", "adam_v"))}
    slots = {f"{name}/{slot}": np.ones_like(value) for name, value in weights.items() for slot in SLOTS}
    scalars = ("beta1_power", "beta2_power_1", "global_step_1", "loss_scale", "training/beta1_power")
    write_bundle(prefix, weights | slots | {name: np.ones((), np.float32) for name in scalars})
    caplog.clear()
    found = tensorflow.load_checkpoint(original)
    jax.tree.map(np.testing.assert_array_equal, found[1:6], expected[1:6])
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("bert_jax")]
    assert line.endswith(f"training slots: {', '.join(sorted(SLOTS))}")
    write_bundle(prefix, weights | {"bert/gate/Momentum": np.ones(2, np.float32)})
    assert "unexpected bert.gate.Momentum" in refused(original), "no known variable is above it"


@pytest.mark.parametrize("place", ["", "/home/somebody/run/", "C:\\run\\"])
def test_the_checkpoint_that_its_own_file_names(place: str, pair: tuple[Path, Path], tmp_path: Path) -> None:
    expected = tensorflow.load_checkpoint(pair[1])
    variables = read_bundle(pair[1] / "bert_model.ckpt", lambda names: names)
    write_bundle(tmp_path / "model.ckpt-20", variables)
    write_bundle(tmp_path / "model.ckpt-10", {name: np.zeros_like(value) for name, value in variables.items()})
    (tmp_path / "bert_config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(InputError, match=r"several TensorFlow checkpoints \(model.ckpt-10, model.ckpt-20\); put"):
        tensorflow.load_checkpoint(tmp_path)
    lines = [f'model_checkpoint_path: "{place}model.ckpt-20"', f'all_model_checkpoint_paths: "{place}model.ckpt-10"']
    (tmp_path / "checkpoint").write_text("\n".join(lines))
    jax.tree.map(np.testing.assert_array_equal, tensorflow.load_checkpoint(tmp_path)[1:6], expected[1:6])
    (tmp_path / "checkpoint").write_text(lines[0].replace("20", "30"))
    with pytest.raises(InputError, match=r"`checkpoint` names model.ckpt-30, which is not there"):
        tensorflow.load_checkpoint(tmp_path)
