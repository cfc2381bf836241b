"""Rows of a split can be taken and held out."""

import numpy as np
import pytest

from bert_jax.errors import InputError
from bert_jax.tasks.task import Split, hold_out


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
