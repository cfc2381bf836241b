"""The losses over pairs are torch's; one device and eight train alike; what is learned is saved and found again.

Run as a script, this file trains on the devices that it finds; the tests run it twice and compare.
"""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig, OptimConfig, ReadoutConfig, SiameseConfig
from bert_jax.data.pair_batches import PairExamples, encode_pairs, pair_batches
from bert_jax.errors import InputError
from bert_jax.model.bert import SentenceEncoder
from bert_jax.model.heads import PairClassifier
from bert_jax.parallel.devices import least_batch, map_train_step
from bert_jax.pretrained import Pretrained, load
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.template import Encoding, SpecialIds
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.train import sentence_objectives, siamese
from bert_jax.train.loop import Diverged
from bert_jax.train.siamese import PairData, check_saveable, prepare_pairs, train_pairs, trained_model
from bert_jax.train.step import init_state, make_train_step
from bert_jax.types import PairBatch, Tokens

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] red blue dog cat runs sleeps the a very old and".split()
BERT = BertConfig(len(WORDS), 16, 1, 2, 32, 32, dropout=0.0, attention_dropout=0.0, initializer_range=0.3)
SPECIAL = SpecialIds(0, 1, 2, 3, 4)
CLS, MEAN = ReadoutConfig(), ReadoutConfig(pooling="mean")
FAST = SiameseConfig(
    epochs=6, batch_size=8, eval_batch_size=16, max_length=16, num_buckets=1, optim=OptimConfig(learning_rate=5e-3)
)
LONGER = dataclasses.replace(FAST, epochs=12)
"""Long enough to learn; after 6 epochs it depends on the seed."""
OBJECTIVES = ("nli", "sts", "simcse")
ROWS, REAL = 16, 13
"""Rows of a batch, and how many of them are pairs: of eight devices one has half a part and one has nothing."""


def tokens(seed):
    rng = np.random.default_rng(seed)
    mask = np.arange(8) < rng.integers(3, 9, ROWS)[:, None]
    ids = np.where(mask, rng.integers(5, len(WORDS), mask.shape), 0).astype(np.int32)
    return Tokens(ids, np.zeros_like(ids), mask, mask & (np.arange(8) == 0))


def batch_for(objective):
    rng, weights = np.random.default_rng(5), (np.arange(ROWS) < REAL).astype(np.float32)
    labels = rng.uniform(0, 5, ROWS).astype(np.float32) if objective == "sts" else rng.integers(0, 3, ROWS)
    return PairBatch(tokens(0), tokens(1), labels.astype(np.float32 if objective == "sts" else np.int32), weights)


def parts(objective, temperature=0.1):
    """(objective, its parameters, model) of a mean readout with an MLP."""
    model = SentenceEncoder(BERT, ReadoutConfig(pooling="mean", projection="mlp"))
    params = jax.jit(lambda key: model.init(key, tokens(0))["params"])(jax.random.key(0))
    head = PairClassifier(BERT, 3)
    vectors = np.zeros((1, BERT.hidden_size), np.float32)
    params |= {"classifier": jax.jit(head.init)(jax.random.key(1), vectors, vectors)["params"]}
    made = sentence_objectives.SENTENCE_OBJECTIVES[objective](
        model, dataclasses.replace(FAST, temperature=temperature), 3
    )
    return made, params, model


def steps(objective, number=3):
    """Losses of some steps on one batch, and the parameters after the first and the last of them."""
    made, params, _ = parts(objective)
    optimizer, found = optax.sgd(0.5), {}
    step, state = map_train_step(make_train_step(made, optimizer)), init_state(params, optimizer)
    for i in range(number):
        state, values = step(state, batch_for(objective), jax.random.key(0))
        found |= {f"{objective}.{name}{i}": value for name, value in values.items()}
        if i in (0, number - 1):
            leaves = {jax.tree_util.keystr(path): np.array(x) for path, x in jax.tree.leaves_with_path(state.params)}
            found |= {f"{objective}.after{i}{path}": leaf for path, leaf in leaves.items()}
    return found


def whole_run():
    """Two epochs of 21 pairs in batches of 8, and 13 pairs scored: the last batches are short."""
    rng = np.random.default_rng(3)

    def rows(number):
        ids = [[2, *rng.integers(5, len(WORDS), rng.integers(1, 9)).tolist(), 3] for _ in range(number)]
        return [Encoding(row, [0] * len(row)) for row in ids]

    train, held = (PairExamples(rows(n), rows(n), np.zeros(n, np.int32), SPECIAL) for n in (21, 13))
    model = SentenceEncoder(BERT, MEAN)
    encoder = jax.jit(lambda key: model.init(key, tokens(0))["params"])(jax.random.key(0))["encoder"]
    # Dropout draws differ between devices: with a rate of nearly nothing there are two passes, and they are equal.
    config = dataclasses.replace(FAST, epochs=2, dropout=1e-7, eval_batch_size=8)
    losses = []
    trained = train_pairs(
        Pretrained(Checkpoint(BERT, encoder), None),
        PairData(train, {"validation": held}, (16,), 0),
        "simcse",
        MEAN,
        config,
        0,
        lambda _, values: losses.append(values["loss"]),
    )
    return {"run.losses": np.array(losses), "run.cosines": trained.outputs["validation"]}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of the script on one device and on eight."""
    folder, root = tmp_path_factory.mktemp("siamese"), Path(__file__).parents[2]
    runs, loaded = {}, []
    for devices in (1, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
        command = [sys.executable, __file__, str(folder / f"{devices}.npz")]
        runs[devices] = subprocess.Popen(command, env=env, cwd=root, stderr=subprocess.PIPE, text=True)
    for devices, run in runs.items():
        _, error = run.communicate(timeout=300)
        assert run.returncode == 0, error
        with np.load(folder / f"{devices}.npz") as arrays:
            loaded.append(dict(arrays))
        assert loaded[-1].pop("devices") == devices
    return loaded


@pytest.mark.parametrize("part", [*OBJECTIVES, "run"])
def test_eight_devices_train_as_one(results, part):
    one, eight = results
    names = [name for name in one if name.startswith(f"{part}.")]
    assert names
    for name in names:
        np.testing.assert_allclose(eight[name], one[name], rtol=2e-4, atol=2e-5, err_msg=name)


def test_the_negatives_are_those_of_all_devices(results):
    """Negatives of a device's own two rows alone would leave a loss of at most about log 2 where all give log 13."""
    first = results[1]["simcse.cross_entropy0"]
    assert first > 1.2, "two rows on each of eight devices"


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_losses_and_gradients_are_torchs(objective):
    """The features are (u, v, |u - v|), the regression's error is of the cosine; rows that only fill count nothing."""
    torch = pytest.importorskip("torch")
    made, params, model = parts(objective)
    batch = jax.tree.map(jnp.asarray, batch_for(objective))
    u, v = (np.array(model.apply({"params": params}, side)) for side in (batch.first, batch.second))
    x, y = (torch.tensor(side[:REAL], requires_grad=True) for side in (u, v))
    labels = torch.tensor(np.array(batch.labels[:REAL]))
    dense = {name: torch.tensor(np.array(leaf)) for name, leaf in params["classifier"]["dense"].items()}
    if objective == "nli":
        features = torch.cat([x, y, (x - y).abs()], 1)
        loss = torch.nn.functional.cross_entropy(features @ dense["kernel"] + dense["bias"], labels.long())
    elif objective == "sts":
        loss = torch.nn.functional.mse_loss(torch.cosine_similarity(x, y), labels / 5)
    else:
        similarity = torch.cosine_similarity(x[:, None], y[None], dim=-1) / 0.1
        loss = torch.nn.functional.cross_entropy(similarity, torch.arange(REAL))
    loss.backward()

    def ours(u, v):
        with_vectors = lambda *args: (u, v)  # noqa: E731
        saved, sentence_objectives.sentence_vectors = sentence_objectives.sentence_vectors, with_vectors
        try:
            ((_, ratio),) = jax.vmap(lambda _: made(params, batch, None), axis_name="data")(np.zeros(1)).losses.items()
        finally:
            sentence_objectives.sentence_vectors = saved
        return (ratio.sum / ratio.count)[0]

    value, gradients = jax.value_and_grad(ours, (0, 1))(u, v)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    for gradient, wanted in zip(gradients, (x.grad, y.grad), strict=True):
        np.testing.assert_allclose(gradient[:REAL], wanted.numpy(), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(gradient[REAL:], 0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    model = SentenceEncoder(BERT, MEAN)
    params = jax.jit(lambda key: model.init(key, tokens(0))["params"])(jax.random.key(2))
    return Pretrained(Checkpoint(BERT, jax.device_get(params["encoder"])), WordPiece.from_vocabulary(path))


def pairs(number, seed):
    """Two sentences are alike if both are of dogs or both of cats: classes, and scores of 5 or 0."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, 2, (number, 2))
    a, b = ([f"the {rng.choice(WORDS[11:])} {('dog', 'cat')[kind]} runs" for kind in side] for side in kinds.T)
    return Split(a, b, (kinds[:, 0] == kinds[:, 1]).astype(np.int32))


def data_for(pretrained, objective, config=FAST):
    train, held = pairs(64, 0), pairs(24, 1)
    scores = train._replace(labels=5 * train.labels.astype(np.float32))
    given = {"nli": train, "sts": scores, "simcse": Split(train.a, None, train.labels)}[objective]
    evaluations = {"validation": held._replace(labels=5 * held.labels.astype(np.float32))}
    return prepare_pairs(pretrained.tokenizer, given, evaluations, config, 2 if objective == "nli" else 0)


def gap(trained):
    """Mean cosine of pairs with label 1 minus that of the others."""
    alike, cosines = pairs(24, 1).labels == 1, trained.outputs["validation"]
    return cosines[alike].mean() - cosines[~alike].mean()


@pytest.mark.parametrize("objective", ["nli", "sts"])
@pytest.mark.parametrize("readout", [CLS, MEAN], ids=str)
def test_what_makes_sentences_alike_is_learned(pretrained, objective, readout):
    data, losses = data_for(pretrained, objective), []
    trained = train_pairs(pretrained, data, objective, readout, LONGER, 0, lambda _, m: losses.append(m["loss"]))
    assert np.mean(losses[-8:]) < 0.3 * np.mean(losses[:4]) and len(losses) == siamese.num_steps(data, LONGER) == 96
    assert gap(trained) > 0.5


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_one_seed_gives_the_same_bits_and_another_one_others(pretrained, objective):
    config = dataclasses.replace(FAST, epochs=1, dropout=0.1)
    found = []
    for seed in (0, 0, 1):
        found.append(train_pairs(pretrained, data_for(pretrained, objective), objective, MEAN, config, seed))
    jax.tree.map(np.testing.assert_array_equal, found[0], found[1])
    assert np.abs(found[0].outputs["validation"] - found[2].outputs["validation"]).max() > 1e-4


def test_a_sentence_is_found_again_among_others(pretrained):
    """The loss of guessing among eight is log 8."""
    config, losses = dataclasses.replace(LONGER, dropout=0.1), []
    split = Split(
        [" ".join(np.random.default_rng(i).choice(WORDS[5:], 6)) for i in range(64)], None, np.zeros(64, np.int32)
    )
    data = prepare_pairs(pretrained.tokenizer, split, {"validation": pairs(24, 1)}, config, 0)
    train_pairs(pretrained, data, "simcse", CLS, config, 0, lambda _, m: losses.append(m["loss"]))
    assert np.mean(losses[-8:]) < min(0.8 * np.mean(losses[:4]), 0.8 * np.log(8))


def test_two_passes_without_dropout_are_refused(pretrained):
    with pytest.raises(InputError, match="differ in dropout, and this encoder has none"):
        train_pairs(pretrained, data_for(pretrained, "simcse"), "simcse", MEAN, FAST, 0)


def test_an_mlp_in_training_only_is_gone_in_evaluation(pretrained):
    config = dataclasses.replace(FAST, epochs=1, dropout=0.1, training_projection="mlp")
    data = data_for(pretrained, "simcse")
    dropped = train_pairs(pretrained, data, "simcse", CLS, config, 0)
    kept = train_pairs(
        pretrained,
        data,
        "simcse",
        ReadoutConfig(projection="mlp"),
        dataclasses.replace(config, training_projection=None),
        0,
    )
    jax.tree.map(np.testing.assert_array_equal, dropped.params, kept.params)
    assert np.abs(dropped.outputs["validation"] - kept.outputs["validation"]).max() > 1e-4
    model = trained_model(pretrained, dropped, CLS)
    assert model.checkpoint.pooler is None
    vectors = [model.embed(side, pooling="cls") for side in pairs(24, 1)[:2]]
    wanted = np.sum(vectors[0] * vectors[1], 1) / np.prod([np.linalg.norm(side, axis=1) for side in vectors], 0)
    np.testing.assert_allclose(dropped.outputs["validation"], wanted, atol=1e-5)


def test_a_trained_projection_is_saved_as_the_pooler(pretrained, tmp_path):
    readout, config = ReadoutConfig(pooling="mean", projection="mlp"), dataclasses.replace(FAST, epochs=1)
    trained = train_pairs(pretrained, data_for(pretrained, "sts", config), "sts", readout, config, 0)
    trained_model(pretrained, trained, readout).save(tmp_path / "model")
    vectors = [load(tmp_path / "model").embed(side, "mean", projection="tanh") for side in pairs(24, 1)[:2]]
    wanted = np.sum(vectors[0] * vectors[1], 1) / np.prod([np.linalg.norm(side, axis=1) for side in vectors], 0)
    np.testing.assert_allclose(trained.outputs["validation"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("readout", "message"),
    [
        (ReadoutConfig(pooling="attention"), r"weights of its own \(poolers_0\)"),
        (ReadoutConfig(layers="mix"), r"weights of its own \(layers\)"),
        (ReadoutConfig(projection="mlp(activation='relu')"), r"weights of its own \(projection\)"),
        (ReadoutConfig(projection="mlp(features=(8, 4))"), r"weights of its own \(projection\)"),
        (ReadoutConfig(pooling="cls+mean", projection="mlp"), "a projection of vectors of 32"),
    ],
)
def test_weights_that_a_model_directory_cannot_hold_are_refused(readout, message):
    with pytest.raises(InputError, match=message):
        check_saveable(readout, BERT)


@pytest.mark.parametrize("readout", [CLS, ReadoutConfig(projection="mlp"), ReadoutConfig(pooling="cls+max")], ids=str)
def test_other_readouts_can_be_saved(readout):
    check_saveable(readout, BERT)


def test_a_pair_has_the_length_of_its_longer_sentence(pretrained):
    texts = ["dog", "the very old dog runs and sleeps"]
    examples = encode_pairs(pretrained.tokenizer, Split(texts, texts[::-1], np.array([1.5, 4.0], np.float32)), 16)
    assert examples.lengths.tolist() == [9, 9]
    (batch,) = pair_batches(examples, (8, 16), 4, 0, 1)
    assert batch.first.ids.shape == batch.second.ids.shape == (4, 16)
    assert batch.weights.tolist() == [1, 1, 0, 0] and sorted(batch.labels.tolist()) == [0, 0, 1.5, 4]
    sides = {tuple(side.mask.sum(1)[:2].tolist()) for side in (batch.first, batch.second)}
    assert sides == {(3, 9), (9, 3)}, "each sentence has its own [CLS] and [SEP]"


def test_a_rate_that_is_too_high_stops_the_run(pretrained):
    wild = dataclasses.replace(FAST, optim=OptimConfig(learning_rate=1e30))
    with pytest.raises(Diverged):
        train_pairs(pretrained, data_for(pretrained, "nli"), "nli", MEAN, wild, 0)


if __name__ == "__main__":
    found = {
        name: np.asarray(x)
        for name, x in ({k: v for o in OBJECTIVES for k, v in steps(o).items()} | whole_run()).items()
    }
    np.savez(sys.argv[1], devices=least_batch(), **found)
