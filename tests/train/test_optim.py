"""The optimizer against BERT's own, written out in NumPy, and against optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bert_jax.config import BertConfig, OptimConfig, ReadoutConfig
from bert_jax.model.bert import SequenceClassifier
from bert_jax.train.optim import decay_mask, make_optimizer, schedule
from bert_jax.types import Tokens

STEPS = 6
PARAMS = {
    "dense": {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3), "bias": np.ones(3, np.float32)},
    "norm": {"scale": np.full(3, 1.5, np.float32), "bias": np.full(3, -0.5, np.float32)},
}


def gradients(step):
    rng = np.random.default_rng(step)
    return jax.tree.map(lambda x: rng.normal(0, 0.1, x.shape).astype(np.float32), PARAMS)


def after(optimizer, scale=1.0):
    params = jax.tree.map(jnp.asarray, PARAMS)
    state = optimizer.init(params)
    for step in range(STEPS):
        updates, state = optimizer.update(jax.tree.map(lambda g: scale * g, gradients(step)), state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_close(x, y):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7), x, y)


def test_matrices_decay_and_biases_and_norms_do_not():
    config = BertConfig(50, 16, 1, 2, 32, 32)
    model = SequenceClassifier(config, ReadoutConfig("mix", "map(num_heads=2)", "mlp"), 2)
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    mask = decay_mask(jax.eval_shape(lambda: model.init(jax.random.key(0), tokens))["params"])
    decays = {"/".join(key.key for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(mask)}
    for path, leaf in decays.items():
        assert leaf == (path.split("/")[-1] in ("kernel", "embedding", "query")), path
    for path in (
        "encoder/embeddings/norm/scale",
        "encoder/blocks_0/output_norm/bias",
        "encoder/blocks_0/attention/query/bias",
        "classifier/dense/bias",
    ):
        assert decays[path] is False
    assert decays["encoder/embeddings/token/embedding"] and decays["encoder/blocks_0/attention/query/kernel"]


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
def test_the_rate_rises_to_its_peak_and_falls_to_zero(warmup):
    rate = schedule(OptimConfig(learning_rate=2e-4, warmup=warmup), 200)
    peak = round(200 * warmup)
    assert float(rate(peak)) == pytest.approx(2e-4) and float(rate(200)) == 0
    assert float(rate(0)) == (0 if warmup else pytest.approx(2e-4))
    if warmup:
        assert float(rate(peak // 2)) == pytest.approx(1e-4)
    middle = (peak + 200) // 2
    assert float(rate(middle)) == pytest.approx(2e-4 * (200 - middle) / (200 - peak))


@pytest.mark.parametrize(("warmup", "steps"), [(1.0, 10), (0.1, 1), (1.0, 1)])
def test_the_rate_is_finite_where_there_is_no_step_to_rise_or_fall_in(warmup, steps):
    rate = schedule(OptimConfig(warmup=warmup), steps)
    assert all(0 <= float(rate(step)) <= 5e-5 for step in range(steps + 1))


def test_clipping_is_by_the_norm_and_not_by_its_square():
    config = OptimConfig(learning_rate=0.1, warmup=0, weight_decay=0, clip_norm=0.5, b1=0, b2=0, eps=1e9)
    # With these settings the update is - rate * gradient / eps.
    (update,), _ = make_optimizer(config, 100).update((norm2 := np.array([1.2, 1.6], np.float32),), *_state(config))
    np.testing.assert_allclose(update * 1e9 / -0.1, norm2 * 0.5 / 2, rtol=1e-5)
    # A norm of 0.4 is not clipped.
    (update,), _ = make_optimizer(config, 100).update((small := np.array([0.24, 0.32], np.float32),), *_state(config))
    np.testing.assert_allclose(update * 1e9 / -0.1, small, rtol=1e-5)


def _state(config):
    params = (np.zeros(2, np.float32),)
    return make_optimizer(config, 100).init(params), params


def bert_adam(config, steps):
    """AdamWeightDecayOptimizer of google-research/bert, optimization.py, after tf.clip_by_global_norm."""
    params = jax.tree.map(np.float64, PARAMS)
    m = jax.tree.map(np.zeros_like, params)
    v = jax.tree.map(np.zeros_like, params)
    for step in range(steps):
        grads = gradients(step)
        norm = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g, norm=norm: g * min(1, config.clip_norm / norm), grads)
        warmup = round(config.warmup * steps)
        rising, falling = step / max(warmup, 1), (steps - step) / (steps - warmup)
        rate = config.learning_rate * (rising if step < warmup else falling)
        m = jax.tree.map(lambda m, g: config.b1 * m + (1 - config.b1) * g, m, grads)
        v = jax.tree.map(lambda v, g: config.b2 * v + (1 - config.b2) * g * g, v, grads)
        update = jax.tree.map(lambda m, v: m / (np.sqrt(v) + config.eps), m, v)
        update["dense"]["kernel"] += config.weight_decay * params["dense"]["kernel"]
        params = jax.tree.map(lambda p, u, rate=rate: p - rate * u, params, update)
    return params


def test_without_bias_correction_it_is_berts_own_optimizer():
    config = OptimConfig(learning_rate=0.01, warmup=1 / 3, weight_decay=0.1, clip_norm=0.2, bias_correction=False)
    assert_close(after(make_optimizer(config, STEPS)), bert_adam(config, STEPS))


def test_with_bias_correction_it_is_optax_adamw_with_the_same_mask():
    config = OptimConfig(learning_rate=0.01, warmup=1 / 3, weight_decay=0.1, clip_norm=1e9)
    rate = schedule(config, STEPS)
    assert_close(
        after(make_optimizer(config, STEPS)),
        after(optax.adamw(rate, 0.9, 0.999, 1e-6, weight_decay=0.1, mask=decay_mask)),
    )


def test_bias_correction_changes_the_result():
    config = OptimConfig(learning_rate=0.01, warmup=0)
    one = after(make_optimizer(config, STEPS))
    other = after(make_optimizer(OptimConfig(learning_rate=0.01, warmup=0, bias_correction=False), STEPS))
    assert np.abs(one["norm"]["scale"] - other["norm"]["scale"]).max() > 1e-3


def test_the_scale_of_the_loss_is_no_matter():
    """Clipping gives the same update for a gradient a thousand times as large."""
    config = OptimConfig(learning_rate=0.01, clip_norm=0.01)
    assert_close(after(make_optimizer(config, STEPS)), after(make_optimizer(config, STEPS), scale=1000.0))


def test_the_rate_falls_as_a_power():
    rate = schedule(OptimConfig(learning_rate=2e-4, warmup=0.2, decay_power=2.0), 100)
    assert float(rate(20)) == pytest.approx(2e-4) and float(rate(100)) == 0
    assert float(rate(60)) == pytest.approx(2e-4 * 0.5**2)


def test_lamb_is_optax_lamb_on_matrices_and_adam_on_the_rest():
    settings = {"learning_rate": 0.01, "warmup": 1 / 3, "weight_decay": 0.1, "clip_norm": 1e9}
    lamb, adam = (OptimConfig(algorithm=name, **settings) for name in ("lamb", "adamw"))
    found = after(make_optimizer(lamb, STEPS))
    rate = schedule(lamb, STEPS)
    expected = after(optax.lamb(rate, 0.9, 0.999, 1e-6, weight_decay=0.1, mask=decay_mask))
    plain = after(make_optimizer(adam, STEPS))
    assert_close(found["dense"]["kernel"], expected["dense"]["kernel"])
    assert np.abs(found["dense"]["kernel"] - plain["dense"]["kernel"]).max() > 1e-3
    assert_close(found["norm"], plain["norm"])
    assert_close(found["dense"]["bias"], plain["dense"]["bias"])


@pytest.mark.parametrize("algorithm", ["adamw", "lamb"])
def test_the_peak_of_the_rate_is_data(algorithm):
    """A traced rate does what the same rate among the settings does."""
    config = OptimConfig(algorithm=algorithm, learning_rate=0.01, warmup=1 / 3)
    other = make_optimizer(OptimConfig(algorithm=algorithm, learning_rate=5.0, warmup=1 / 3), STEPS)
    traced = jax.jit(lambda grads, state, params, rate: other.update(grads, state, params, rate=rate))

    def update(grads, state, params):
        return traced(grads, state, params, 0.01)

    assert_close(after(optax.GradientTransformation(other.init, update)), after(make_optimizer(config, STEPS)))
