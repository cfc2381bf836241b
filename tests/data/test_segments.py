"""Segments of pretraining examples: what BERT describes, what each objective says, and a slow reference beside it."""

import dataclasses
import itertools

import numpy as np
import pytest
from corpora import HARD, corpus_of, document_of, random_corpus

from bert_jax.data.counter_rng import uniform
from bert_jax.data.objectives import make_pairs, num_examples
from bert_jax.data.segments import NUM_DRAWS
from bert_jax.pretrain_config import ObjectiveConfig

NSP, SOP, NONE = (ObjectiveConfig(pairs=pairs) for pairs in ("nsp", "sop", "none"))
KINDS = pytest.mark.parametrize("objective", [NSP, SOP, NONE], ids=["nsp", "sop", "none"])
EVERY = pytest.mark.parametrize("corpus", HARD.values(), ids=HARD)
LENGTHS = pytest.mark.parametrize("max_length", [8, 9, 32, 128])


def pairs_of(corpus, max_length, objective=NSP, rounds=1, short=True):
    objective = objective if short else dataclasses.replace(objective, short_share=0.0)
    count = num_examples(corpus, max_length, objective)
    indices, epochs = np.tile(np.arange(count), rounds), np.repeat(np.arange(rounds), count)
    return make_pairs(corpus, indices, uniform(0, epochs, indices, 0, NUM_DRAWS), max_length, objective)


def flat(sentences):
    return list(itertools.chain.from_iterable(sentences))


def by_hand(corpus, index, u, max_length, objective):
    """One example as lists of tokens and a label, sentence by sentence."""
    tokens = corpus.tokens.tolist()
    sentences = [tokens[a:b] for a, b in itertools.pairwise(corpus.sentences)]
    documents = [sentences[a:b] for a, b in itertools.pairwise(corpus.documents)]
    budget = max_length - (2 if objective.pairs == "none" else 3)
    target = 2 + int(u[1] * (budget - 1)) if u[0] < objective.short_share else budget
    place = min(int((index + u[2]) * (len(tokens) / max(1, len(tokens) // budget))), len(tokens) - 1)
    own = next(d for d, document in enumerate(documents) if tokens[place] in flat(document))
    begin = place - len(flat(flat(documents[:own]))) - int(u[8] * target)
    a, b, label = BY_HAND[objective.pairs](documents, own, begin, target, u)
    return (*truncated(a, b, target, u[7]), label)


def nsp_by_hand(documents, own, begin, target, u):
    document = documents[own]
    chunk = document[min(sentence_at(document, begin), max(len(document) - 2, 0)) :]
    while len(chunk) > 2 and len(flat(chunk[:-1])) >= target:
        chunk = chunk[:-1]
    cut = 1 + int(u[3] * (len(chunk) - 1)) if len(chunk) > 1 else 1
    a, b = flat(chunk[:cut]), flat(chunk[cut:])
    if u[4] < 0.5 and b:
        return a, b, 1
    others = documents[:own] + documents[own + 1 :]
    other = others[int(u[5] * len(others))]
    b = other[int(u[6] * len(other)) :]
    while len(b) > 1 and len(a) + len(flat(b[:-1])) >= target:
        b = b[:-1]
    return a, flat(b), 0


def sop_by_hand(documents, own, begin, target, u):
    document = documents[own]
    if len(document) == 1:
        return document[0], [], 1
    begin = max(min(begin, len(flat(document)) - target), 0)
    first, last = sentence_at(document, begin), sentence_at(document, begin + target - 1)
    if first == last and ((u[5] < 0.5 and first > 0) or first == len(document) - 1):
        first -= 1
    chunk = document[first : max(last, first + 1) + 1]
    cut = 1 + int(u[3] * (len(chunk) - 1))
    a, b = flat(chunk[:cut]), flat(chunk[cut:])
    return (a, b, 1) if u[4] < 0.5 else (b, a, 0)


def none_by_hand(documents, own, begin, target, u):
    text = flat(documents[own])
    begin = max(min(begin, len(text) - target), 0)
    return text[begin : begin + target], [], 0


BY_HAND = {"nsp": nsp_by_hand, "sop": sop_by_hand, "none": none_by_hand}


def sentence_at(document, place):
    """The sentence of a place in a document; places before it are in the first one, places behind it in the last."""
    ends = itertools.accumulate(map(len, document))
    return next((s for s, end in enumerate(ends) if place < end), len(document) - 1)


def truncated(a, b, target, u):
    """Tokens are counted off the longer side one by one, as in BERT's code; then they go from both ends."""
    keep_a, keep_b = len(a), len(b)
    while keep_a + keep_b > target:
        if keep_a >= keep_b:
            keep_a -= 1
        else:
            keep_b -= 1
    front_a = int(u * (len(a) - keep_a + 1))
    front_b = min(int((1 - u) * (len(b) - keep_b + 1)), len(b) - keep_b)
    return a[front_a : front_a + keep_a], b[front_b : front_b + keep_b]


@KINDS
@EVERY
@pytest.mark.parametrize("max_length", [8, 33, 64])
def test_examples_are_those_of_a_slow_reference(corpus, max_length, objective):
    objective = dataclasses.replace(objective, short_share=0.3)
    count = num_examples(corpus, max_length, objective)
    indices = np.tile(np.arange(count), 1 + 60 // count)[:100]
    draws = uniform(0, np.arange(len(indices)), indices, 0, NUM_DRAWS)
    pairs = make_pairs(corpus, indices, draws, max_length, objective)
    for row, (a, a_length, b, b_length, label) in enumerate(zip(*pairs, strict=True)):
        found = corpus.tokens[a : a + a_length].tolist(), corpus.tokens[b : b + b_length].tolist(), label
        assert found == by_hand(corpus, int(indices[row]), draws[row].tolist(), max_length, objective)


@KINDS
@EVERY
@LENGTHS
def test_segments_are_of_one_document_each_and_fit(corpus, max_length, objective):
    a, a_length, b, b_length, is_next = pairs_of(corpus, max_length, objective, rounds=200)
    assert a_length.min() >= 1 and a.min() >= 0
    assert (a_length + b_length).max() <= max_length - (2 if objective.pairs == "none" else 3)
    assert (a + a_length).max() <= len(corpus.tokens) and (b + b_length).max() <= len(corpus.tokens)
    np.testing.assert_array_equal(document_of(corpus, a), document_of(corpus, a + a_length - 1))
    two = b_length > 0
    np.testing.assert_array_equal(document_of(corpus, b[two]), document_of(corpus, (b + b_length - 1)[two]))
    if objective.pairs == "none":
        assert not two.any()
    if objective.pairs == "nsp":
        assert two.all()
        same = document_of(corpus, a) == document_of(corpus, b)
        np.testing.assert_array_equal(same, is_next == 1, "a random B is of another document")


@LENGTHS
@EVERY
def test_an_order_is_asked_for_wherever_a_document_has_two_sentences(corpus, max_length):
    a, a_length, b, b_length, in_order = pairs_of(corpus, max_length, SOP, rounds=200)
    several = np.diff(corpus.documents)[document_of(corpus, a)] > 1
    np.testing.assert_array_equal(b_length > 0, several)
    assert (document_of(corpus, a) == document_of(corpus, b))[several].all()
    before, after = several & (in_order == 1), several & (in_order == 0)
    assert ((a + a_length)[before] <= b[before]).all() and ((b + b_length)[after] <= a[after]).all()


def test_half_are_in_order_and_lengths_do_not_tell_which():
    rng = np.random.default_rng(0)
    halves = [rng.integers(1, 30, rng.integers(1, 15)).tolist() for _ in range(100)]
    corpus = corpus_of(*(half + half[::-1] for half in halves))  # the same backwards: the text itself tells nothing
    for max_length in (32, 33, 128):
        _, a_length, _, b_length, in_order = pairs_of(corpus, max_length, SOP, rounds=200)
        in_order, a_length, b_length = (x[b_length > 0] for x in (in_order, a_length, b_length))
        n = len(in_order)
        assert n > 10_000
        assert in_order.mean() == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
        for told in (a_length, b_length, a_length - b_length, a_length > b_length, a_length + b_length):
            assert abs(np.corrcoef(told, in_order)[0, 1]) < 5 / n**0.5


def test_a_single_segment_runs_over_sentences_up_to_the_length_or_through_its_document():
    corpus = random_corpus(documents=100, sentences=30)
    a, a_length, *_ = pairs_of(corpus, 64, NONE, rounds=50, short=False)
    sizes = np.diff(corpus.sentences[corpus.documents])[document_of(corpus, a)]
    np.testing.assert_array_equal(a_length, np.minimum(62, sizes))
    inside = np.searchsorted(corpus.sentences, a + a_length) - np.searchsorted(corpus.sentences, a, side="right")
    assert inside[a_length == 62].mean() > 3, "about 6 sentences end within an example"


@pytest.mark.parametrize("objective", [NSP, SOP], ids=["nsp", "sop"])
def test_the_next_segment_follows_where_nothing_is_cut(objective):
    corpus = corpus_of(*([3] * 6 for _ in range(40)))
    a, a_length, b, b_length, is_next = pairs_of(corpus, 64, objective, rounds=50, short=False)
    following = is_next == 1
    np.testing.assert_array_equal((a + a_length)[following], b[following])
    if objective.pairs == "sop":
        np.testing.assert_array_equal((b + b_length)[~following], a[~following])
    assert np.isin(a, corpus.sentences).all() and np.isin(b, corpus.sentences).all(), "segments are whole sentences"
    assert np.isin(b + b_length, corpus.sentences).all()


def test_a_cut_segment_keeps_a_run_of_its_tokens():
    corpus = random_corpus(longest=40)
    a, a_length, b, _, is_next = pairs_of(corpus, 24, rounds=50)
    gap = (b - a - a_length)[is_next == 1]
    assert gap.min() == 0 and (gap > 0).any(), "the end of A or the front of B can be what is cut"


def test_half_are_next_a_tenth_are_short_and_b_comes_from_all_other_documents():
    corpus = corpus_of(*([6] * 40 for _ in range(20)))
    a, a_length, b, b_length, is_next = pairs_of(corpus, 64, rounds=80)
    n = len(is_next)
    assert n > 5000
    assert is_next.mean() == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    whole = (document_of(corpus, a + 80) == document_of(corpus, a)) & (is_next == 1)
    assert (a_length + b_length < 61)[whole].mean() == pytest.approx(0.1 * 58 / 60, abs=4 * 0.3 / whole.sum() ** 0.5)
    others = np.bincount(document_of(corpus, b)[is_next == 0], minlength=20)
    assert others.min() > 0.7 * others.mean() and others.max() < 1.3 * others.mean()


@KINDS
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_short_examples_is_what_is_set_and_their_lengths_are_any(objective, share):
    corpus = corpus_of(*([2] * 400 for _ in range(10)))
    objective = dataclasses.replace(objective, short_share=share)
    a, a_length, b, b_length, _ = pairs_of(corpus, 64, objective, rounds=40)
    budget, inside = 62 if objective.pairs == "none" else 61, document_of(corpus, a) == document_of(corpus, a + 130)
    if objective.pairs == "nsp":
        inside &= document_of(corpus, b) == document_of(corpus, b + 65)
    total = (a_length + b_length)[inside]
    wanted, n = share * (budget - 2) / (budget - 1), len(total)
    assert n > 3000
    assert (total < budget).mean() == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / n) ** 0.5)
    if share == 1.0:
        counts = np.bincount(total, minlength=budget + 1)[2:]
        assert abs(counts - counts.mean()).max() < 4.5 * counts.mean() ** 0.5, "2, 3, ..., all that fits"


@KINDS
def test_an_epoch_covers_the_corpus_about_once_also_where_documents_begin_and_end(objective):
    corpus = corpus_of(*([10] * int(n) for n in np.random.default_rng(0).integers(4, 60, 120)))
    max_length, rounds = 128, 40
    a, a_length, b, b_length, _ = pairs_of(corpus, max_length, objective, rounds)
    seen = np.zeros(len(corpus.tokens) + 1)
    for start, length in [(a, a_length), (b, b_length)]:
        np.add.at(seen, start, 1 / rounds)
        np.add.at(seen, start + length, -1 / rounds)
    seen = np.cumsum(seen)[:-1]
    assert 0.75 < seen.mean() <= 1
    places = corpus.sentences[corpus.documents]
    firsts, lasts = places[:-1, None] + np.arange(10), places[1:, None] - 1 - np.arange(10)
    for name, share in [("first", seen[firsts].mean()), ("last", seen[lasts].mean())]:
        assert share > 0.4 * seen.mean(), f"the {name} sentences of documents are seen {share:.2f} times an epoch"
    assert seen.max() < 3 * seen.mean()
