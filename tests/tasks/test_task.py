"""Rows of a split can be taken and held out, and duplicates between splits are counted."""

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.tasks.task import Split, Task, count_duplicates, hold_out


def rows(number, pairs=True):
    texts = [f"text {i}" for i in range(number)]
    return Split(texts, [f"other {i}" for i in range(number)] if pairs else None, np.arange(number))


@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("number", [2, 9, 10, 105, 1000])
def test_what_is_held_out_is_a_tenth_and_not_trained_on(number, pairs):
    whole = rows(number, pairs)
    train, held = hold_out(whole)
    assert len(held.a) == max(1, round(number / 10))
    assert sorted([*train.labels, *held.labels]) == list(range(number))
    for part in (train, held):
        assert list(part.labels) == sorted(part.labels)
        assert part.a == [whole.a[i] for i in part.labels]
        assert part.b == ([whole.b[i] for i in part.labels] if pairs else None)


def test_the_same_rows_are_held_out_every_time_and_they_are_spread():
    one, other = (hold_out(rows(1000))[1].labels for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert 350 < np.mean(one) < 650 and len(set(one // 100)) == 10


def test_too_few_rows_are_refused():
    with pytest.raises(InputError, match="1 training rows are too few"):
        hold_out(rows(1))


ONE = Task("one", "One", ("text",), ("a", "b"), ("accuracy",))
PAIR = Task("pair", "Pair", ("first", "second"), ("a", "b"), ("accuracy",))
DIRECTED = Task("directed", "Directed", ("first", "second"), ("a", "b"), ("accuracy",), directed=True)


def test_rows_whose_text_was_trained_on_are_counted():
    train = Split(["a cat", "a dog ", "", "a cat"], None, None)
    assert count_duplicates(ONE, train, Split(["a dog", "A dog", "a cat", "a cat", "", "a"], None, None)) == 3


@pytest.mark.parametrize(("task", "count"), [(PAIR, 2), (DIRECTED, 1)])
def test_of_pairs_both_texts_must_have_been_seen_together(task, count):
    train = Split(["a", "c"], ["b", "d"], None)
    assert count_duplicates(task, train, Split(["a", "b", "a", "c"], ["b", "a", "d", "x"], None)) == count


def test_where_folds_take_turns_another_row_must_have_the_text():
    rows = Split(["a", "b", "a", "", "", "c"], None, None)
    assert count_duplicates(ONE, rows, rows) == 2
