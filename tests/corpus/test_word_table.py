"""Words get the numbers that a dictionary would give them."""

import itertools

import numpy as np
import pytest

from bert_jax.corpus import word_table as module
from bert_jax.corpus.word_table import Words


def as_array(text):
    return np.frombuffer(text.encode(), np.uint8)


def expected(text, known):
    """Numbers by a dictionary, and the places of new words."""
    numbers, new = [], []
    for place, word in enumerate(itertools.chain.from_iterable(line.split(" ") for line in text.split("\n")[:-1])):
        if word not in known:
            known[word] = len(known)
            new.append(place)
        numbers.append(known[word])
    return numbers, new


def make_texts(count, seed=0):
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdeéß東🙂.\u0301"))
    for _ in range(count):
        drawn = ["".join(rng.choice(letters, rng.integers(0, 6))) for _ in range(rng.integers(1, 400))]
        yield "".join(word + "\n "[rng.integers(2)] for word in drawn[:-1]) + drawn[-1] + "\n"


@pytest.mark.parametrize("slots", [12, module._SLOTS])
def test_words_are_numbered_as_by_a_dictionary(slots, monkeypatch):
    monkeypatch.setattr(module, "_SLOTS", slots)  # with few of them, words often want the same one
    found, known = Words(), {}
    for text in make_texts(20):
        numbers, new = expected(text, known)
        result = found.find(as_array(text))
        assert result.numbers.tolist() == numbers and result.new.tolist() == new
        words = [text.encode()[a:b].decode() for a, b in zip(result.starts, result.ends, strict=True)]
        assert [known[word] for word in words] == numbers
    assert found.count == len(known) > 2000


def test_words_of_like_letters_are_told_apart():
    found, letters = Words(), "ab"
    words = ["".join(word) for length in range(1, 16) for word in itertools.product(letters, repeat=length)]
    numbers = found.find(as_array("".join(f"{word} " for word in words))).numbers
    assert numbers.tolist() == list(range(len(words)))
    again = found.find(as_array("".join(f"{word} " for word in reversed(words))))
    assert again.numbers.tolist() == list(reversed(range(len(words)))) and not len(again.new)


def test_what_is_forgotten_makes_room(monkeypatch):
    monkeypatch.setattr(module, "CAPACITY", 4)
    found = Words()
    assert found.find(as_array("a b a\n")).numbers.tolist() == [0, 1, 0]
    with pytest.raises(ValueError, match="3 words in a text, and room for 2"):
        found.find(as_array("c d e\n"))
    found.clear()
    assert found.find(as_array("c a c\n")).numbers.tolist() == [0, 1, 0]
