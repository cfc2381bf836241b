"""Random numbers of a batch: uniform, without anything in common between counters, and a shuffle that is one."""

import numpy as np
import pytest

from bert_jax.data.counter_rng import bits, shuffled, uniform


def test_uniform_numbers_are_uniform():
    x = uniform(0, 0, np.arange(4000), 0, 50)
    assert x.min() >= 0 and x.max() < 1
    counts, _ = np.histogram(x, 100, (0, 1))
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert 50 < chi2 < 160  # 99 degrees of freedom: 99 +- 14
    # and so is every column, and every row
    assert abs(x.mean(0) - 0.5).max() < 5 / (12 * 4000) ** 0.5
    assert abs(x.mean(1) - 0.5).max() < 5 / (12 * 50) ** 0.5


def test_every_bit_is_set_half_of_the_time_and_tells_nothing_of_its_neighbour():
    x = bits(0, 0, np.arange(2000), 0, 10).ravel()
    planes = np.stack([(x >> np.uint64(k)) & np.uint64(1) for k in range(64)]).astype(float)
    bound = 5 * 0.5 / len(x) ** 0.5
    assert abs(planes.mean(1) - 0.5).max() < bound
    assert abs((planes[1:] == planes[:-1]).mean(1) - 0.5).max() < bound
    assert abs((planes[32:] == planes[:32]).mean(1) - 0.5).max() < bound, "both halves of the bits are used"


def test_numbers_of_neighbouring_counters_have_nothing_in_common():
    indices, bound = np.arange(3000), 5 / 3000**0.5
    base = uniform(7, 3, indices, 0, 4)
    neighbours = {
        "the next index": uniform(7, 3, indices + 1, 0, 4),
        "the next draw": np.roll(base, 1, axis=1),
        "the other stream": uniform(7, 3, indices, 1, 4),
        "the next epoch": uniform(7, 4, indices, 0, 4),
        "the next seed": uniform(8, 3, indices, 0, 4),
        "seed and epoch exchanged": uniform(3, 7, indices, 0, 4),
    }
    for name, other in neighbours.items():
        for column in range(4):
            assert abs(np.corrcoef(base[:, column], other[:, column])[0, 1]) < bound, name
    whole = np.concatenate([base, *(x for name, x in neighbours.items() if name not in ("the next draw",))])
    assert len(np.unique(whole)) == len(whole) * 4 - 4 * 2999, "only the shifted indices repeat"


def test_each_index_can_have_an_epoch_of_its_own():
    indices, epochs = np.array([4, 4, 9]), np.array([1, 2, 1])
    for row, (index, epoch) in enumerate(zip(indices, epochs, strict=True)):
        one = np.array([index])
        np.testing.assert_array_equal(bits(3, epochs, indices, 0, 5)[row], bits(3, int(epoch), one, 0, 5)[0])
        assert shuffled(3, epochs, indices, 2, 50)[row] == shuffled(3, int(epoch), one, 2, 50)[0]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 10, 99, 100, 101, 1000, 54321])
def test_an_order_has_everything_once_and_is_another_one_in_every_epoch_and_for_every_seed(size):
    places = np.arange(size)
    orders = [shuffled(seed, epoch, places, 2, size) for seed in range(3) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), places)
    if size > 9:
        assert len({order.tobytes() for order in orders}) == 9


@pytest.mark.parametrize("size", [2, 3, 6, 7, 12])
def test_everything_is_as_likely_to_stand_at_every_place(size):
    epochs = 4000
    orders = shuffled(1, np.repeat(np.arange(epochs), size), np.tile(np.arange(size), epochs), 2, size)
    counts = np.zeros((size, size))
    np.add.at(counts, (np.tile(np.arange(size), epochs), orders), 1)
    wanted = epochs / size
    assert abs(counts - wanted).max() < 4.5 * (wanted * (1 - 1 / size)) ** 0.5


def test_neighbours_in_the_order_are_no_neighbours_in_the_corpus():
    size = 100_003
    order = shuffled(0, 0, np.arange(size), 2, size).astype(float)
    steps = np.diff(order)
    assert abs(np.corrcoef(np.arange(size), order)[0, 1]) < 5 / size**0.5
    assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 5 / size**0.5
    assert len(np.unique(steps)) > 0.5 * size, "no step comes again and again"
    assert abs((steps > 0).mean() - 0.5) < 0.01 and (abs(steps) < 100).mean() < 0.004


def test_an_order_of_a_trillion_costs_no_more_than_what_is_asked_of_it():
    size = 10**12 + 7
    found = shuffled(0, 5, np.arange(size - 1000, size), 2, size)
    assert len(np.unique(found)) == 1000 and found.min() >= 0 and found.max() < size
    assert 0.4 < found.mean() / size < 0.6


GOLDEN = [[0.07523150637825426, 0.09943313824579625], [0.6140559980682666, 0.5057569520124654]]
GOLDEN_ORDER = [7, 3, 0, 4, 2, 8, 6, 1, 5]


def test_numbers_are_the_same_on_every_machine():
    message = "Every pretraining run ever made has other examples now. If that is meant, put these numbers here."
    np.testing.assert_allclose(uniform(1, 2, np.array([3, 4]), 5, 2), GOLDEN, rtol=1e-12, err_msg=message)
    np.testing.assert_array_equal(shuffled(1, 2, np.arange(9), 3, 9), GOLDEN_ORDER, err_msg=message)
