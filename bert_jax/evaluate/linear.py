"""Linear heads over frozen features: all folds and penalties are fitted together and share one matrix product.

Both heads minimise scikit-learn's objective, `sum of losses over the rows + penalty |w|^2 / 2`, with an unpenalised
intercept: the penalty is `1/C` of its LogisticRegression, `alpha` of its Ridge. Axes: S sets of rows, P penalties,
N rows, D features, O outputs (one for two classes and for scores, else one per class).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bert_jax.types import Array

MAX_STEPS, TOLERANCE = 2000, 2e-4
"""Largest number of steps, and the tolerance: a model has converged when a step changes its loss per row by about the
square of the tolerance."""


class Heads(NamedTuple):
    """weights [S P D O] and intercepts [S P O], for features minus `centre` [D]."""

    centre: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def outputs(self, x: np.ndarray, rows: int, penalty: int) -> np.ndarray:
        """Logits or scores [N O] of one of the models for features [N D]."""
        found: np.ndarray = (x - self.centre) @ self.weights[rows, penalty] + self.intercepts[rows, penalty]
        return found


def unit(x: np.ndarray) -> float:
    """Square root of the features' mean variance; divided by it, one grid of penalties suits any encoder and layer."""
    variance = float(np.mean(x.var(0, dtype=np.float64)))
    return variance**0.5 if variance > 0 else 1.0


def fit_logistic(x: np.ndarray, labels: np.ndarray, classes: int, rows: np.ndarray, penalties: np.ndarray) -> Heads:
    """Fit logistic regressions, binary or multinomial, by accelerated gradient descent without line search.

    Along each axis of X'X the curvature is at most s/4 + penalty (s/2 with several classes; Boehning 1992) for any
    subset of the rows, so a step of the inverse length always improves. Momentum restarts as in O'Donoghue and Candes
    2015.

    Args:
        x: [N D] features.
        labels: [N] classes.
        classes: number of classes.
        rows: [S N] True on the rows that a model is fitted to.
        penalties: [P] penalties.
    """
    centre = x.mean(0, dtype=np.float64).astype(np.float32)
    x = x - centre
    curvature, axes = np.linalg.eigh((x.T @ x).astype(np.float64))
    axes = axes.astype(np.float32)
    rotated = np.concatenate([x @ axes, np.ones((len(x), 1), np.float32)], 1)
    bound = np.append(np.clip(curvature, 0, None), len(x)) / (2 if classes > 2 else 4)
    targets = labels[:, None] == (np.arange(classes) if classes > 2 else 1)
    arrays = [np.asarray(array, np.float32) for array in (rotated, targets, rows.T, bound)]
    found = np.zeros((len(bound), len(rows), targets.shape[1]), np.float32)
    weights = np.empty((len(rows), len(penalties), *found.shape[::2]), np.float32)
    # Strongest penalty first, since it converges fastest; each fit starts from the previous solution.
    for place in np.argsort(-penalties):
        decay = np.where(np.arange(len(bound)) < len(axes), penalties[place], 0)
        found = np.asarray(_solve(*arrays, decay.astype(np.float32), found))
        weights[:, place] = found.swapaxes(0, 1)
    return Heads(centre, np.einsum("de,speo->spdo", axes, weights[:, :, :-1]), weights[:, :, -1])


def fit_ridge(x: np.ndarray, scores: np.ndarray, rows: np.ndarray, penalties: np.ndarray) -> Heads:
    """Fit ridge regressions; each set of rows is solved for all penalties at once in the axes of its covariance.

    Args as in `fit_logistic`, with scores [N].
    """
    centre = x.mean(0, dtype=np.float64).astype(np.float32)
    weights, intercepts = [], []
    for chosen in rows:
        part, target = (x[chosen] - centre).astype(np.float64), scores[chosen].astype(np.float64)
        mean, height = part.mean(0), target.mean()
        part = part - mean
        curvature, axes = np.linalg.eigh(part.T @ part)
        along = axes.T @ (part.T @ (target - height))
        solved = (along / (np.clip(curvature, 0, None) + penalties[:, None])) @ axes.T
        weights.append(solved[..., None])
        intercepts.append((height - solved @ mean)[:, None])
    return Heads(centre, np.stack(weights).astype(np.float32), np.stack(intercepts).astype(np.float32))


class _State(NamedTuple):
    """weights and ahead (extrapolated weights) [D S O], momentum [S], and moved [S], the length of the last step."""

    weights: Array
    ahead: Array
    momentum: Array
    moved: Array
    step: Array


@jax.jit
def _solve(x: Array, targets: Array, rows: Array, bound: Array, decay: Array, start: Array) -> Array:
    """Solve for weights [D S O], given x [N D], targets [N O], rows [N S], curvature bounds [D] and penalties [D]."""
    decay = decay[:, None, None]
    inverse = 1 / (bound[:, None, None] + decay)
    activate = jax.nn.sigmoid if targets.shape[1] == 1 else jax.nn.softmax

    def gradient(w: Array) -> Array:
        errors = activate(jnp.einsum("nd,dso->nso", x, w, precision="highest")) - targets[:, None]
        return jnp.einsum("nd,nso->dso", x, errors * rows[..., None], precision="highest") + decay * w

    def step(state: _State) -> _State:
        new = state.ahead - inverse * gradient(state.ahead)
        change = new - state.weights
        uphill = ((state.ahead - new) * change / inverse).sum((0, 2)) > 0
        momentum = jnp.where(uphill, 1.0, (1 + jnp.sqrt(1 + 4 * state.momentum**2)) / 2)
        pace = jnp.where(uphill, 0.0, (state.momentum - 1) / momentum)
        moved = jnp.sqrt((jnp.square(change) / inverse).sum((0, 2)))
        return _State(new, new + pace[None, :, None] * change, momentum, moved, state.step + 1)

    models = rows.shape[1]
    state = _State(start, start, jnp.ones(models), jnp.full(models, jnp.inf), jnp.array(0))
    small = TOLERANCE * jnp.sqrt(rows.sum(0))
    return lax.while_loop(partial(_has_not_converged, small), step, state).weights


def _has_not_converged(small: Array, state: _State) -> Array:
    return (state.moved > small).any() & (state.step < MAX_STEPS)
