"""Heads that are not BERT's own, and names with a prefix: the encoder comes out, and no head is taken for another."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.huggingface import load_checkpoint
from bert_jax.errors import InputError

torch = pytest.importorskip("torch", reason="the reference needs torch: pip install '.[parity]'")
transformers = pytest.importorskip("transformers", reason="the reference needs transformers: pip install '.[parity]'")

CONFIG = {
    "vocab_size": 60,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 40,
    "max_position_embeddings": 32,
}
TAGS = {0: "O", 1: "B-PER", 2: "I-PER"}


def write(folder: Path, kind: str, **settings: object) -> Path:
    """A random model of a class of transformers."""
    torch.manual_seed(0)
    getattr(transformers, kind)(transformers.BertConfig(**CONFIG, **settings)).save_pretrained(folder)
    return folder


def rewrite(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path)


def configure(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_checkpoint(folder)
    assert "encoder_only=True" in str(caught.value), "the remedy"
    return str(caught.value)


def encoder_of(folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[Checkpoint, str]:
    """The encoder alone, which must be what transformers' BertModel takes of the folder; and what the log says."""
    caplog.clear()
    checkpoint = load_checkpoint(folder, encoder_only=True)
    theirs = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).state_dict()
    table = checkpoint.encoder["embeddings"]["token"]["embedding"]
    np.testing.assert_array_equal(table, theirs["embeddings.word_embeddings.weight"].numpy())
    kernel = checkpoint.encoder["blocks_1"]["output"]["kernel"]
    np.testing.assert_array_equal(kernel.T, theirs["encoder.layer.1.output.dense.weight"].numpy())
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("bert_jax")]
    assert len(lines) <= 1
    return checkpoint, "".join(lines)


@pytest.mark.parametrize(
    ("kind", "reason", "passed_over"),
    [
        ("BertForQuestionAnswering", "unexpected qa_outputs.weight", "qa_outputs"),
        ("BertForTokenClassification", "whose classifier labels tokens and not sentences", "classifier"),
        ("BertForMultipleChoice", "whose classifier scores choices and not sentences", "classifier"),
    ],
)
def test_a_head_of_another_class(kind: str, reason: str, passed_over: str, tmp_path: Path, caplog) -> None:
    write(tmp_path, kind)
    assert reason in refused(tmp_path)
    checkpoint, line = encoder_of(tmp_path, caplog)
    assert checkpoint.classifier is None
    assert line == f"{tmp_path / 'model.safetensors'}: skipped tensors that are not part of the encoder: {passed_over}"


def test_a_token_classifier_that_does_not_say_so(tmp_path: Path, caplog) -> None:
    """Its tensors have the names of a sentence classifier's; what gives it away is that it has no pooler."""
    write(tmp_path, "BertForTokenClassification", num_labels=3)
    configure(tmp_path, architectures=None)
    assert "without a pooler it is one of tokens" in refused(tmp_path)
    assert encoder_of(tmp_path, caplog)[0].heads == ()


def test_a_token_classifier_of_the_first_years(tmp_path: Path) -> None:
    """Then it had a pooler, which nothing read; its labels still tell."""
    write(tmp_path, "BertForSequenceClassification", id2label=TAGS)
    assert load_checkpoint(tmp_path).heads == ("pooler", "classifier")
    configure(tmp_path, architectures=None)
    assert "labels such as 'B-PER' are those of tokens" in refused(tmp_path)
    configure(tmp_path, id2label={"0": "no", "1": "yes", "2": "B"})
    assert load_checkpoint(tmp_path).labels.names == ("no", "yes", "B")


def test_a_classifier_of_an_unknown_class(tmp_path: Path, caplog) -> None:
    write(tmp_path, "BertForSequenceClassification")
    configure(tmp_path, architectures=["BertForMeanClassification"])
    assert "describes a BertForMeanClassification, which is unknown" in refused(tmp_path)
    assert encoder_of(tmp_path, caplog)[0].heads == ("pooler",)


def test_a_sentence_classifier_needs_its_pooler(tmp_path: Path, caplog) -> None:
    write(tmp_path, "BertForSequenceClassification")
    rewrite(tmp_path, lambda tensors: {name: t for name, t in tensors.items() if "pooler" not in name})
    assert "missing bert.pooler.dense.weight" in refused(tmp_path)
    assert encoder_of(tmp_path, caplog)[0].heads == ()


def test_heads_that_do_not_fit_are_passed_over_one_by_one(tmp_path: Path, caplog) -> None:
    write(tmp_path, "BertForPreTraining")

    def spoil(tensors):
        del tensors["cls.seq_relationship.bias"]
        return tensors | {"crf.transitions": np.zeros((2, 2), np.float32), "lstm.weight": np.zeros(2, np.float32)}

    rewrite(tmp_path, spoil)
    assert "missing cls.seq_relationship.bias" in refused(tmp_path)
    checkpoint, line = encoder_of(tmp_path, caplog)
    assert checkpoint.heads == ("pooler", "mlm") and line.endswith(": cls.seq_relationship, crf, lstm")


def test_an_encoder_that_does_not_fit_is_never_passed_over(tmp_path: Path) -> None:
    write(tmp_path, "BertModel")
    rewrite(tmp_path, lambda tensors: tensors | {"encoder.layer.2.output.dense.bias": np.zeros(24, np.float32)})
    with pytest.raises(InputError, match=r"unexpected bert.encoder.layer.2") as caught:
        load_checkpoint(tmp_path, encoder_only=True)
    assert "encoder_only" not in str(caught.value), "no remedy"


PREFIXES = ["module.", "model.", "bert.", "module.bert.", "0.auto_model.", "_orig_mod.", "encoder.", "embeddings."]


@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertForSequenceClassification", "BertModel"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_prefix_in_front_of_every_name(prefix: str, kind: str, tmp_path: Path) -> None:
    write(tmp_path, kind)
    plain = load_checkpoint(tmp_path)
    rewrite(tmp_path, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    found = load_checkpoint(tmp_path)
    assert found.heads == plain.heads
    jax.tree.map(np.testing.assert_array_equal, found[1:6], plain[1:6])


def test_a_head_beside_a_prefix_is_not_bert_s(tmp_path: Path, caplog) -> None:
    """A class with `self.model = BertModel(...)` and a classifier of its own, which may read anything."""
    write(tmp_path, "BertModel")
    expected = load_checkpoint(tmp_path)
    head = {"classifier.weight": np.zeros((2, 24), np.float32), "classifier.bias": np.zeros(2, np.float32)}
    rewrite(tmp_path, lambda tensors: {f"model.{name}": tensor for name, tensor in tensors.items()} | head)
    assert "unexpected classifier.weight, which lacks the prefix of the encoder's names" in refused(tmp_path)
    found = load_checkpoint(tmp_path, encoder_only=True)
    assert found.heads == ("pooler",) and caplog.messages[-1].endswith(
        "skipped tensors that are not part of the encoder: classifier"
    )
    jax.tree.map(np.testing.assert_array_equal, found[1:3], expected[1:3])


def test_two_encoders_are_no_prefix(tmp_path: Path) -> None:
    write(tmp_path, "BertModel")
    rewrite(
        tmp_path, lambda t: {f"{side}.{name}": tensor for side in ("query", "passage") for name, tensor in t.items()}
    )
    with pytest.raises(InputError) as caught:
        load_checkpoint(tmp_path)
    reason = "holds 2 encoders (passage., query.); save the one to load by itself"
    assert str(caught.value) == f"{tmp_path / 'model.safetensors'} {reason}"
