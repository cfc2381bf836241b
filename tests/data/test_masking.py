"""Masking: statistics of BERT's recipe, whole words, spans, and comparison with slow references."""

import itertools

import numpy as np
import pytest

from bert_jax.data.counter_rng import bits, uniform
from bert_jax.data.masking import choose_words, mask_tokens, next_tokens, num_slots
from bert_jax.data.objectives import make_objectives
from bert_jax.pretrain_config import ObjectiveConfig

VOCABULARY = (5, 1000)
STARTS = uniform(0, 0, np.arange(1000), 9, 1)[:, 0] < 0.6
"""Of each id, whether it begins a word: words have 1.67 pieces in the mean."""
ROWS = np.arange(3000)
MASKINGS = pytest.mark.parametrize("masking", ["token", "whole_word", "span"])
TABLE_8 = [(0.8, 0.1), (1.0, 0.0), (0.8, 0.0), (0.8, 0.2), (0.0, 0.2), (0.0, 0.0), (0.0, 1.0)]
"""Shares of [MASK] and of random tokens in BERT's Table 8, and random tokens alone; the rest is shown as it is."""


def rows_of(count, length):
    """Ids and what may be masked: rows of 8 or more tokens, with one special token before, behind and in the middle."""
    rng = np.random.default_rng(0)
    ids = rng.integers(*VOCABULARY, (count, length)).astype(np.int32)
    lengths = rng.integers(8, length + 1, count)
    column, middle = np.arange(length), (lengths * rng.uniform(0.3, 0.7, count)).astype(int)
    candidates = (column > 0) & (column < lengths[:, None] - 1) & (column != middle[:, None])
    return ids, candidates, lengths


def masked_rows(objective, rows=ROWS, length=64, epoch=0, starts=STARTS):
    ids, candidates, lengths = rows_of(len(rows), length)
    draws = bits(0, epoch, rows, 1, length + num_slots(length, objective))
    masked = mask_tokens(
        ids, candidates, lengths, draws, objective=objective, starts_word=starts, mask_id=4, vocabulary=VOCABULARY
    )
    return ids, candidates, lengths, draws, masked


def chosen_by(masked):
    """[B L] bool: what the slots point at."""
    chosen = np.zeros(masked.ids.shape, bool)
    row, slot = np.nonzero(masked.weights)
    chosen[row, masked.positions[row, slot]] = True
    assert chosen.sum() == len(row), "nothing is predicted twice"
    return chosen


def words_of(candidates, begins):
    """The words of a row, as lists of columns."""
    words = []
    for column in np.flatnonzero(candidates):
        if begins[column] or not candidates[column - 1]:
            words.append([])
        words[-1].append(int(column))
    return words


def choice_by_hand(candidates, begins, due, draws, longest):
    """One row of `choose_words`, word by word."""
    shares = [0.2 * 0.8**k / (1 - 0.8**10) for k in range(10)]
    words = words_of(candidates, begins)
    span = np.full(len(candidates), -1)
    for number, start in enumerate(sorted(range(len(words)), key=lambda w: draws[words[w][0]])):
        u, most = (int(draws[words[start][0]]) % 2**32) / 2**32, 1
        if longest > 1:
            most = 1 + sum(u >= share for share in itertools.accumulate(shares[:-1]))
        previous = words[start][0] - 1
        for word in words[start : start + most]:
            if span[word[0]] >= 0 or word[0] != previous + 1 or len(word) > due:
                break
            span[word], due, previous = number, due - len(word), word[-1]
    return span


@MASKINGS
def test_slots_hold_what_is_chosen_in_order_and_only_that_changes(masking):
    ids, candidates, _, _, masked = masked_rows(ObjectiveConfig(masking=masking))
    before = rows_of(len(ids), ids.shape[1])[0]
    np.testing.assert_array_equal(ids, before, "masking leaves its input as it is")
    chosen = chosen_by(masked)
    assert not (chosen & ~candidates).any() and not (masked.ids != ids)[~chosen].any()
    for row, weights in enumerate(masked.weights):
        count = int(weights.sum())
        assert weights.tolist() == [1] * count + [0] * (len(weights) - count)
        positions = masked.positions[row, :count]
        assert (np.diff(positions) > 0).all()
        np.testing.assert_array_equal(masked.targets[row, :count], ids[row, positions])
        assert not masked.targets[row, count:].any() and not masked.positions[row, count:].any()


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.4])
def test_the_set_share_is_chosen_and_at_least_one(rate):
    _, candidates, lengths, _, masked = masked_rows(ObjectiveConfig(mask_rate=rate))
    due = [min(max(1, round(rate * int(n))), int(c)) for n, c in zip(lengths, candidates.sum(1), strict=True)]
    assert masked.weights.sum(1).tolist() == due, "BERT predicts round(rate * tokens), at least one"
    assert masked.weights.sum() / lengths.sum() == pytest.approx(rate, abs=0.003)


@pytest.mark.parametrize(("mask", "random"), TABLE_8)
@MASKINGS
def test_chosen_tokens_become_mask_random_or_themselves_in_the_set_shares(masking, mask, random):
    objective = ObjectiveConfig(masking=masking, mask_share=mask, random_share=random)
    masked = masked_rows(objective, rows=np.arange(8000))[-1]
    kept = masked.weights == 1
    shown, targets = np.take_along_axis(masked.ids, masked.positions, 1)[kept], masked.targets[kept]
    assert len(shown) > 35_000
    n = len(shown) if masking != "span" else len(shown) / 7  # a span of up to some 7 tokens decides once
    for name, share, wanted in [
        ("[MASK]", (shown == 4).mean(), mask),
        ("random", ((shown != 4) & (shown != targets)).mean(), random * 994 / 995),
        ("itself", (shown == targets).mean(), 1 - mask - random + random / 995),
    ]:
        bound = 4 * (max(wanted, 0) * (1 - wanted) / n) ** 0.5
        assert share == pytest.approx(wanted, abs=max(bound, 1e-9)), name
    words = shown[(shown != 4) & (shown != targets)]
    if random:
        assert words.min() == 5 and words.max() == 999 and len(np.unique(words)) > 900
        counts = np.bincount(words, minlength=1000)[5:]
        assert abs(counts - counts.mean()).max() < 5 * counts.mean() ** 0.5


def test_every_place_is_as_likely_to_be_chosen_whatever_is_shown_there():
    _, candidates, lengths, _, masked = masked_rows(ObjectiveConfig(), rows=np.arange(20_000))
    full = lengths >= 60
    number = candidates[full].sum(0)[1:59]
    share = chosen_by(masked)[full].sum(0)[1:59] / number
    assert (abs(share - share.mean()) < 4 * (share.mean() * (1 - share.mean()) / number) ** 0.5).all()
    kinds = np.take_along_axis(masked.ids, masked.positions, 1)[full] == 4
    assert abs(np.corrcoef(kinds[:, 0], kinds[:, 1])[0, 1]) < 4 / len(kinds) ** 0.5


@pytest.mark.parametrize("length", [16, 64, 100])
@pytest.mark.parametrize("longest", [1, 10])
def test_words_and_spans_are_those_of_a_slow_reference(longest, length):
    ids, candidates, lengths = rows_of(300, length)
    due = np.maximum(1, lengths // 4).astype(np.int32)
    draws = bits(3, 0, np.arange(300), 1, length)
    spans = choose_words(candidates, STARTS[ids], due, draws, longest)
    for row, span in enumerate(spans):
        wanted = choice_by_hand(candidates[row], STARTS[ids[row]], int(due[row]), draws[row].tolist(), longest)
        np.testing.assert_array_equal(span, wanted)


@pytest.mark.parametrize("masking", ["whole_word", "span"])
def test_words_are_masked_whole_and_as_many_as_fit(masking):
    objective = ObjectiveConfig(masking=masking)
    ids, candidates, lengths, _, masked = masked_rows(objective, rows=np.arange(800))
    chosen = chosen_by(masked)
    missing = 0
    for row in range(len(ids)):
        words = words_of(candidates[row], STARTS[ids[row]])
        taken = [bool(chosen[row, word].any()) for word in words]
        assert taken == [bool(chosen[row, word].all()) for word in words]
        left = max(1, round(0.15 * int(lengths[row]))) - int(chosen[row].sum())
        assert left >= 0, "no more than round(rate * tokens)"
        missing += left
        assert all(len(word) > left for word, gone in zip(words, taken, strict=True) if not gone)
    assert missing < 0.03 * chosen.sum()


def test_whole_words_are_chosen_as_often_as_by_the_original_code():
    """Shuffle the words, take each that still fits: the shares by number of pieces are the same."""
    ids, candidates, lengths, _, masked = masked_rows(ObjectiveConfig(masking="whole_word"))
    chosen, rng = chosen_by(masked), np.random.default_rng(0)
    ours, theirs, all_ = np.zeros(6), np.zeros(6), np.zeros(6)
    for row in range(len(ids)):
        words = words_of(candidates[row], STARTS[ids[row]])
        left = max(1, round(0.15 * int(lengths[row])))
        for w in rng.permutation(len(words)):
            fits = len(words[w]) <= left
            left -= len(words[w]) * fits
            size = min(len(words[w]), 5)
            theirs[size] += fits
            all_[size] += 1
            ours[size] += chosen[row, words[w][0]]
    for size in range(1, 6):
        spread = (all_[size] * 0.15 * 0.85) ** 0.5
        assert all_[size] > 1000 and abs(ours[size] - theirs[size]) < 4 * 2**0.5 * spread, size


def test_words_of_one_piece_are_chosen_as_tokens_are():
    everywhere = np.ones(1000, bool)
    tokens = masked_rows(ObjectiveConfig())[-1]
    words = masked_rows(ObjectiveConfig(masking="whole_word"), starts=everywhere)[-1]
    for one, other in zip(tokens, words, strict=True):
        np.testing.assert_array_equal(one, other)


def test_spans_have_geometric_lengths_and_begin_anywhere():
    length, rows = 200, 20_000
    candidates = np.ones((rows, length), bool)
    candidates[:, 0] = False
    begins = np.tile(np.arange(length) % 2 == 1, (rows, 1))  # words of two tokens
    draws = bits(0, 0, np.arange(rows), 1, length)
    spans = choose_words(candidates, begins, np.full(rows, 100, np.int32), draws, 10)
    first = spans == 0
    start, words = first.argmax(1), first.sum(1) / 2
    inside = start < length - 20
    counts = np.bincount(words[inside].astype(int), minlength=11)[1:]
    wanted = inside.sum() * 0.2 * 0.8 ** np.arange(10) / (1 - 0.8**10)
    assert len(counts) == 10 and ((counts - wanted) ** 2 / wanted).sum() < 27.9  # chi2 of 9 degrees, 0.1%
    assert words[inside].mean() == pytest.approx(3.8, abs=0.08), "as in the paper"
    places = np.bincount(start // 2, minlength=100)[:99]
    assert ((places - places.mean()) ** 2 / places.mean()).sum() < 98 + 4 * (2 * 98) ** 0.5


def test_a_span_lies_in_one_segment_and_is_shown_in_one_way():
    objective = ObjectiveConfig(masking="span", mask_share=0.5, random_share=0.25)
    ids, candidates, lengths, draws, masked = masked_rows(objective)
    due = np.clip(np.round(0.15 * lengths).astype(np.int32), 1, num_slots(64, objective))
    spans = choose_words(candidates, STARTS[ids], due, draws[:, :64], 10)
    np.testing.assert_array_equal(spans >= 0, chosen_by(masked))
    kinds, several = [], 0
    for row, number in np.unique(np.stack([np.nonzero(spans >= 0)[0], spans[spans >= 0]]), axis=1).T:
        columns = np.flatnonzero(spans[row] == number)
        assert (np.diff(columns) == 1).all(), "without a special token in between, or another span"
        shown, was = masked.ids[row, columns], ids[row, columns]
        kind = "mask" if (shown == 4).all() else "same" if (shown == was).all() else "random"
        assert kind != "random" or not (shown == 4).any()
        several += len(columns) > 2
        kinds.append(kind)
    assert several > 1000
    for kind, wanted in [("mask", 0.5), ("same", 0.25), ("random", 0.25)]:
        share = kinds.count(kind) / len(kinds)
        assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / len(kinds)) ** 0.5 + 0.001)


def test_left_to_right_predicts_every_next_token():
    ids = np.array([[2, 7, 8, 9, 3, 0, 0], [2, 7, 3, 0, 0, 0, 0]], np.int32)
    mask = np.arange(7) < np.array([[5], [3]])
    out = next_tokens(ids, mask)
    np.testing.assert_array_equal(out.ids, ids)
    assert out.positions.tolist() == [[0, 1, 2, 3, 4, 5]] * 2
    assert out.targets.tolist() == [[7, 8, 9, 3, 0, 0], [7, 3, 0, 0, 0, 0]]
    assert out.weights.tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0]]
    assert out.positions.shape[1] == make_objectives(ObjectiveConfig("ltr", "none"))[0].num_slots(7)
