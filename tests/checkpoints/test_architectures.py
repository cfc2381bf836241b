"""Encoders other than BERT beside transformers (torch, eager attention): states, logits, weights and configs."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.directory import load_checkpoint
from bert_jax.checkpoints.huggingface import save_checkpoint
from bert_jax.errors import InputError
from bert_jax.model.architectures.electra import Discriminator
from bert_jax.model.bert import SequenceClassifier
from bert_jax.model.encoder import Encoder, architecture
from bert_jax.types import Tokens

torch = pytest.importorskip("torch", reason="the reference needs torch: pip install '.[parity]'")
transformers = pytest.importorskip("transformers", reason="the reference needs transformers: pip install '.[parity]'")

SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 40}
WIDE = {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 1, "intermediate_size": 12}
MANY = {"hidden_size": 40, "num_hidden_layers": 4, "num_attention_heads": 10, "intermediate_size": 7}
ROBERTA = [SIZES, WIDE | {"hidden_act": "gelu_new", "type_vocab_size": 1}, MANY | {"layer_norm_eps": 1e-3}]
SHAPES = {
    "Roberta": [*ROBERTA, SIZES | {"pad_token_id": 3, "is_decoder": True, "hidden_act": "relu"}],
    "XLMRoberta": ROBERTA,
    "Camembert": ROBERTA,
    "DistilBert": [
        {"dim": 24, "n_layers": 3, "n_heads": 2, "hidden_dim": 40},
        {"dim": 20, "n_layers": 2, "n_heads": 1, "hidden_dim": 12, "activation": "relu"},
        {"dim": 40, "n_layers": 4, "n_heads": 10, "hidden_dim": 7},
    ],
    "Electra": [
        SIZES | {"embedding_size": 16},
        WIDE | {"embedding_size": 20, "hidden_act": "relu"},
        MANY | {"embedding_size": 52, "type_vocab_size": 1},
    ],
    "Albert": [
        SIZES | {"embedding_size": 16},
        WIDE | {"embedding_size": 20, "hidden_act": "relu"},
        MANY | {"embedding_size": 52, "num_hidden_groups": 3},
    ],
    "ModernBert": [
        SIZES | {"local_attention": 6},
        WIDE | {"hidden_activation": "relu", "classifier_pooling": "mean", "global_rope_theta": 50.0},
        MANY
        | {"local_attention": 5, "layer_types": [["full", "sliding"][n in (1, 3)] + "_attention" for n in range(4)]},
    ],
}
CASES = [(kind, n) for kind, shapes in SHAPES.items() for n in range(len(shapes))]
HEADS = {
    "Model": None,
    "ForMaskedLM": "mlm",
    "ForSequenceClassification": "classifier",
    "ForPreTraining": "discriminator",
}
CLASSES = [(kind, end) for kind in SHAPES for end in HEADS if end != "ForPreTraining" or kind in ("Electra", "Albert")]


def random_model(kind: str, end: str, n: int = 0, **more: object):
    """Weights far from their initialisation, so that no bias, scale or layer can be mistaken for another."""
    settings = {"vocab_size": 50, "max_position_embeddings": 40, "pad_token_id": 1, "num_labels": 3}
    settings |= SHAPES[kind][n] | more
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**settings, attn_implementation="eager")
    model = getattr(transformers, f"{kind}{end}")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def inputs(model, width: int = 17) -> Tokens:
    """Rows padded with the padding token, in two segments if the architecture has them, and one with it in a text."""
    config, rng = model.config, np.random.default_rng(0)
    place, n = np.arange(width)[None], np.array([[width], [width * 2 // 3], [3]])
    mask, pad = place < n, config.pad_token_id
    ids = np.where(mask, rng.integers(4, config.vocab_size, mask.shape), pad).astype(np.int32)
    ids[0, 5] = pad
    segments = np.where(mask & (place * 2 // n > 0), getattr(config, "type_vocab_size", 0) > 1, 0)
    return Tokens(ids, segments.astype(np.int32), mask, np.zeros_like(mask))


def theirs(model, tokens: Tokens):
    types = {"token_type_ids": torch.tensor(tokens.segments).long()} if hasattr(model.config, "type_vocab_size") else {}
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(tokens.ids).long(),
            attention_mask=torch.tensor(tokens.mask).long(),
            output_hidden_states=True,
            **types,
        )


def ours(checkpoint: Checkpoint, tokens: Tokens) -> list[np.ndarray]:
    apply = jax.jit(lambda params, tokens: Encoder(checkpoint.config).apply({"params": params}, tokens))
    return [np.asarray(state) for state in apply(checkpoint.encoder, tokens)]


def assert_same_states(checkpoint: Checkpoint, reference, tokens: Tokens) -> list[np.ndarray]:
    states = ours(checkpoint, tokens)
    assert len(states) == len(reference.hidden_states)
    for state, expected in zip(states, reference.hidden_states, strict=True):
        np.testing.assert_allclose(state[tokens.mask], expected.numpy()[tokens.mask], rtol=0, atol=1e-4)
    return states


@pytest.mark.parametrize(("kind", "n"), CASES)
def test_hidden_states_and_token_logits(kind: str, n: int, tmp_path: Path) -> None:
    model = random_model(kind, "ForMaskedLM", n)
    model.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.heads == ("mlm",)
    tokens = inputs(model)
    reference = theirs(model, tokens)
    states = assert_same_states(checkpoint, reference, tokens)
    positions = np.tile(np.arange(tokens.ids.shape[1], dtype=np.int32), (3, 1))
    head, embedding = architecture(checkpoint.config).mlm(checkpoint.config), checkpoint.encoder["embeddings"]["token"]
    logits = head.apply({"params": checkpoint.mlm}, states[-1], positions, embedding["embedding"])
    expected = reference.logits.numpy()
    assert np.abs(expected).max() > 1, "logits near zero would prove nothing"
    np.testing.assert_allclose(np.asarray(logits)[tokens.mask], expected[tokens.mask], rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "n"), CASES)
def test_logits_of_sentence_classifiers(kind: str, n: int, tmp_path: Path) -> None:
    model = random_model(kind, "ForSequenceClassification", n)
    model.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.heads == ("pooler", "classifier")
    tokens = inputs(model)
    params = {
        "encoder": checkpoint.encoder,
        "reader": {"projection": checkpoint.projection},
        "classifier": checkpoint.classifier,
    }
    network = SequenceClassifier(checkpoint.config, checkpoint.schema.readout(checkpoint.config), 3)
    logits = jax.jit(lambda params: network.apply({"params": params}, tokens))(params)
    expected = theirs(model, tokens).logits.numpy()
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4)


def test_logits_of_a_discriminator(tmp_path: Path) -> None:
    model = random_model("Electra", "ForPreTraining")
    model.save_pretrained(tmp_path)
    checkpoint, tokens = load_checkpoint(tmp_path), inputs(model)
    reference = theirs(model, tokens)
    last = assert_same_states(checkpoint, reference, tokens)[-1]
    logits = np.asarray(Discriminator(checkpoint.config).apply({"params": checkpoint.discriminator}, last))
    np.testing.assert_allclose(logits[tokens.mask], reference.logits.numpy()[tokens.mask], rtol=0, atol=1e-4)


def test_logits_of_sentence_order(tmp_path: Path) -> None:
    """The pooler of ALBERT, and its head, whose class 0 is "in order"."""
    model = random_model("Albert", "ForPreTraining", num_labels=2)
    model.save_pretrained(tmp_path)
    checkpoint, tokens = load_checkpoint(tmp_path), inputs(model)
    assert checkpoint.heads == ("pooler", "mlm", "sop")
    reference = theirs(model, tokens)
    first = assert_same_states(checkpoint, reference, tokens)[-1][:, 0]
    pooled = np.tanh(first @ checkpoint.pooler["kernel"] + checkpoint.pooler["bias"])
    logits = pooled @ checkpoint.sop["dense"]["kernel"] + checkpoint.sop["dense"]["bias"]
    np.testing.assert_allclose(logits, reference.sop_logits.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("kind", "end"), CLASSES)
def test_in_and_out_again_is_the_same_to_the_bit(kind: str, end: str, tmp_path: Path) -> None:
    """Names, weights and config; settings that are not the defaults of their class."""
    more = {"initializer_range": 0.03, "problem_type": "multi_label_classification"}
    model = random_model(kind, end, 0, **more, **({"num_labels": 2} if kind == "Albert" and "Pre" in end else {}))
    model.save_pretrained(tmp_path / "a")
    checkpoint = load_checkpoint(tmp_path / "a")
    save_checkpoint(tmp_path / "b", checkpoint)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert set(one) == set(two)
    for name, tensor in one.items():
        np.testing.assert_array_equal(two[name], tensor, err_msg=name, strict=True)
    configs = [transformers.AutoConfig.from_pretrained(tmp_path / name).to_dict() for name in "ab"]
    for config in configs:
        for name in ("dtype", "_name_or_path", "transformers_version"):
            config.pop(name, None)
    if end != "ForSequenceClassification":  # labels without a classifier are not kept
        for config in configs:
            for name in ("id2label", "label2id", "problem_type"):
                config.pop(name, None)
    assert configs[0] == configs[1]
    again = getattr(transformers, f"{kind}{end}").from_pretrained(tmp_path / "b")
    for (name, one), two in zip(model.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6, 7, 8, 33, 600])
def test_modernbert_at_lengths_around_its_window(length: int, tmp_path: Path) -> None:
    """A window of 6 reaches 3 positions to each side: from length 5 on it hides something."""
    model = random_model("ModernBert", "Model", max_position_embeddings=600)
    model.save_pretrained(tmp_path)
    checkpoint, rng = load_checkpoint(tmp_path), np.random.default_rng(length)
    shape = (2, length)
    mask = np.arange(length)[None] < np.array([[length], [max(1, length - 2)]])
    ids = np.where(mask, rng.integers(4, 50, shape), 1).astype(np.int32)
    tokens = Tokens(ids, np.zeros(shape, np.int32), mask, np.zeros(shape, bool))
    assert_same_states(checkpoint, theirs(model, tokens), tokens)


REFUSED = {
    "norm_bias": ("ModernBert", True),
    "classifier_activation": ("ModernBert", "silu"),
    "layer_types": ("ModernBert", ["sliding_attention"] * 3),
    "embedding_dropout": ("ModernBert", 0.5),
    "inner_group_num": ("Albert", 2),
    "num_hidden_groups": ("Albert", 9),
    "activation": ("DistilBert", "silu"),
    "pad_token_id": ("Roberta", None),
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_honoured_is_refused_by_name(field: str, tmp_path: Path) -> None:
    kind, value = REFUSED[field]
    random_model(kind, "Model").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(InputError, match=f"config.json: .*{'num_groups' if 'groups' in field else field}") as error:
        load_checkpoint(tmp_path)
    assert len(str(error.value).splitlines()) == 1


def test_a_config_of_another_architecture_is_refused(tmp_path: Path) -> None:
    random_model("Roberta", "ForMaskedLM").save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "bert"}))
    with pytest.raises(InputError, match=r'holds a roberta, and its config.json describes a bert: write "model_type"'):
        load_checkpoint(tmp_path)


def test_an_old_pooler_beside_a_classifier_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The first RoBERTa classifiers were saved with the pooler that their own head replaces."""
    model = random_model("Roberta", "ForSequenceClassification")
    extra = {"roberta.pooler.dense.weight": torch.ones(24, 24), "roberta.pooler.dense.bias": torch.ones(24)}
    model.save_pretrained(tmp_path, state_dict=model.state_dict() | extra)
    checkpoint = load_checkpoint(tmp_path)
    assert "roberta.pooler" in caplog.text
    np.testing.assert_array_equal(checkpoint.pooler["kernel"].T, model.classifier.dense.weight.detach().numpy())


@pytest.mark.parametrize("kind", ["Roberta", "DistilBert", "Electra", "Albert", "ModernBert"])
def test_a_token_classifier_gives_its_encoder_alone(kind: str, tmp_path: Path) -> None:
    model = random_model(kind, "ForTokenClassification")
    model.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="ForTokenClassification, whose classifier labels tokens"):
        load_checkpoint(tmp_path)
    checkpoint, tokens = load_checkpoint(tmp_path, encoder_only=True), inputs(model)
    assert checkpoint.heads == ()
    assert_same_states(checkpoint, theirs(model, tokens), tokens)
