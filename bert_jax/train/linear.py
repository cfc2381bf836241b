"""Linear heads over frozen features, many at once: all folds and strengths of regularisation share one product.

Both heads minimise what scikit-learn's do: `sum of losses over the rows + |w|^2 / (2 C)` for the logistic one, squared
errors with the same penalty for the other, and leave the intercept alone. K models, N rows, D features, O outputs
(one for two classes and for scores, else one per class).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bert_jax.types import Array

MAX_STEPS, TOLERANCE = 2000, 1e-3
"""The largest change of a weight in units of its bound, by which a model is done, and the most steps until then."""


class Heads(NamedTuple):
    """weights [K D O] and intercepts [K O] of models over centred features: an answer is `(x - centre) w + b`."""

    centre: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def outputs(self, x: np.ndarray, model: int) -> np.ndarray:
        """What one of the models gives for features [N D]: [N O], logits or scores."""
        return (x - self.centre) @ self.weights[model] + self.intercepts[model]


def centre_and_scale(x: np.ndarray) -> tuple[np.ndarray, float]:
    """The mean of the features [D], and the root of their mean variance: a unit for the strength of a penalty."""
    centre = x.mean(0, dtype=np.float64)
    variance = np.mean(np.einsum("nd,nd->n", x, x, dtype=np.float64)) - centre @ centre
    return centre.astype(np.float32), float(np.sqrt(max(variance, 0) / x.shape[1])) or 1.0


def logistic(x: np.ndarray, labels: np.ndarray, classes: int, rows: np.ndarray, penalties: np.ndarray) -> Heads:
    """Logistic regressions, binary or multinomial, by accelerated proximal steps that need no line search.

    In the axes of X'X no curvature is above s/4 + 1/C (s/2 with several classes; Boehning 1992), whichever rows a
    model has, so that a step of that length always improves. Momentum restarts as in O'Donoghue and Candes 2015.

    Args:
        x: [N D] features.
        labels: [N] classes.
        classes: how many there are.
        rows: [K N] True on the rows that a model is fitted to.
        penalties: [K] 1/C.
    """
    centre, _ = centre_and_scale(x)
    x = (x - centre).astype(np.float32)
    curvature, axes = np.linalg.eigh((x.T @ x).astype(np.float64))
    targets = labels[:, None] == (np.arange(classes) if classes > 2 else np.array([1]))
    rotated = np.concatenate([x @ axes.astype(np.float32), np.ones((len(x), 1), np.float32)], 1)
    bound = np.append(np.clip(curvature, 0, None), len(x)) / (2 if classes > 2 else 4)
    decay = np.concatenate([np.tile(penalties[:, None], len(axes)), np.zeros((len(penalties), 1))], 1)
    weights = np.asarray(_solve(rotated, targets.astype(np.float32), rows.T.astype(np.float32),
                                decay.T.astype(np.float32), bound.astype(np.float32)))
    weights = weights.transpose(1, 0, 2)
    return Heads(centre, np.einsum("de,keo->kdo", axes.astype(np.float32), weights[:, :-1]), weights[:, -1])


class _State(NamedTuple):
    """weights, lookahead [D K O], momentum [K], and how far the last step moved each model [K]."""

    weights: Array
    ahead: Array
    momentum: Array
    moved: Array
    step: Array


@jax.jit
def _solve(x: Array, targets: Array, rows: Array, decay: Array, bound: Array) -> Array:
    """Weights [D K O] from features [N D], targets [N O], rows [N K], decay [D K] and the bound of curvature [D]."""
    inverse = (1 / (bound[:, None] + decay))[..., None]
    activate = jax.nn.sigmoid if targets.shape[1] == 1 else jax.nn.softmax

    def gradient(w: Array) -> Array:
        error = (activate(jnp.einsum("nd,dko->nko", x, w)) - targets[:, None]) * rows[..., None]
        return jnp.einsum("nd,nko->dko", x, error) + decay[..., None] * w

    def step(state: _State) -> _State:
        new = state.ahead - inverse * gradient(state.ahead)
        change = new - state.weights
        uphill = ((state.ahead - new) * change / inverse).sum((0, 2)) > 0
        momentum = jnp.where(uphill, 1.0, (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2)
        pace = jnp.where(uphill, 0.0, (state.momentum - 1) / momentum)
        moved = jnp.sqrt((jnp.square(change) / inverse).sum((0, 2)))
        return _State(new, new + pace[:, None] * change, momentum, moved, state.step + 1)

    zeros = jnp.zeros((x.shape[1], rows.shape[1], targets.shape[1]))
    start = _State(zeros, zeros, jnp.ones(rows.shape[1]), jnp.full(rows.shape[1], jnp.inf), jnp.array(0))
    # Root of the loss per row: a step that moves less changes the mean loss by less than the square of the tolerance.
    small = TOLERANCE * jnp.sqrt(rows.sum(0))
    going = partial(_is_going, small)
    return lax.while_loop(going, step, start).weights


def _is_going(small: Array, state: _State) -> Array:
    return (state.moved > small).any() & (state.step < MAX_STEPS)
