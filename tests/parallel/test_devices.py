"""One device and eight give the same losses, gradients and predictions, however unevenly the batch falls on them.

Run as a script, this file computes all of it on the devices that it finds; the tests run it twice and compare.
"""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, PartitionSpec

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig, FinetuneConfig, OptimConfig, ReadoutConfig
from bert_jax.data.batching import Examples
from bert_jax.errors import InputError
from bert_jax.evaluate import metrics as task_metrics
from bert_jax.model.bert import BertForPretraining, SequenceClassifier
from bert_jax.parallel.devices import (
    AXIS,
    check_batch_size,
    map_predict_step,
    map_train_step,
    split_batch,
)
from bert_jax.parallel.inference import predict_rows
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.task import Task
from bert_jax.tokenizers.template import Encoding, SpecialIds
from bert_jax.train.finetune import TaskData, finetune
from bert_jax.train.losses import Ratio, Terms
from bert_jax.train.step import init_state, make_train_step, pretrain_objective, task_objective
from bert_jax.types import PretrainBatch, TaskBatch, Tokens

CONFIG = BertConfig(50, 16, 1, 2, 32, 32, dropout=0.0, attention_dropout=0.0)
SPECIAL = SpecialIds(0, 1, 2, 3, 4)
ROWS, LENGTH, SLOTS = 16, 8, 5
RATE = 0.5
EASY = 7
"""A token that the model predicts from the start: what the first device is asked."""


def tokens():
    rng = np.random.default_rng(0)
    mask = np.arange(LENGTH) < rng.integers(4, LENGTH + 1, ROWS)[:, None]
    ids = np.where(mask, rng.integers(5, 50, mask.shape), 0).astype(np.int32)
    return Tokens(ids, ((np.arange(LENGTH) > 3) & mask).astype(np.int32), mask, mask & (np.arange(LENGTH) == 0))


def last_task_batch():
    """Five of sixteen rows: of eight devices two are full, one is half full, and five have nothing."""
    weights = (np.arange(ROWS) < 5).astype(np.float32)
    return TaskBatch(tokens(), np.random.default_rng(1).integers(0, 3, ROWS).astype(np.int32), weights)


def uneven_pretrain_batch():
    """All slots on the first of eight devices, one or none on the others; the last device only fills the batch."""
    rng = np.random.default_rng(2)
    count = np.array([SLOTS, SLOTS] + [1, 0] * 7)[:, None]
    positions = np.tile(np.arange(1, SLOTS + 1, dtype=np.int32) % 4, (ROWS, 1))
    targets = rng.integers(8, 50, (ROWS, SLOTS)).astype(np.int32)
    targets[:2] = EASY
    is_next, weights = rng.integers(0, 2, ROWS).astype(np.int32), (np.arange(ROWS) < 14).astype(np.float32)
    slots = ((np.arange(SLOTS) < count) & (weights[:, None] > 0)).astype(np.float32)
    return PretrainBatch(tokens(), positions, targets, slots, is_next, weights)


def initial(model, *inputs):
    params = jax.jit(lambda key: model.init(key, *inputs)["params"])(jax.random.key(0))
    # Large weights: each row's loss is then its own.
    return jax.tree.map(lambda x: 8 * x if x.ndim > 1 else x, params)


def run_steps(step, batch, params, optimizer, steps=3):
    """Losses of some steps on one batch, and the parameters after the first and the last of them."""
    state, found = init_state(params, optimizer), {}
    for number in range(steps):
        state, values = step(state, batch, jax.random.key(0))
        found |= {f"{name}{number}": value for name, value in values.items()}
        if number in (0, steps - 1):
            leaves = {jax.tree_util.keystr(path): np.array(x) for path, x in jax.tree.leaves_with_path(state.params)}
            found |= {f"after{number}{path}": leaf for path, leaf in leaves.items()}
    return found


def task_steps():
    batch = last_task_batch()
    model = SequenceClassifier(CONFIG, ReadoutConfig(pooling="mean"), 3)
    params, optimizer = initial(model, batch.tokens), optax.sgd(RATE)
    step = make_train_step(task_objective(model), optimizer)
    return run_steps(map_train_step(step), batch, params, optimizer)


def pretrain_steps():
    """By pmap, and the same step by shard_map; and the mean of the devices' own means, which neither may be."""
    batch = uneven_pretrain_batch()
    model = BertForPretraining(CONFIG, ReadoutConfig(projection="tanh"))
    params, optimizer = initial(model, batch.tokens, batch.masked_positions), optax.sgd(RATE)
    params["mlm"]["bias"] = params["mlm"]["bias"].at[EASY].set(4.0)
    objective = pretrain_objective(model)
    step = make_train_step(objective, optimizer)
    found = run_steps(map_train_step(step), batch, params, optimizer)

    everywhere, cut = PartitionSpec(), PartitionSpec(AXIS)
    mesh = Mesh(np.array(jax.devices()), (AXIS,))
    sharded = jax.shard_map(
        step, mesh=mesh, in_specs=(everywhere, cut, everywhere), out_specs=everywhere, check_vma=False
    )
    by_shard_map = run_steps(jax.jit(sharded), batch, params, optimizer)

    terms = jax.jit(lambda params, part: objective(params, part, jax.random.key(0)).losses)
    parts = [jax.tree.map(lambda x, i=i: x[2 * i : 2 * i + 2], batch) for i in range(8)]
    ratios = [terms(params, part)["mlm_loss"] for part in parts]
    means = [float(ratio.sum / ratio.count) for ratio in ratios if ratio.count]
    return found | {f"sharded_{name}": x for name, x in by_shard_map.items()} | {"mean_of_means": np.mean(means)}


def draws():
    """Draw of each device's key at each of three steps: [3 8], zero for devices that do not exist."""

    def objective(params, batch, key):
        mine = jax.nn.one_hot(jax.lax.axis_index(AXIS), 8)
        devices = jax.local_device_count()
        measure = Ratio(mine * jax.random.uniform(key), jnp.ones(8) / devices)
        return Terms({"nothing": Ratio(params.sum() * 0, jnp.ones(()) / devices)}, {"draw": measure})

    optimizer = optax.sgd(RATE)
    step = map_train_step(make_train_step(objective, optimizer))
    state, found = init_state(np.zeros(1, np.float32), optimizer), []
    for _ in range(3):
        state, values = step(state, np.zeros(8), jax.random.key(0))
        found.append(values["draw"])
    return {"draws": np.stack(found)}


def rows_of(number, seed):
    rng = np.random.default_rng(seed)
    rows = [[2, *rng.integers(5, 50, rng.integers(1, 14)).tolist(), 3] for _ in range(number)]
    return [Encoding(ids, [0] * len(ids)) for ids in rows]


def row_sums():
    """A program that tells rows apart, over 13 rows in steps of 8, and over 3, which leave devices empty."""
    step = map_predict_step(lambda params, tokens: (tokens.ids * tokens.mask).sum(1) * params)
    found = {}
    for number in (13, 3):
        rows = rows_of(number, seed=number)
        found[f"sums{number}"] = predict_rows(step, np.int32(2), rows, SPECIAL, 8, (8, 16))
        found[f"wanted{number}"] = np.array([2 * sum(row.ids) for row in rows])
    return found


def whole_run():
    """Two epochs of 21 rows in batches of 8, then 13 rows scored: the last batch is short on both sides."""
    task = Task("toy", "Toy", ("sentence",), ("no", "yes"), ("accuracy", "f1", "mcc"))
    sets = []
    for number, seed in ((21, 0), (13, 1)):
        rows = rows_of(number, seed)
        sets.append(Examples(rows, np.array([row.ids[1] % 2 for row in rows], np.int32), SPECIAL))
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    encoder = initial(SequenceClassifier(CONFIG, ReadoutConfig(), 2), tokens)["encoder"]
    config = FinetuneConfig(2, 8, 8, 16, 1, OptimConfig(learning_rate=2e-3))
    data = TaskData(task, sets[0], {"validation": sets[1]}, (16,))
    pretrained = Pretrained(Checkpoint(CONFIG, encoder), None)
    losses = []
    logits = finetune(pretrained, data, ReadoutConfig(), config, 0, lambda step, values: losses.append(values["loss"]))[
        "validation"
    ]
    scores = task_metrics.score(task, task_metrics.predict(logits, task), sets[1].labels)
    return {"run_losses": np.array(losses), "logits": logits, "scores": np.array(list(scores.values()))}


def main(path):
    parts = {"task": task_steps(), "pretrain": pretrain_steps(), "": draws() | row_sums() | whole_run()}
    found = {f"{part}.{name}".strip("."): np.asarray(x) for part, values in parts.items() for name, x in values.items()}
    np.savez(path, devices=jax.local_device_count(), **found)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of the script on one device and on eight."""
    folder, root = tmp_path_factory.mktemp("parallel"), Path(__file__).parents[2]
    runs = {}
    for devices in (1, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
        command = [sys.executable, __file__, str(folder / f"{devices}.npz")]
        runs[devices] = subprocess.Popen(command, env=env, cwd=root, stderr=subprocess.PIPE, text=True)
    loaded = {}
    for devices, run in runs.items():
        _, error = run.communicate(timeout=300)
        assert run.returncode == 0, error
        with np.load(folder / f"{devices}.npz") as arrays:
            loaded[devices] = dict(arrays)
        assert loaded[devices]["devices"] == devices
    return loaded[1], loaded[8]


def assert_same_results(one, eight, prefix, atol):
    names = [name for name in one if name.startswith(prefix)]
    assert names
    for name in names:
        np.testing.assert_allclose(eight[name], one[name], rtol=1e-5, atol=atol, err_msg=name)


@pytest.mark.parametrize("part", ["task", "pretrain"])
def test_losses_and_gradients_are_the_same_on_one_device_and_on_eight(results, part):
    # After one step at rate 0.5 a parameter is the gradient, up to a factor; after three, what all of them did.
    assert_same_results(*results, f"{part}.", atol=2e-6)


def test_the_gradient_is_not_a_thousandth_of_a_step(results):
    """The comparison above would pass if nothing moved."""
    for part in ("task", "pretrain"):
        before, after = results[0][f"{part}.loss0"], results[0][f"{part}.loss2"]
        assert after < before - 0.05 and results[0][f"{part}.grad_norm0"] > 0.1


def test_a_mean_of_the_devices_means_would_be_another_loss(results):
    one, eight = results
    assert abs(one["pretrain.mean_of_means"] - one["pretrain.mlm_loss0"]) > 0.3 * one["pretrain.mlm_loss0"]
    np.testing.assert_allclose(eight["pretrain.mlm_loss0"], one["pretrain.mlm_loss0"], rtol=1e-6)


def test_shard_map_does_the_same_as_pmap(results):
    for found in results:
        names = [name for name in found if name.startswith("pretrain.sharded_")]
        assert len(names) > 20
        for name in names:
            np.testing.assert_allclose(
                found[name], found[name.replace("sharded_", "")], rtol=1e-6, atol=1e-7, err_msg=name
            )


def test_every_device_has_a_key_of_its_own_at_each_step(results):
    one, eight = results
    assert eight["draws"].shape == (3, 8) and len(np.unique(eight["draws"])) == 24
    np.testing.assert_array_equal(eight["draws"][:, 0], one["draws"][:, 0])


@pytest.mark.parametrize("number", [13, 3])
def test_rows_that_do_not_divide_by_the_devices_are_predicted_once_each_in_order(results, number):
    for found in results:
        np.testing.assert_array_equal(found[f"sums{number}"], found[f"wanted{number}"])


def test_a_whole_run_has_the_same_losses_predictions_and_scores(results):
    one, eight = results
    assert one["run_losses"].shape == (6,) and one["logits"].shape == (13, 2)
    np.testing.assert_allclose(eight["run_losses"], one["run_losses"], rtol=1e-4)
    np.testing.assert_allclose(eight["logits"], one["logits"], atol=1e-3)
    np.testing.assert_array_equal(eight["scores"], one["scores"])


def test_a_batch_is_cut_in_order(monkeypatch):
    monkeypatch.setattr(jax, "local_device_count", lambda: 4)
    rows = np.arange(16).reshape(8, 2)
    batch = split_batch({"x": rows, "y": np.arange(8)})
    assert np.shares_memory(batch["x"], rows), "nothing is copied"
    assert batch["x"].shape == (4, 2, 2) and batch["y"].tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(("size", "remedy"), [(12, "use 8 or 16"), (7, "use 8")])
def test_a_batch_that_the_devices_cannot_share_is_refused(monkeypatch, size, remedy):
    monkeypatch.setattr(jax, "device_count", lambda: 8)
    check_batch_size(16, "--batch-size")
    with pytest.raises(InputError, match=rf"^--batch-size {size} does not divide by the 8 devices; {remedy}$"):
        check_batch_size(size, "--batch-size")


@pytest.mark.parametrize("size", [0, -8])
def test_a_batch_of_nothing_is_refused(size):
    with pytest.raises(InputError, match=f"^--batch-size must be at least 1, not {size}$"):
        check_batch_size(size, "--batch-size")


def test_pieces_are_shared_too(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    check_batch_size(16, "--batch-size", pieces=4)
    with pytest.raises(InputError, match="2 devices times 4 pieces; use 8 or 16"):
        check_batch_size(12, "--batch-size", pieces=4)


if __name__ == "__main__":
    main(sys.argv[1])
