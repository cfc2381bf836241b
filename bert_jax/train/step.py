"""Pure per-device steps. `parallel` maps them over devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.model.bert import BertForPretraining, SequenceClassifier
from bert_jax.train.losses import Ratio, Terms, accuracy, cross_entropy, squared_error
from bert_jax.train.parallel import AXIS, add_devices, replicate
from bert_jax.types import Array, Params, PretrainBatch, TaskBatch

Objective = Callable[[Params, Any, Array], Terms]
"""`(params, batch, key) -> Terms`, over one device's part of the batch."""


class TrainState(NamedTuple):
    """What a step changes. step: scalar int32."""

    step: Array
    params: Params
    opt_state: optax.OptState


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step. It copies `params`, because the steps donate their state."""
    return replicate(TrainState(jnp.zeros((), jnp.int32), params, jax.jit(optimizer.init)(params)))


def make_train_step(objective: Objective, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """`(state, batch, key) -> (state, metrics)` for `parallel.map_train_step`.

    The gradient is that of the global mean: each loss's sum over all devices divided by its count over
    all devices. Means of per-device means would be biased wherever counts differ (masked tokens, a short
    last batch). Metrics: every loss and measure by name, their total as "loss", and "grad_norm".
    """

    def step(state: TrainState, batch: Any, key: Array) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.fold_in(key, state.step), jax.lax.axis_index(AXIS))

        def share(params: Params) -> tuple[Array, Terms]:
            terms = objective(params, batch, key)
            totals = add_devices({name: ratio.count for name, ratio in terms.losses.items()})
            return sum(r.sum / jnp.maximum(totals[name], 1) for name, r in terms.losses.items()), terms

        (loss, terms), grads = jax.value_and_grad(share, has_aux=True)(state.params)
        loss, grads, terms = add_devices((loss, grads, terms))
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        means = {name: mean(ratio) for name, ratio in (terms.losses | terms.measures).items()}
        metrics = means | {"loss": loss, "grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def mean(ratio: Ratio) -> Array:
    """The mean, 0 where nothing was counted."""
    return ratio.sum / jnp.maximum(ratio.count, 1)


def task_objective(model: SequenceClassifier) -> Objective:
    """Cross-entropy over classes, or squared error where labels are scores."""

    def objective(params: Params, batch: TaskBatch, key: Array) -> Terms:
        logits = model.apply({"params": params}, batch.tokens, train=True, rngs={"dropout": key})
        if jnp.issubdtype(batch.labels.dtype, jnp.floating):
            return Terms({"mse": squared_error(logits[:, 0], batch.labels, batch.weights)}, {})
        terms = (logits, batch.labels, batch.weights)
        return Terms({"cross_entropy": cross_entropy(*terms)}, {"accuracy": accuracy(*terms)})

    return objective


def pretrain_objective(model: BertForPretraining) -> Objective:
    """Mean MLM loss over masked slots plus mean NSP loss over pairs (arXiv 1810.04805, appendix A.2)."""

    def objective(params: Params, batch: PretrainBatch, key: Array) -> Terms:
        logits = model.apply(
            {"params": params}, batch.tokens, batch.masked_positions, train=True, rngs={"dropout": key}
        )
        mlm = (logits.mlm, batch.masked_ids, batch.masked_weights)
        nsp = (logits.nsp, batch.is_next, batch.weights)
        return Terms(
            {"mlm_loss": cross_entropy(*mlm), "nsp_loss": cross_entropy(*nsp)},
            {"mlm_accuracy": accuracy(*mlm), "nsp_accuracy": accuracy(*nsp)},
        )

    return objective


def make_predict_step(model: SequenceClassifier) -> Callable[..., Array]:
    """`(params, tokens) -> logits [B C]` for `parallel.map_predict_step`."""

    def step(params: Params, tokens: Any) -> Array:
        return model.apply({"params": params}, tokens)

    return step
