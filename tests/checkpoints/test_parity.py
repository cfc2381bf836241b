"""Every hidden state and every logit beside Hugging Face transformers (torch), to 1e-4 absolute in float32."""

from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.checkpoints.directory import load_checkpoint
from bert_jax.checkpoints.huggingface import save_checkpoint
from bert_jax.config import ReadoutConfig
from bert_jax.model.bert import BertForPretraining, SequenceClassifier
from bert_jax.model.encoder import Encoder
from bert_jax.model.heads import MaskedLanguageModel
from bert_jax.types import Tokens

torch = pytest.importorskip("torch", reason="the reference needs torch: pip install '.[parity]'")
transformers = pytest.importorskip("transformers", reason="the reference needs transformers: pip install '.[parity]'")

CONFIGS = {
    "tiny": {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40},
    "one-wide-head": {
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 1,
        "intermediate_size": 12,
        "hidden_act": "gelu_new",
        "max_position_embeddings": 17,
        "vocab_size": 31,
    },
    "left-to-right": {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "is_decoder": True,
    },
    "many-heads": {
        "hidden_size": 30,
        "num_hidden_layers": 4,
        "num_attention_heads": 10,
        "intermediate_size": 7,
        "hidden_act": "relu",
        "layer_norm_eps": 1e-3,
        "type_vocab_size": 3,
    },
}


def random_model(name: str, kind: str, **more: object):
    """Weights far from their initialisation, so that no bias, scale or layer can be mistaken for another."""
    settings = {"vocab_size": 50, "max_position_embeddings": 40, "attn_implementation": "eager"} | CONFIGS[name] | more
    torch.manual_seed(0)
    model = getattr(transformers, kind)(transformers.BertConfig(**settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def inputs(vocab_size: int, num_segments: int = 2, width: int = 17) -> Tokens:
    """Rows of 17, 11 and 3 tokens, padded, in two segments or more."""
    rng = np.random.default_rng(0)
    place, n = np.arange(width)[None], np.array([[width], [11], [3]])
    mask = place < n
    ids = np.where(mask, rng.integers(1, vocab_size, mask.shape), 0).astype(np.int32)
    return Tokens(ids, np.where(mask, place * num_segments // n, 0).astype(np.int32), mask, np.zeros_like(mask))


def theirs(model, tokens: Tokens):
    with torch.no_grad():
        return model(
            input_ids=torch.tensor(tokens.ids).long(),
            token_type_ids=torch.tensor(tokens.segments).long(),
            attention_mask=torch.tensor(tokens.mask).long(),
            output_hidden_states=True,
        )


def ours(checkpoint: Checkpoint, tokens: Tokens) -> list[np.ndarray]:
    apply = jax.jit(lambda params, tokens: Encoder(checkpoint.config).apply({"params": params}, tokens))
    return [np.asarray(h) for h in apply(checkpoint.encoder, tokens)]


def assert_same_states(checkpoint: Checkpoint, reference, tokens: Tokens) -> None:
    states = ours(checkpoint, tokens)
    assert len(states) == len(reference.hidden_states)
    for state, expected in zip(states, reference.hidden_states, strict=True):
        np.testing.assert_allclose(state[tokens.mask], expected.numpy()[tokens.mask], rtol=0, atol=1e-4)


def pooled(checkpoint: Checkpoint, tokens: Tokens) -> np.ndarray:
    return np.tanh(ours(checkpoint, tokens)[-1][:, 0] @ checkpoint.pooler["kernel"] + checkpoint.pooler["bias"])


@pytest.mark.parametrize("name", CONFIGS)
def test_hidden_states_and_pooler(name: str, tmp_path: Path) -> None:
    model = random_model(name, "BertModel")
    model.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    tokens = inputs(model.config.vocab_size, model.config.type_vocab_size)
    reference = theirs(model, tokens)
    assert_same_states(checkpoint, reference, tokens)
    np.testing.assert_allclose(pooled(checkpoint, tokens), reference.pooler_output.numpy(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CONFIGS)
def test_pretraining_logits(name: str, tmp_path: Path) -> None:
    """Their class 0 of next-sentence prediction is "B follows A" (google-research/bert: 0 is next); ours is class 1."""
    model = random_model(name, "BertForPreTraining")
    model.save_pretrained(tmp_path)
    checkpoint = load_checkpoint(tmp_path)
    tokens = inputs(model.config.vocab_size, model.config.type_vocab_size)
    reference = theirs(model, tokens)
    assert_same_states(checkpoint, reference, tokens)
    readout = ReadoutConfig("last", "cls", "tanh")
    params = {
        "encoder": checkpoint.encoder,
        "reader": {"projection": {"dense": checkpoint.pooler}},
        "mlm": checkpoint.mlm,
        "nsp": checkpoint.nsp,
    }
    positions = np.tile(np.arange(17, dtype=np.int32), (3, 1))
    bert = BertForPretraining(checkpoint.config, readout)
    mlm, nsp = jax.jit(lambda *args: bert.apply({"params": params}, *args))(tokens, positions)
    expected = reference.prediction_logits.numpy()
    assert np.abs(expected).max() > 1, "logits near zero would prove nothing"
    np.testing.assert_allclose(np.asarray(mlm)[tokens.mask], expected[tokens.mask], rtol=0, atol=1e-4)
    is_next, is_random = reference.seq_relationship_logits.numpy().T
    np.testing.assert_allclose(nsp, np.stack([is_random, is_next], 1), rtol=0, atol=1e-4)


CLASSES = {
    "BertModel": ("pooler",),
    "BertForPreTraining": ("pooler", "mlm", "nsp"),
    "BertForMaskedLM": ("mlm",),
    "BertForNextSentencePrediction": ("pooler", "nsp"),
    "BertForSequenceClassification": ("pooler", "classifier"),
}


def save(model, folder: Path, layout: str) -> None:
    """As transformers saves, or saved, a model."""
    if layout == "shards":
        model.save_pretrained(folder, max_shard_size=8000)
        assert len(list(folder.glob("*.safetensors"))) > 2
    else:
        model.save_pretrained(folder)
    if layout == "torch":
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize("layout", ["safetensors", "shards", "torch"])
@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_in_every_layout(kind: str, layout: str, tmp_path: Path) -> None:
    """Its heads are found, no others, and their logits are those of transformers."""
    model = random_model("tiny", kind, num_labels=3)
    save(model, tmp_path, layout)
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.heads == CLASSES[kind]
    tokens = inputs(50)
    reference = theirs(model, tokens)
    assert_same_states(checkpoint, reference, tokens)
    pooler = {"reader": {"projection": {"dense": checkpoint.pooler}}} if checkpoint.pooler else {}
    params = {"encoder": checkpoint.encoder} | pooler
    if checkpoint.classifier:
        params["classifier"] = checkpoint.classifier
        network = SequenceClassifier(checkpoint.config, ReadoutConfig("last", "cls", "tanh"), 3)
        logits = jax.jit(lambda params: network.apply({"params": params}, tokens))(params)
        assert np.abs(reference.logits.numpy()).max() > 0.5
        np.testing.assert_allclose(logits, reference.logits.numpy(), rtol=0, atol=1e-4)
    if checkpoint.nsp and not checkpoint.mlm:
        nsp = pooled(checkpoint, tokens) @ checkpoint.nsp["dense"]["kernel"] + checkpoint.nsp["dense"]["bias"]
        np.testing.assert_allclose(nsp[:, ::-1], reference.logits.numpy(), rtol=0, atol=1e-4)
    if checkpoint.mlm and not checkpoint.nsp:
        head = MaskedLanguageModel(checkpoint.config)
        positions = np.tile(np.arange(17, dtype=np.int32), (3, 1))
        embedding = checkpoint.encoder["embeddings"]["token"]["embedding"]
        states = ours(checkpoint, tokens)[-1]
        logits = np.asarray(head.apply({"params": checkpoint.mlm}, states, positions, embedding))
        np.testing.assert_allclose(logits[tokens.mask], reference.logits.numpy()[tokens.mask], rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", CLASSES)
def test_in_out_and_in_again_is_the_same_to_the_bit(kind: str, tmp_path: Path) -> None:
    random_model("tiny", kind, num_labels=3, id2label={0: "no", 1: "yes", 2: "perhaps"}).save_pretrained(tmp_path / "a")
    one = load_checkpoint(tmp_path / "a")
    save_checkpoint(tmp_path / "b", one)
    two = load_checkpoint(tmp_path / "b")
    assert (one.config, one.labels, one.heads) == (two.config, two.labels, two.heads)
    assert one.labels.names == (("no", "yes", "perhaps") if "classifier" in one.heads else ())
    for part in ("encoder", *one.heads):
        jax.tree.map(partial(np.testing.assert_array_equal, strict=True), getattr(one, part), getattr(two, part))


def test_the_real_minilm(minilm: Path) -> None:
    model = transformers.BertModel.from_pretrained(minilm, attn_implementation="eager").eval()
    checkpoint = load_checkpoint(minilm)
    tokens = inputs(model.config.vocab_size)
    reference = theirs(model, tokens)
    assert_same_states(checkpoint, reference, tokens)
    np.testing.assert_allclose(pooled(checkpoint, tokens), reference.pooler_output.numpy(), rtol=0, atol=1e-4)
