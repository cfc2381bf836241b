"""Which tokens to predict, and what stands in their place (arXiv 1810.04805, section 3.1)."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
"""Of the chosen tokens, 80% become [MASK], 10% a random token, 10% stay."""


class Masked(NamedTuple):
    """ids [B L] with replacements; positions, targets [B M] int32 and weights [B M] float32."""

    ids: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def num_slots(max_length: int, rate: float) -> int:
    """Slots M that every example of that length has room for.

    >>> num_slots(128, 0.15)
    20
    """
    return max(1, math.ceil(rate * max_length))


def mask_tokens(
    ids: Int[np.ndarray, "B L"],
    candidates: Bool[np.ndarray, "B L"],
    lengths: Int[np.ndarray, " B"],
    draws: Float[np.ndarray, "B R"],
    *,
    rate: float,
    mask_id: int,
    vocabulary: tuple[int, int],
) -> Masked:
    """Choose round(rate * length) of the candidates, at least one, and replace them.

    Args:
        ids: token ids; they are not changed.
        candidates: what may be chosen: no padding and no special token.
        lengths: real tokens of each row, special ones included, as BERT's code counts them.
        draws: L + 2 M numbers in [0, 1) for each row.
        rate: share of tokens to choose.
        mask_id: the id of [MASK].
        vocabulary: first and one past the last id of a random replacement.
    """
    length = ids.shape[1]
    slots = num_slots(length, rate)
    scores = np.where(candidates, draws[:, :length], 2.0)
    chosen = np.sort(np.argpartition(scores, slots - 1, axis=1)[:, :slots], axis=1)
    # The lowest scores win; of the slots, keep as many as this row is due, wherever they stand.
    wanted = np.clip(np.round(rate * lengths).astype(int), 1, np.minimum(slots, candidates.sum(1)))
    rank = np.take_along_axis(scores, chosen, 1).argsort(1).argsort(1)
    keep = rank < wanted[:, None]
    order = np.argsort(~keep, axis=1, kind="stable")
    positions, keep = np.take_along_axis(chosen, order, 1), np.take_along_axis(keep, order, 1)
    targets = np.take_along_axis(ids, positions, 1)
    kind, word = draws[:, length : length + slots], draws[:, length + slots : length + 2 * slots]
    low, high = vocabulary
    random_word = low + (word * (high - low)).astype(np.int32)
    shown = np.where(kind < MASK_SHARE, mask_id, np.where(kind < MASK_SHARE + RANDOM_SHARE, random_word, targets))
    masked = ids.copy()
    np.put_along_axis(masked, np.where(keep, positions, 0), np.where(keep, shown, ids[:, :1]), 1)
    zeroed = [np.where(keep, x, 0).astype(np.int32) for x in (positions, targets)]
    return Masked(masked, *zeroed, keep.astype(np.float32))
