"""Packed values come back: classes exactly, scores to a step, and JSON whatever is in it."""

import numpy as np
import pytest

from bert_jax.analysis.page.compact import ALPHABET, encode_classes, encode_scores, pack, unpack


def decoded(numbers):
    digits = np.array([ALPHABET.index(letter) for letter in numbers.text]).reshape(-1, numbers.digits)
    values = digits @ (64 ** np.arange(numbers.digits)[::-1])
    if numbers.high == numbers.low:
        return values
    return numbers.low + values / (64**numbers.digits - 1) * (numbers.high - numbers.low)


@pytest.mark.parametrize("classes", [2, 64, 65, 4096])
def test_classes_come_back(classes):
    values = np.arange(classes)[::-1]
    numbers = encode_classes(values)
    assert decoded(numbers).tolist() == values.tolist() and numbers.digits == 1 + (classes > 64)


@pytest.mark.parametrize("values", [[-0.2, 0.31, 0.9], [2.5, 2.5], [0.0, 5.0, 5.0]])
def test_scores_come_back_to_half_a_step(values):
    found = decoded(encode_scores(np.array(values, np.float32)))
    np.testing.assert_allclose(found, np.array(values, np.float32), atol=max(1e-9, np.ptp(values)) / 4095)


def test_json_comes_back_and_holds_no_character_that_ends_a_script():
    value = {"a": ["</script><img onerror=alert(1)>", "\u2028 é \N{GRINNING FACE}", '"\\']}
    text = pack(value)
    assert unpack(text) == value and not set(text) & set("<>&\"'")
