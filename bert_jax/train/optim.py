"""The optimizer described by an `OptimConfig`, built from parts of optax."""

import jax
import jax.numpy as jnp
import optax

from bert_jax.config import OptimConfig
from bert_jax.types import Array, Params, Tree


def make_optimizer(config: OptimConfig, steps: int) -> optax.GradientTransformationExtraArgs:
    """Clipping by global norm, Adam, decay of weight matrices, and a learning rate that rises and falls over `steps`.

    `update(grads, state, params, rate=peak)` takes the peak of the learning rate, a number or a traced array, so that
    one compiled program serves all rates; by default it is the config's.

    With `lamb`, each matrix's update is scaled to the norm of the matrix (You et al., arXiv 1904.00962,
    algorithm 2); as in the authors' code, biases and layer normalisations get Adam's update.
    """
    adam = optax.scale_by_adam(config.b1, config.b2, config.eps)
    parts = [
        _clip_by_global_norm(config.clip_norm),
        adam if config.bias_correction else _uncorrected(config),
        optax.add_decayed_weights(config.weight_decay, mask=decay_mask),
        _scale_by_rate(config, steps),
    ]
    if config.algorithm == "lamb":
        parts.insert(3, optax.masked(optax.scale_by_trust_ratio(), decay_mask))
    return optax.chain(*parts)


def schedule(config: OptimConfig, steps: int, peak: Array | float | None = None) -> optax.Schedule:
    """Learning rate by step: from 0 to the peak in `warmup * steps` steps, then to 0 at `steps`.

    The peak is by default the config's.
    """
    warmup, peak = round(config.warmup * steps), config.learning_rate if peak is None else peak
    return optax.schedules.join_schedules(
        [
            optax.schedules.linear_schedule(0.0, peak, max(warmup, 1)),
            optax.schedules.polynomial_schedule(peak, 0.0, config.decay_power, max(steps - warmup, 1)),
        ],
        [warmup],
    )


def decay_mask(params: Params) -> Params:
    """True for parameters with weight decay: weight matrices, but no bias and no scale of a layer normalisation."""

    def decays(path: tuple[jax.tree_util.DictKey, ...], leaf: Array) -> bool:
        return jnp.ndim(leaf) > 1 and path[-1].key != "bias"  # a bias of separate heads has two axes

    mask: Params = jax.tree_util.tree_map_with_path(decays, params)
    return mask


def _scale_by_rate(config: OptimConfig, steps: int) -> optax.GradientTransformationExtraArgs:
    """`optax.scale_by_learning_rate` with the same state, whose peak is an argument of `update`."""

    def at(peak: Array | None) -> optax.GradientTransformation:
        rate = schedule(config, steps, peak)
        return optax.scale_by_schedule(lambda count: -rate(count))

    def update(
        updates: Tree, state: Tree, params: Tree = None, *, rate: Array | None = None, **_: Tree
    ) -> tuple[Tree, Tree]:
        scaled: tuple[Tree, Tree] = at(rate).update(updates, state)
        return scaled

    return optax.GradientTransformationExtraArgs(at(None).init, update)


def _clip_by_global_norm(limit: float) -> optax.GradientTransformation:
    """Clip as optax does, but by one factor that XLA fuses into the use of the gradient: optax selects between two
    trees, which are written to memory and read again, 3% of a step of BERT-base on a CPU."""

    def update(grads: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
        factor = jnp.minimum(1, limit / jnp.maximum(optax.tree.norm(grads), jnp.finfo(jnp.float32).tiny))
        return jax.tree.map(lambda grad: grad * factor, grads), state

    return optax.GradientTransformation(optax.init_empty_state, update)


def _uncorrected(config: OptimConfig) -> optax.GradientTransformation:
    """Adam as in BERT's own code: the moments start at zero, without bias correction."""

    def update(grads: Tree, state: Tree, params: Tree = None) -> tuple[Tree, Tree]:
        mu = optax.tree.update_moment(grads, state.mu, config.b1, 1)
        nu = optax.tree.update_moment_per_elem_norm(grads, state.nu, config.b2, 2)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + config.eps), mu, nu)
        return updates, optax.ScaleByAdamState(state.count + 1, mu, nu)

    return optax.GradientTransformation(optax.scale_by_adam(config.b1, config.b2, config.eps).init, update)
