"""Buckets that pad least, epochs that hold every row once, and padding that hides nothing and adds nothing."""

import contextlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from bert_jax.data.batching import (
    Examples,
    Shuffle,
    choose_buckets,
    encode_split,
    encode_texts,
    epoch_plan,
    length_steps,
    pack_rows,
    pad_tokens,
    task_batch,
    task_batches,
)
from bert_jax.tasks.task import Split
from bert_jax.tokenizers.template import Encoding, SpecialIds, Template
from bert_jax.tokenizers.tokenizer import load_tokenizer

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)
BUCKETS = (8, 16, 40)


def lengths_of(rows, seed=0, longest=40):
    return np.random.default_rng(seed).integers(2, longest + 1, rows)


def examples_of(lengths, labels=None):
    """Rows whose tokens say which row they are of."""
    rows = [[2, *([10 + i] * (n - 2)), 3] for i, n in enumerate(lengths)]
    labels = np.arange(len(rows), dtype=np.int32) if labels is None else labels
    return Examples([Encoding(ids, [0] * len(ids)) for ids in rows], labels, SPECIAL)


def padded(lengths, buckets):
    return sum(min(b for b in buckets if b >= n) for n in lengths)


@pytest.mark.parametrize("num_buckets", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(8))
def test_no_buckets_pad_less_than_the_chosen_ones(num_buckets, seed):
    lengths = lengths_of(25, seed, longest=60)
    chosen = choose_buckets(lengths, num_buckets, 128)
    least = {
        number: min(
            padded(lengths, buckets)
            for buckets in itertools.combinations(range(8, 65, 8), number)
            if buckets[-1] >= lengths.max()
        )
        for number in range(1, num_buckets + 1)
    }
    assert padded(lengths, chosen) == least[len(chosen)] <= 1.02 * min(least.values())
    assert all(1.02 * min(least.values()) < least[number] for number in range(1, len(chosen)))
    assert 1 <= len(chosen) <= num_buckets and list(chosen) == sorted(set(chosen))
    assert all(bucket % 8 == 0 for bucket in chosen)


def test_buckets_do_not_pass_the_longest_input():
    assert choose_buckets(np.array([3, 29, 30]), 4, 30) == (8, 30)


def test_fewer_lengths_than_buckets_get_a_bucket_each():
    assert choose_buckets(np.array([5, 5, 20]), 6, 128) == (8, 24)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 64, 203])
@pytest.mark.parametrize("shuffled", [True, False])
def test_an_epoch_holds_every_row_once_in_as_few_batches_as_possible(rows, shuffled):
    lengths = lengths_of(rows)
    plans = epoch_plan(lengths, BUCKETS, 8, Shuffle(0, 0) if shuffled else None)
    assert sorted(np.concatenate([plan.rows for plan in plans])) == list(range(rows))
    assert len(plans) == math.ceil(rows / 8)
    assert sum(len(plan.rows) < 8 for plan in plans) == (rows % 8 > 0)
    assert all(plan.length in BUCKETS and plan.length >= lengths[plan.rows].max() for plan in plans)


def test_an_epoch_is_a_function_of_seed_and_epoch():
    examples = examples_of(lengths_of(60))

    def labels(seed, epochs):
        return [batch.labels.tolist() for batch in task_batches(examples, BUCKETS, 8, seed, epochs)]

    once, twice = labels(3, 1), labels(3, 2)
    assert twice[: len(once)] == once, "an epoch must not depend on how many follow"
    assert twice[len(once) :] != once, "the second epoch has the order of the first"
    assert labels(3, 2) == twice and labels(4, 1) != once


def test_all_seeds_have_batches_of_the_same_lengths_at_each_step_and_other_rows_in_them():
    lengths, found = lengths_of(203), {}
    for seed in range(3):
        for epoch in range(2):
            plans = epoch_plan(lengths, BUCKETS, 8, Shuffle(seed, epoch))
            shapes = [(plan.length, len(plan.rows)) for plan in plans]
            found[seed, epoch] = shapes, [sorted(plan.rows.tolist()) for plan in plans]
            assert shapes == found[0, epoch][0]
    assert found[0, 0][0] != found[0, 1][0], "another epoch has another order"
    batches = [batches for _, batches in found.values()]
    assert len({str(rows) for epoch in batches for rows in epoch}) == sum(map(len, batches)), "no batch occurs twice"


def test_training_batches_are_not_in_the_order_of_their_lengths():
    plans = epoch_plan(lengths_of(400), BUCKETS, 8, Shuffle(0, 0))
    steps = np.diff([plan.length for plan in plans])
    assert (steps < 0).sum() > 5 and (steps > 0).sum() > 5


def test_an_evaluation_is_by_length_and_without_chance():
    lengths = lengths_of(50)
    plans, again = epoch_plan(lengths, BUCKETS, 8), epoch_plan(lengths, BUCKETS, 8)
    assert [plan.rows.tolist() for plan in plans] == [plan.rows.tolist() for plan in again]
    mixed = np.random.default_rng(1).permutation(50)
    moved = epoch_plan(lengths[mixed], BUCKETS, 8)
    assert [plan.length for plan in moved] == [plan.length for plan in plans]
    seen = np.concatenate([plan.rows for plan in moved])
    assert sorted(mixed[seen]) == list(range(50)), "the order of the rows must not decide which are scored"


def test_padding_is_masked_and_special_tokens_are_marked():
    rows = [Encoding([2, 7, 3, 8, 9, 3], [0, 0, 0, 1, 1, 1]), Encoding([2, 3], [0, 0])]
    tokens = pad_tokens(rows, SPECIAL, 4, 8)
    first = [2, 7, 3, 8, 9, 3, 0, 0]
    assert tokens.ids.tolist() == [first, [2, 3] + [0] * 6, [2] + [0] * 7, [2] + [0] * 7]
    assert tokens.segments[0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0] and not tokens.segments[1:].any()
    assert tokens.mask.sum(1).tolist() == [6, 2, 1, 1], "a filling row has one token: no average is over none"
    assert tokens.special[0].tolist() == [True, False, True, False, False, True, False, False]
    assert tokens.special.sum(1).tolist() == [3, 2, 1, 1]
    assert (tokens.ids.dtype, tokens.mask.dtype) == (np.int32, bool)


def test_a_padding_id_is_no_special_token_even_where_the_ids_coincide():
    special = SPECIAL._replace(pad=3)
    tokens = pad_tokens([Encoding([2, 7, 3], [0, 0, 0])], special, 1, 8)
    assert tokens.special.tolist() == [[True, False, True] + [False] * 5]


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_a_batch_has_its_rows_labels_and_weights_of_zero_elsewhere(dtype):
    labels = np.array([1, 2.75, 3.5, 4], dtype)
    examples = examples_of([4, 6, 5, 3], labels)
    (plan,) = epoch_plan(examples.lengths[:3], (8,), 8, Shuffle(0, 0))
    batch = task_batch(examples, plan, 8)
    assert batch.labels.dtype == dtype, "scores must stay fractions"
    np.testing.assert_array_equal(batch.labels, np.concatenate([labels[plan.rows], np.zeros(5, dtype)]))
    np.testing.assert_array_equal(batch.weights, np.array([1, 1, 1, 0, 0, 0, 0, 0], np.float32))
    np.testing.assert_array_equal(batch.tokens.ids[:3, 1], 10 + plan.rows)


class Letters:
    """A token for each letter."""

    vocab_size = 200
    special = SPECIAL
    template = Template.of_bert(SPECIAL)

    def pieces(self, texts):
        return [[ord(letter) for letter in text] for text in texts]


@pytest.mark.parametrize("length", [8, 9, 20])
def test_texts_are_cut_to_the_limit_and_empty_ones_keep_their_special_tokens(length):
    texts = ["", "ab", "x" * 50]
    single = encode_texts(Letters(), texts, None, length)
    assert [len(e.ids) for e in single] == [2, 4, length]
    assert single[0].ids == [2, 3]
    pairs = encode_texts(Letters(), texts, ["y" * 50, "", ""], length)
    assert [len(e.ids) for e in pairs] == [length, 5, length]
    for encoding in [*single, *pairs]:
        assert encoding.ids[0] == 2 and encoding.ids[-1] == 3 and len(encoding.ids) == len(encoding.segments)


def test_a_split_keeps_its_rows_and_labels_in_file_order():
    labels = np.array([0, 1, 1], np.int32)
    examples = encode_split(Letters(), Split(["a", "bb", ""], None, labels), 8)
    assert examples.lengths.tolist() == [3, 4, 2] and examples.labels.tolist() == [0, 1, 1]


@pytest.mark.parametrize("limit", [3, 4, 17, 40, 128, 256, 512])
def test_length_steps_rise_to_the_limit_and_pad_little(limit: int) -> None:
    steps = length_steps(limit)
    assert steps[-1] == limit and list(steps) == sorted(set(steps)) and len(steps) <= 32
    assert all(above <= max(below + 4, 1.25 * below) for below, above in itertools.pairwise(steps))


@pytest.mark.parametrize(("share", "batch_size"), [(1, None), (3, None), (2, 6)])
@pytest.mark.parametrize("rows", [1, 2, 7, 500])
def test_packs_hold_every_row_once_in_shapes_that_come_again(rows: int, share: int, batch_size: int | None) -> None:
    lengths, steps = np.random.default_rng(rows).integers(2, 41, rows), length_steps(40)
    packs = list(pack_rows(lengths, steps, 128, share, batch_size))
    assert sorted(np.concatenate([pack.rows for pack in packs])) == list(range(rows))
    for pack in packs:
        assert len(pack.rows) <= pack.size and pack.length in steps and lengths[pack.rows].max() <= pack.length
        assert lengths[pack.rows].max() > ([0, *steps])[steps.index(pack.length)], "no length is longer than it need be"
        if batch_size is None:
            times = pack.size // share
            assert pack.size % share == 0 and times & (times - 1) == 0
            assert pack.size == share or pack.size * pack.length <= 128
        else:
            assert pack.size == batch_size
    assert all(len(pack.rows) == pack.size for pack in packs[:-1]), "one batch at most has rows that only fill it"


@pytest.mark.parametrize(("unknown", "said"), [(1, None), (2, None), (3, r"CoLA, train: 30% of the tokens are")])
def test_a_text_of_unknown_words_is_warned_of(unknown: int, said: str | None, tmp_path: Path) -> None:
    """More than a fifth, over first and second texts together."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n")
    words = ["x"] * unknown + ["a"] * (10 - unknown)
    first, second = [" ".join(words[:4])], [" ".join(words[4:])]
    with pytest.warns(UserWarning, match=said) if said else contextlib.nullcontext():
        encode_texts(load_tokenizer(tmp_path), first, second, 16, "CoLA, train")
    assert encode_texts(load_tokenizer(tmp_path), [""], None, 16)
