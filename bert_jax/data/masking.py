"""Choice of the tokens to predict, and their replacement (arXiv 1810.04805, section 3.1 and appendix A.2)."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt64

from bert_jax.pretrain_config import ObjectiveConfig

_LONGEST, _STOP = 10, 0.2
"""A span has at most 10 words and ends after each with probability 0.2: 3.8 words in the mean (arXiv 1907.10529)."""
_SPANS = np.cumsum(_STOP * (1 - _STOP) ** np.arange(_LONGEST)) / (1 - (1 - _STOP) ** _LONGEST)
"""The share of spans that have at most 1, 2, ..., 10 words."""
_NEVER = 1 << 20
"""Size assigned to words that cannot be chosen: larger than any room."""


class Masked(NamedTuple):
    """ids [B L] with replacements; positions, targets [B M] int32 and weights [B M] float32."""

    ids: np.ndarray
    positions: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def num_slots(max_length: int, objective: ObjectiveConfig) -> int:
    """Slots M for the masked tokens of every example of that length.

    >>> num_slots(128, ObjectiveConfig())
    20
    """
    return max(1, math.ceil(objective.mask_rate * max_length))


def next_tokens(ids: Int[np.ndarray, "B L"], mask: Bool[np.ndarray, "B L"]) -> Masked:
    """Every position but the last predicts the token after it, and nothing is masked; padding has weight 0."""
    positions = np.broadcast_to(np.arange(ids.shape[1] - 1, dtype=np.int32), (len(ids), ids.shape[1] - 1))
    return Masked(ids, positions.copy(), np.where(mask, ids, 0)[:, 1:], mask[:, 1:].astype(np.float32))


def mask_tokens(
    ids: Int[np.ndarray, "B L"],
    candidates: Bool[np.ndarray, "B L"],
    lengths: Int[np.ndarray, " B"],
    draws: UInt64[np.ndarray, "B R"],
    *,
    objective: ObjectiveConfig,
    starts_word: Bool[np.ndarray, " V"] | None,
    mask_id: int,
    vocabulary: tuple[int, int],
) -> Masked:
    """Choose round(rate * length) of the candidates, at least one, and replace them.

    Words are masked whole and in random order; a word longer than the number of tokens left to choose is skipped, so
    that fewer may be chosen. Spans begin at random words and end with the segment, before a masked token, or before a
    word longer than the number of tokens left to choose.

    Args:
        ids: token ids; they are not changed.
        candidates: tokens that may be chosen: no padding and no special token, so never the first of a row.
        lengths: real tokens of each row, special ones included, as BERT's code counts them.
        draws: L + M times 64 random bits for each row.
        objective: the unit of masking, the rate, and the shares of [MASK] and of random tokens; the kind of
            replacement is drawn for each token, but only once for a whole span.
        starts_word: True for ids that begin a word; None is enough for masking tokens one by one.
        mask_id: the id of [MASK].
        vocabulary: first and one past the last id of a random replacement.
    """
    length, slots = ids.shape[1], num_slots(ids.shape[1], objective)
    due = np.clip(np.round(objective.mask_rate * lengths).astype(np.int32), 1, slots)
    if objective.masking == "token":
        group = choose_tokens(candidates, due, draws[:, :length])
    else:
        assert starts_word is not None, "words need to be told apart"
        longest = _LONGEST if objective.masking == "span" else 1
        group = choose_words(candidates, starts_word[ids], due, draws[:, :length], longest)
    chosen = np.flatnonzero(group >= 0)
    row = chosen // length
    counts = np.bincount(row, minlength=len(ids))
    slot = row * slots + np.arange(len(chosen)) - (np.cumsum(counts) - counts)[row]
    targets = ids.ravel()[chosen]
    decision = draws[:, length:].ravel()[slot]
    kind = _shared(decision, row, group.ravel()[chosen]) if objective.masking == "span" else decision
    masked = ids.copy()
    masked.ravel()[chosen] = _shown(targets, kind, decision, objective, mask_id, vocabulary)
    filled = [np.zeros((len(ids), slots), dtype) for dtype in (np.int32, np.int32, np.float32)]
    for array, values in zip(filled, (chosen - row * length, targets, 1), strict=True):
        array.ravel()[slot] = values
    return Masked(masked, *filled)


def choose_tokens(
    candidates: Bool[np.ndarray, "B L"], due: Int[np.ndarray, " B"], draws: UInt64[np.ndarray, "B L"]
) -> Int[np.ndarray, "B L"]:
    """Choose `due` tokens of each row, or all candidates if there are fewer: 0 for chosen tokens, -1 for others."""
    keys = _keys(candidates, draws)
    due = np.minimum(due, candidates.sum(1))
    limit = np.take_along_axis(np.sort(keys, axis=1), np.maximum(due - 1, 0)[:, None], 1)
    return np.where((keys <= limit) & (due > 0)[:, None], 0, -1)


def choose_words(
    candidates: Bool[np.ndarray, "B L"],
    begins: Bool[np.ndarray, "B L"],
    due: Int[np.ndarray, " B"],
    draws: UInt64[np.ndarray, "B L"],
    longest: int,
) -> Int[np.ndarray, "B L"]:
    """For each token the number of its span, of at most `longest` words; -1 for tokens that are not chosen.

    Every word of a row is tried once as the beginning of a span, in random order: the loop is over those tries.
    Words are numbered consecutively across rows, and a token that is no candidate counts as a word that never fits,
    which also keeps spans within their segment and row. A word begins where `begins` is true, and with a segment.
    """
    rows, length = candidates.shape
    begins = begins | ~candidates
    begins[:, 1:] |= ~candidates[:, :-1]
    first = np.flatnonzero(begins)
    sizes = np.diff(first, append=candidates.size)
    sizes[~candidates.ravel()[first]] = _NEVER
    sizes = np.concatenate([sizes, np.full(longest, _NEVER)])
    word = (np.cumsum(begins) - 1).reshape(rows, length)
    span = np.full(len(sizes), -1)
    order = _columns(np.sort(_keys(begins & candidates, draws), axis=1))
    tries, steps = np.take_along_axis(word, order, 1), np.arange(longest)
    left, active = due.copy(), np.arange(rows)
    for number in range(length):
        active = active[left[active] > 0]
        if not len(active):
            break
        window = tries[active, number][:, None] + steps
        total = np.cumsum(sizes[window], axis=1)
        fits = total <= left[active, None]
        if longest > 1:
            extra = np.searchsorted(_SPANS, _fraction(draws[active, order[active, number]]), side="right")
            fits &= steps <= extra[:, None]
        left[active] -= np.max(total * fits, axis=1).astype(np.int32)
        span[window[fits]] = number
        sizes[window[fits]] = _NEVER
    of_words: np.ndarray = span[word]
    return of_words


def _keys(eligible: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Random numbers [B L], distinct within a row, lower for eligible tokens; their last bits are the column."""
    columns = np.arange(draws.shape[1], dtype=np.uint32)
    low = _low_bits(draws.shape[1])
    return np.where(eligible, (draws >> np.uint64(32)).astype(np.uint32), ~np.uint32(0)) & ~low | columns


def _columns(keys: np.ndarray) -> np.ndarray:
    return (keys & _low_bits(keys.shape[1])).astype(np.int64)


def _low_bits(length: int) -> np.uint32:
    return np.uint32((1 << (length - 1).bit_length()) - 1)


def _fraction(draws: np.ndarray) -> np.ndarray:
    """The lower half of some bits as numbers in [0, 1)."""
    return (draws & np.uint64(0xFFFFFFFF)) * 2.0**-32


def _shared(decision: np.ndarray, row: np.ndarray, span: np.ndarray) -> np.ndarray:
    """The decision for each chosen token: that of the first token of its span."""
    begins = (np.diff(row, prepend=-1) != 0) | (np.diff(span, prepend=-1) != 0)
    shared: np.ndarray = decision[begins][np.cumsum(begins) - 1]
    return shared


def _shown(
    targets: np.ndarray,
    kind: np.ndarray,
    word: np.ndarray,
    objective: ObjectiveConfig,
    mask_id: int,
    vocabulary: tuple[int, int],
) -> np.ndarray:
    """Replacement of each target: the upper half of its bits decides the kind, the lower half a random word.

    >>> kind, targets = np.array([0, 2**64 - 1], np.uint64), np.array([7, 7])
    >>> _shown(targets, kind, kind, ObjectiveConfig(), mask_id=4, vocabulary=(5, 9)).tolist()
    [4, 7]
    """
    low, high = vocabulary
    share = (kind >> np.uint64(32)) * 2.0**-32
    random_word = low + (_fraction(word) * (high - low)).astype(np.int32)
    kept = np.where(share < objective.mask_share + objective.random_share, random_word, targets)
    return np.where(share < objective.mask_share, mask_id, kept)
