"""Pure per-device steps. `parallel` maps them over devices."""

import functools
import operator
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from bert_jax.data.objectives import make_objectives
from bert_jax.model.bert import BertForPretraining, SequenceClassifier
from bert_jax.parallel.devices import add_devices, device_index, replicate
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.train.losses import Ratio, Terms, accuracy, cross_entropy, squared_error
from bert_jax.types import Array, Model, Params, PretrainBatch, Step, TaskBatch, Tree

Objective = Callable[[Params, Tree, jax.Array], Terms]
"""`(params, batch, key) -> Terms`, over one device's part of the batch."""


class TrainState(NamedTuple):
    """The state that a step updates. step: scalar int32."""

    step: Array
    params: Params
    opt_state: optax.OptState


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step. It copies `params`, because the steps donate their state."""
    state: TrainState = replicate(TrainState(jnp.zeros((), jnp.int32), params, jax.jit(optimizer.init)(params)))
    return state


class Member(NamedTuple):
    """A run of a population. alive: scalar bool, False once the loss of a step was not finite."""

    state: TrainState
    alive: Array


def make_train_step(
    objective: Objective, optimizer: optax.GradientTransformation, accumulate: int = 1, gradients: str = "float32"
) -> Step:
    """`(state, batch, key, rate=None) -> (state, metrics)` for `parallel.map_train_step`.

    The peak of the learning rate is data, so that one compiled step serves all rates; by default it is the optimizer's.

    The gradient is that of the global mean: each loss's sum over all devices and pieces divided by its
    count over all of them. Means of means would be biased wherever counts differ (masked tokens, a short
    last batch). Metrics: every loss and measure by name, their total as "loss", and "grad_norm".

    Args:
        objective: the objective to minimise.
        optimizer: optimizer of the parameters.
        accumulate: pieces into which each device cuts its part of the batch, and which it processes one
            after the other. Piece k of device d draws the dropout of device d * accumulate + k, so that a
            batch gives the same step for any division into devices and pieces.
        gradients: type in which gradients are summed over devices.
    """

    optimizer = optax.with_extra_args_support(optimizer)

    def step(
        state: TrainState, batch: Tree, key: Array, rate: Array | None = None
    ) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(key, state.step)
        # Counts do not depend on the parameters: XLA removes the rest of this evaluation.
        losses = objective(state.params, batch, key).losses
        totals = add_devices({name: ratio.count for name, ratio in losses.items()})

        def part(piece: Tree, index: Array) -> tuple[Params, Terms]:
            def share(params: Params) -> tuple[Array, Terms]:
                terms = objective(params, piece, jax.random.fold_in(key, index))
                return _total(ratio.sum / jnp.maximum(totals[name], 1) for name, ratio in terms.losses.items()), terms

            gradient: tuple[Params, Terms] = jax.grad(share, has_aux=True)(state.params)
            return gradient

        parts, own = _sum_of_parts(part, batch, accumulate)
        grads, terms = add_devices(parts, None if gradients == "float32" else gradients), add_devices(own)
        norm = optax.tree.norm(grads)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, rate=rate)
        params = optax.apply_updates(state.params, updates)
        means = {name: mean(ratio) for name, ratio in (terms.losses | terms.measures).items()}
        metrics = means | {"loss": _total(means[name] for name in terms.losses), "grad_norm": norm}
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def new_member(params: Params, optimizer: optax.GradientTransformation) -> Member:
    """A run before its first step."""
    return Member(TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params)), jnp.ones((), bool))


def freeze_diverged(step: Step) -> Step:
    """A `make_train_step` over `Member`s: a run whose loss is not finite keeps the state it had before that step."""

    def guarded(member: Member, batch: Tree, key: Array, rate: Array) -> tuple[Member, dict[str, Array]]:
        state, metrics = step(member.state, batch, key, rate)
        alive = member.alive & jnp.isfinite(metrics["loss"])
        kept = jax.tree.map(lambda new, old: jnp.where(alive, new, old), state, member.state)
        return Member(kept, alive), metrics

    return guarded


def _total(values: Iterable[Array]) -> Array:
    return functools.reduce(operator.add, values)


def _sum_of_parts(part: Step, batch: Tree, pieces: int) -> Tree:
    """The sum of `part(piece, index)` over the pieces of this device's batch, one after the other."""
    first = device_index() * pieces
    if pieces == 1:
        return part(batch, first)
    indices = first + jnp.arange(pieces)
    batch = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), batch)

    def add(total: Tree, piece: tuple[Tree, Array]) -> tuple[Tree, None]:
        return jax.tree.map(jnp.add, total, part(*piece)), None

    one = jax.tree.map(lambda x: x[0], (batch, indices))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(part, *one))
    return jax.lax.scan(add, zeros, (batch, indices))[0]


def mean(ratio: Ratio) -> Array:
    """The mean; 0 if the count is 0."""
    return ratio.sum / jnp.maximum(ratio.count, 1)


def task_objective(model: SequenceClassifier) -> Objective:
    """Cross-entropy over classes, or squared error if labels are scores."""

    def objective(params: Params, batch: TaskBatch, key: jax.Array) -> Terms:
        logits: Tree = model.apply({"params": params}, batch.tokens, train=True, rngs={"dropout": key})
        if jnp.issubdtype(batch.labels.dtype, jnp.floating):
            return Terms({"mse": squared_error(logits[:, 0], batch.labels, batch.weights)}, {})
        terms = (logits, batch.labels, batch.weights)
        return Terms({"cross_entropy": cross_entropy(*terms)}, {"accuracy": accuracy(*terms)})

    return objective


def pretrain_objective(model: BertForPretraining, config: ObjectiveConfig | None = None) -> Objective:
    """Mean loss over slots plus mean loss over pairs (arXiv 1810.04805, appendix A.2); BERT's objective by default."""
    parts = make_objectives(config or ObjectiveConfig())

    def objective(params: Params, batch: PretrainBatch, key: jax.Array) -> Terms:
        logits: Tree = model.apply(
            {"params": params}, batch.tokens, batch.masked_positions, train=True, rngs={"dropout": key}
        )
        labelled = {name: found for part in parts for name, found in part.labelled(logits, batch).items()}
        return Terms(
            {f"{name}_loss": cross_entropy(*found) for name, found in labelled.items()},
            {f"{name}_accuracy": accuracy(*found) for name, found in labelled.items()},
        )

    return objective


def make_predict_step(model: Model) -> Callable[..., Array]:
    """`(params, tokens) -> [B ...]`, a model's outputs without dropout, for `parallel.map_predict_step`."""

    def step(params: Params, tokens: Tree) -> Array:
        outputs: Array = model.apply({"params": params}, tokens)
        return outputs

    return step
