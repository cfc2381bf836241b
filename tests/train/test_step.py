"""A step's gradient is that of the global mean, its numbers stay as they are, and a loss that is no number ends it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.config import BertConfig, OptimConfig, ReadoutConfig
from bert_jax.corpus.corpus import Corpus
from bert_jax.data.examples import PretrainData
from bert_jax.model.bert import BertForPretraining, SequenceClassifier
from bert_jax.parallel.devices import least_batch, map_train_step
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.train.loop import Diverged, fit
from bert_jax.train.losses import Ratio, Terms
from bert_jax.train.optim import make_optimizer
from bert_jax.train.step import TrainState, init_state, make_train_step, pretrain_objective, task_objective
from bert_jax.types import PretrainBatch, TaskBatch, Tokens

CONFIG = BertConfig(50, 16, 1, 2, 32, 32, dropout=0.0, attention_dropout=0.0)
READOUT = ReadoutConfig(projection="tanh")
KEY = jax.random.key(0)
ROWS, LENGTH = 8 * least_batch(), 8


def random_tokens(seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(5, 50, (ROWS, LENGTH)).astype(np.int32)
    mask = np.arange(LENGTH) < rng.integers(3, LENGTH + 1, ROWS)[:, None]
    special = mask & (np.arange(LENGTH) == 0)
    return Tokens(ids, ((np.arange(LENGTH) > 3) & mask).astype(np.int32), mask, special)


def task_rows(labels):
    """The last five rows only fill the batch."""
    return TaskBatch(random_tokens(), labels, (np.arange(ROWS) < ROWS - 5).astype(np.float32))


def pretrain_rows():
    rng = np.random.default_rng(1)
    positions = np.sort(rng.integers(1, 3, (ROWS, 3)), 1).astype(np.int32)
    targets, is_next = rng.integers(5, 50, (ROWS, 3)).astype(np.int32), rng.integers(0, 2, ROWS).astype(np.int32)
    weights = (np.arange(3) < rng.integers(0, 4, ROWS)[:, None]).astype(np.float32)
    return PretrainBatch(random_tokens(), positions, targets, weights, is_next, np.ones(ROWS, np.float32))


def initial(model, *inputs):
    return jax.jit(lambda key: model.init(key, *inputs)["params"])(jax.random.key(0))


def gradient(objective, params, batch):
    """Gradients, measured as the change by one step of plain gradient descent at rate 1, and the step's metrics."""
    optimizer = optax.sgd(1.0)
    step = map_train_step(make_train_step(objective, optimizer))
    state, metrics = step(init_state(params, optimizer), batch, jax.random.key(0))
    return jax.tree.map(lambda old, new: np.asarray(old) - new, params, state.params), metrics


def check_against(mean_loss, params, found, metrics):
    loss, grads = jax.jit(jax.value_and_grad(mean_loss))(params)
    assert float(metrics["loss"]) == pytest.approx(float(loss), rel=1e-6)
    assert float(metrics["grad_norm"]) == pytest.approx(float(optax.tree.norm(grads)), rel=1e-5)
    # The change of a parameter is rounded to the parameter's own precision.
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), found, grads)


def log_softmax(logits):
    return logits - jnp.log(jnp.exp(logits).sum(-1, keepdims=True))


@pytest.mark.parametrize("kind", ["classes", "scores"])
def test_a_tasks_gradient_is_that_of_the_mean_over_its_real_rows(kind):
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, ROWS).astype(np.int32) if kind == "classes" else rng.uniform(0, 5, ROWS)
    batch = task_rows(labels.astype(np.int32 if kind == "classes" else np.float32))
    model = SequenceClassifier(CONFIG, READOUT, 3 if kind == "classes" else 1)
    params = initial(model, batch.tokens)
    real = np.arange(ROWS - 5)

    def mean_loss(params):
        logits = model.apply({"params": params}, batch.tokens)[real]
        if kind == "scores":
            return ((logits[:, 0] - batch.labels[real]) ** 2).sum() / len(real)
        return -log_softmax(logits)[real, batch.labels[real]].sum() / len(real)

    found, metrics = gradient(task_objective(model), params, batch)
    check_against(mean_loss, params, found, metrics)
    if kind == "classes":
        logits = np.asarray(model.apply({"params": params}, batch.tokens))
        right = (logits.argmax(-1) == batch.labels)[real].mean()
        assert float(metrics["accuracy"]) == pytest.approx(right)


def test_pretrainings_gradient_is_that_of_the_mean_over_slots_plus_the_mean_over_pairs():
    model, batch = BertForPretraining(CONFIG, READOUT), pretrain_rows()
    params = initial(model, batch.tokens, batch.masked_positions)
    rows, slots = np.nonzero(batch.masked_weights)

    def mean_loss(params):
        logits = model.apply({"params": params}, batch.tokens, batch.masked_positions)
        mlm = log_softmax(logits.mlm)[rows, slots, batch.masked_ids[rows, slots]]
        nsp = log_softmax(logits.nsp)[np.arange(ROWS), batch.is_next]
        return -mlm.sum() / len(rows) - nsp.sum() / ROWS

    found, metrics = gradient(pretrain_objective(model), params, batch)
    check_against(mean_loss, params, found, metrics)
    assert float(metrics["loss"]) == pytest.approx(float(metrics["mlm_loss"] + metrics["nsp_loss"]), rel=1e-6)


GOLDEN = [4.622395, 4.525280]


def tiny_pretraining(dropout, optimizer):
    """(data, state, mapped step) of a pretraining whose corpus is a few hundred numbers."""
    at = np.arange(0, 601, 6)
    corpus = Corpus((5 + np.arange(600) ** 2 % 45).astype(np.int32), at, np.arange(0, 101, 10))
    data = PretrainData(corpus, SpecialIds(0, 1, 2, 3, 4), 50, None, 16, ObjectiveConfig(), seed=0)
    config = BertConfig(50, 16, 2, 2, 32, 32, dropout=dropout, attention_dropout=dropout)
    model = BertForPretraining(config, READOUT)
    example = data.batch(0, np.zeros(1, int))
    params = initial(model, example.tokens, example.masked_positions)
    step = map_train_step(make_train_step(pretrain_objective(model), optimizer))
    return data, init_state(params, optimizer), step


def test_two_steps_give_the_losses_they_always_gave():
    optimizer = make_optimizer(OptimConfig(learning_rate=0.01, warmup=0), 10)
    data, state, step = tiny_pretraining(0.0, optimizer)
    losses = [metrics["loss"] for _, _, metrics in fit(step, state, data.batches(8, 0, 2), jax.random.key(0))]
    assert losses == pytest.approx(GOLDEN, rel=1e-5), (
        f"The first two losses of a tiny pretraining were {GOLDEN} and are {losses}: the data, the initialisation, the "
        "model, the losses or the optimizer have changed, and with them every result. If that is meant, say so in "
        "CHANGELOG.md and put the new numbers into GOLDEN; if not, find what changed."
    )


def test_a_step_in_pieces_holds_the_model_once():
    def products(pieces):
        batch = jax.tree.map(lambda x: np.concatenate([x, x]), pretrain_rows())
        model, optimizer = BertForPretraining(CONFIG, READOUT), optax.sgd(1.0)
        params = initial(model, batch.tokens, batch.masked_positions)
        step = map_train_step(make_train_step(pretrain_objective(model), optimizer, pieces))
        arguments = step.split(init_state(params, optimizer), batch, KEY)
        return step.program.lower(*arguments).as_text().count("dot_general")

    assert 0 < products(1) == products(2)


def test_dropout_is_new_at_each_step_and_a_function_of_key_and_step():
    data, state, step = tiny_pretraining(0.5, optax.sgd(0.0))
    batch = data.batch(0, np.arange(8))

    def losses(key, steps):
        now, found = init_state(state.params, optax.sgd(0.0)), []
        for _ in range(steps):
            now, metrics = step(now, batch, jax.random.key(key))
            found.append(float(metrics["loss"]))
        return found

    three = losses(0, 3)
    assert len(set(three)) == 3, "the parameters do not change here: only dropout does"
    assert losses(0, 3) == three and losses(1, 1)[0] not in three
    resumed = TrainState(jnp.array(2, jnp.int32), *init_state(state.params, optax.sgd(0.0))[1:])
    _, metrics = step(resumed, batch, jax.random.key(0))
    assert float(metrics["loss"]) == three[2], "a resumed run has the dropout of one that was not interrupted"


def assert_same_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_steps_leave_the_callers_parameters_alone():
    data, state, step = tiny_pretraining(0.0, optax.sgd(1.0))
    params = jax.tree.map(np.array, state.params)
    mine = jax.tree.map(jnp.asarray, params)
    for given in (mine, params):
        *_, (_, trained, _) = fit(step, init_state(given, optax.sgd(1.0)), data.batches(8, 0, 2), jax.random.key(0))
        assert_same_trees(given, state.params)
        with pytest.raises(AssertionError):
            assert_same_trees(trained.params, state.params)


def scripted(losses):
    """`fit` over a step that does nothing and reports these losses."""

    def step(state, batch, key):
        return state._replace(step=state.step + 1), {"loss": batch.mean()}

    state = TrainState(jnp.zeros((), jnp.int32), {}, ())
    return fit(step, state, [np.full(ROWS, loss, np.float32) for loss in losses], jax.random.key(0))


def test_fit_counts_steps_from_one():
    assert [(step, int(state.step), metrics) for step, state, metrics in scripted([3, 2])] == [
        (1, 1, {"loss": 3.0}),
        (2, 2, {"loss": 2.0}),
    ]
    assert list(scripted([])) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_stops_the_run_at_its_step(bad):
    seen = []
    with pytest.raises(Diverged, match="step 3") as error:
        for step, _, _ in scripted([1, 2, bad, 1]):
            seen.append(step)
    assert error.value.step == 3 and seen == [1, 2]


def test_nothing_counted_gives_no_gradient_and_not_nan():
    """A batch without a single masked slot: its MLM loss is 0, and the pairs still count."""
    model, batch = BertForPretraining(CONFIG, READOUT), pretrain_rows()
    params = initial(model, batch.tokens, batch.masked_positions)
    batch = batch._replace(masked_weights=np.zeros_like(batch.masked_weights))
    found, metrics = gradient(pretrain_objective(model), params, batch)
    assert float(metrics["mlm_loss"]) == 0 and float(metrics["nsp_loss"]) > 0
    assert not np.any(found["mlm"]["dense"]["kernel"]) and np.isfinite(float(metrics["grad_norm"]))


@pytest.mark.parametrize("pieces", [2, 4, 8])
def test_a_step_in_pieces_is_the_whole_step(pieces):
    batch, optimizer = pretrain_rows(), optax.sgd(1.0)
    # All slots to predict are in two rows, and some rows only fill the batch: the pieces count unevenly.
    batch = batch._replace(
        masked_weights=np.where(np.arange(ROWS)[:, None] < 2, 1, 0).astype(np.float32) * np.ones((1, 3), np.float32),
        weights=(np.arange(ROWS) < 3).astype(np.float32),
    )
    model = BertForPretraining(CONFIG, READOUT)
    params = initial(model, batch.tokens, batch.masked_positions)
    results = []
    for accumulate in (1, pieces):
        step = map_train_step(make_train_step(pretrain_objective(model), optimizer, accumulate))
        state, metrics = step(init_state(params, optimizer), batch, jax.random.key(0))
        results.append((state.params, metrics))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), *results)


def test_each_piece_has_the_dropout_that_a_device_would_have_had():
    """One row, repeated: with the same dropout everywhere all its copies would lose the same."""

    def objective(params, batch, key):
        draw = jax.random.uniform(key)
        return Terms({"loss": Ratio(params.sum() * 0 + draw, jnp.ones(()))}, {"square": Ratio(draw**2, jnp.ones(()))})

    optimizer, devices = optax.sgd(0.0), least_batch()
    step = map_train_step(make_train_step(objective, optimizer, 4))
    _, metrics = step(init_state(np.zeros(1, np.float32), optimizer), np.zeros(4 * devices), KEY)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(KEY, 0), i))(jnp.arange(4 * devices))
    draws = jax.vmap(jax.random.uniform)(keys)
    assert float(metrics["loss"]) == pytest.approx(float(draws.mean()), rel=1e-6)
    assert float(metrics["square"]) == pytest.approx(float((draws**2).mean()), rel=1e-6)
    assert draws.std() > 0.05
