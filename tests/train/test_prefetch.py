"""Batches arrive in order, made ahead, and with them whatever went wrong in the making."""

import threading
import time

import pytest

from bert_jax.train.prefetch import Prefetch


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_all_batches_come_in_order_and_the_thread_ends():
    with Prefetch(iter(range(50)), depth=3) as batches:
        assert list(batches) == list(range(50))
        assert list(batches) == []
    assert not threads()


def test_batches_are_made_ahead_but_no_more_than_asked():
    made = []

    def making():
        for number in range(100):
            made.append(number)
            yield number

    with Prefetch(making(), depth=2) as batches:
        assert next(batches) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert made == [0, 1, 2, 3], "one was taken, two are ready, one waits for its place"
    assert not threads() and len(made) <= 8


def test_the_time_spent_waiting_is_counted_and_no_other():
    def slow():
        for number in range(3):
            time.sleep(0.1)
            yield number

    with Prefetch(slow()) as batches:
        next(batches)
        assert 0.05 < batches.waited < 0.4
        time.sleep(0.5)  # all that is left is made meanwhile
        before = batches.waited
        list(batches)
        assert batches.waited - before < 0.05


def test_an_error_in_the_making_is_raised_where_the_batch_is_taken():
    def failing():
        yield 1
        raise ValueError("no more")

    with Prefetch(failing()) as batches:
        assert next(batches) == 1
        for _ in range(2):
            with pytest.raises(ValueError, match="no more"):
                next(batches)


def test_leaving_early_ends_the_thread():
    for depth in (1, 5):
        with Prefetch(iter(range(10**9)), depth) as batches:
            next(batches)
        assert not threads()


def test_leaving_by_an_error_ends_the_thread():
    with pytest.raises(KeyError), Prefetch(iter(range(10**9))):
        raise KeyError
    assert not threads()
