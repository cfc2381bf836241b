"""SentEval's head for scores of relatedness: a softmax over the scores 1 to 5, of which the mean is the prediction.

After Tai et al. 2015 (arXiv 1503.00075) and SentEval's code: a score between two whole ones is a target with mass on
both, the loss is the squared error of the probabilities, and Pearson's r on held-out rows decides when to stop. A score
of the STS benchmark below 1 is a target with less mass than 1, as in SentEval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bert_jax.evaluate.metrics import pearson
from bert_jax.types import Array, Tree

BINS = np.arange(1, 6)
BATCH_SIZE, EPOCHS, MAX_EPOCHS, PATIENCE = 64, 50, 1000, 3
"""Rows in a step; epochs between evaluations on the held-out rows; largest number of epochs; evaluations without a
better r that do not end the training, over the whole of it."""
RATE, DECAY, EPSILON = 1e-3, (0.9, 0.999), 1e-8
"""Adam's settings, torch's defaults."""


class _State(NamedTuple):
    """The head, [D + 1, bins] with the intercepts last; Adam's means of its gradient and of their squares; the step."""

    head: Array
    mean: Array
    square: Array
    step: Array


def targets(scores: np.ndarray) -> np.ndarray:
    """Probabilities [N bins] whose mean is the score [N], on the two bins next to it.

    >>> targets(np.array([3.25, 5.0])).tolist()
    [[0.0, 0.0, 0.75, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]]
    """
    found: np.ndarray = np.clip(1 - abs(scores[:, None] - BINS), 0, None)
    return found


def predict_relatedness(
    x: np.ndarray,
    scores: np.ndarray,
    held: np.ndarray,
    held_scores: np.ndarray,
    others: Sequence[np.ndarray],
    seed: int,
) -> list[np.ndarray]:
    """Train a head, and predict scores.

    Args:
        x: [N D] features to train on.
        scores: [N] their scores.
        held: [M D] features that decide which epochs' head is the best.
        held_scores: [M] their scores.
        others: [K D] features to predict scores of.
        seed: decides the first weights and the order of the rows.

    Returns:
        [K] float32 scores for each of `others`.
    """
    random = np.random.default_rng(seed)
    x, held, *others = (np.column_stack([part, np.ones(len(part))]).astype(np.float32) for part in (x, held, *others))
    bound = (x.shape[1] - 1) ** -0.5
    first = random.uniform(-bound, bound, (x.shape[1], len(BINS))).astype(np.float32)
    state = _State(jnp.asarray(first), jnp.zeros_like(first), jnp.zeros_like(first), jnp.array(0))
    best, best_head, passed = -1.0, first, 0
    wanted = jnp.asarray(targets(scores), jnp.float32)
    for _ in range(0, MAX_EPOCHS + 1, EPOCHS):
        state = _train(jnp.asarray(x), wanted, _batches(random, len(x)), state)
        head = np.asarray(state.head)
        found = pearson(_predict(head, held), held_scores)
        if found > best:
            best, best_head = found, head
        elif passed >= PATIENCE:
            break
        else:
            passed += 1
    return [_predict(best_head, other) for other in others]


def _batches(random: np.random.Generator, rows: int) -> Array:
    """Rows of each step of `EPOCHS` epochs [steps batch]; -1 fills the last batch of each epoch."""
    orders = np.stack([random.permutation(rows) for _ in range(EPOCHS)])
    filled = np.pad(orders, ((0, 0), (0, -rows % BATCH_SIZE)), constant_values=-1)
    return jnp.asarray(filled.reshape(-1, BATCH_SIZE))


@jax.jit
def _train(x: Array, wanted: Array, batches: Array, state: _State) -> _State:
    def loss(head: Array, rows: Array) -> Array:
        errors = jax.nn.softmax(jnp.matmul(x[rows], head, precision="highest")) - wanted[rows]
        there = (rows >= 0)[:, None]
        return jnp.sum(errors**2 * there) / (there.sum() * len(BINS))

    def step(state: _State, rows: Tree) -> tuple[_State, None]:
        gradient, number = jax.grad(loss)(state.head, rows), state.step + 1
        mean = DECAY[0] * state.mean + (1 - DECAY[0]) * gradient
        square = DECAY[1] * state.square + (1 - DECAY[1]) * gradient**2
        scale = jnp.sqrt(square / (1 - DECAY[1] ** number)) + EPSILON
        head = state.head - RATE * mean / (1 - DECAY[0] ** number) / scale
        return _State(head, mean, square, number), None

    return lax.scan(step, state, batches)[0]


def _predict(head: np.ndarray, x: np.ndarray) -> np.ndarray:
    logits = x @ head
    chances = np.exp(logits - logits.max(1, keepdims=True))
    found: np.ndarray = (chances @ BINS / chances.sum(1)).astype(np.float32)
    return found
