"""Duplicates between training and evaluation are counted as a reader of the rows would."""

import pytest

from bert_jax.tasks.task import Split, Task, count_duplicates

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
