"""Linear heads over frozen features, many at once: all folds and strengths of regularisation share one product.

Both heads minimise what scikit-learn's do, `sum of losses over the rows + penalty |w|^2 / 2`, with the intercept left
alone: a penalty is `1/C` of its LogisticRegression, `alpha` of its Ridge. S sets of rows, P penalties, N rows, D
features, O outputs (one for two classes and for scores, else one per class).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bert_jax.types import Array

MAX_STEPS, TOLERANCE = 2000, 2e-4
"""A model is done when a step changes its loss per row by about the square of the tolerance."""


class Heads(NamedTuple):
    """weights [S P D O] and intercepts [S P O] over features from which `centre` [D] was taken."""

    centre: np.ndarray
    weights: np.ndarray
    intercepts: np.ndarray

    def outputs(self, x: np.ndarray, rows: int, penalty: int) -> np.ndarray:
        """Logits or scores [N O] that one of the models gives for features [N D]."""
        found: np.ndarray = (x - self.centre) @ self.weights[rows, penalty] + self.intercepts[rows, penalty]
        return found


def unit(x: np.ndarray) -> float:
    """The root of the features' mean variance. Divided by it, one grid of penalties fits any encoder and layer."""
    variance = float(np.mean(x.var(0, dtype=np.float64)))
    return variance**0.5 if variance > 0 else 1.0


def fit_logistic(x: np.ndarray, labels: np.ndarray, classes: int, rows: np.ndarray, penalties: np.ndarray) -> Heads:
    """Logistic regressions, binary or multinomial, by accelerated gradient steps that need no line search.

    In the axes of X'X no curvature is above s/4 + penalty (s/2 with several classes; Boehning 1992), whichever rows a
    model is fitted to, so a step of that length always improves. Momentum restarts as in O'Donoghue and Candes 2015.

    Args:
        x: [N D] features.
        labels: [N] classes.
        classes: how many there are.
        rows: [S N] True on the rows that a model is fitted to.
        penalties: [P].
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
    # The strongest first, which is soon done: each starts where the one before it came to.
    for place in np.argsort(-penalties):
        decay = np.where(np.arange(len(bound)) < len(axes), penalties[place], 0)
        found = np.asarray(_solve(*arrays, decay.astype(np.float32), found))
        weights[:, place] = found.swapaxes(0, 1)
    return Heads(centre, np.einsum("de,speo->spdo", axes, weights[:, :, :-1]), weights[:, :, -1])


def fit_ridge(x: np.ndarray, scores: np.ndarray, rows: np.ndarray, penalties: np.ndarray) -> Heads:
    """Ridge regressions, each set of rows solved for all penalties at once in the axes of its covariance.

    Args as `fit_logistic`, with scores [N].
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
    """weights and ahead [D S O], momentum and moved [S]: how far the last step went."""

    weights: Array
    ahead: Array
    momentum: Array
    moved: Array
    step: Array


@jax.jit
def _solve(x: Array, targets: Array, rows: Array, bound: Array, decay: Array, start: Array) -> Array:
    """Weights [D S O] from features [N D], targets [N O], rows [N S], the bounds of curvature and penalties [D]."""
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
    return lax.while_loop(partial(_is_going, small), step, state).weights


def _is_going(small: Array, state: _State) -> Array:
    return (state.moved > small).any() & (state.step < MAX_STEPS)
