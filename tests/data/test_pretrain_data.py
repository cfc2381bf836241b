"""Pretraining examples: BERT's statistics, NSP pairs that are what they say, and nothing but (seed, epoch, index)."""

import itertools

import numpy as np
import pytest

from bert_jax.data.corpus import Corpus, tokenize_documents
from bert_jax.data.masking import mask_tokens, num_slots
from bert_jax.data.pairs import NUM_DRAWS, make_pairs, num_examples
from bert_jax.data.pretrain import PretrainData
from bert_jax.data.random import uniform
from bert_jax.data.tokenizer import SpecialIds
from bert_jax.errors import InputError

SPECIAL = SpecialIds(pad=0, unk=1, cls=2, sep=3, mask=4)


def corpus_of(*documents):
    """Documents given by the lengths of their sentences. Token t is 5 + t, so that a token tells its place."""
    lengths = list(itertools.chain(*documents))
    ends = np.cumsum([0] + [len(document) for document in documents])
    tokens = np.arange(5, 5 + sum(lengths), dtype=np.int32)
    return Corpus(tokens, np.concatenate([[0], np.cumsum(lengths)]), ends)


def random_corpus(documents=60, sentences=12, longest=20, seed=0):
    rng = np.random.default_rng(seed)
    return corpus_of(*(rng.integers(1, longest, rng.integers(1, sentences)).tolist() for _ in range(documents)))


def data_of(corpus, max_length=32, seed=0):
    return PretrainData(corpus, SPECIAL, 5 + len(corpus.tokens), max_length, 0.15, seed)


def pairs_of(corpus, max_length, rounds=1, short=True):
    indices = np.arange(num_examples(corpus, max_length))
    draws = np.concatenate([uniform(0, epoch, indices, 0, NUM_DRAWS) for epoch in range(rounds)])
    if not short:
        draws[:, 0] = 0.99  # the draw that shortens a tenth
    return make_pairs(corpus, np.tile(indices, rounds), draws, max_length)


def document_of(corpus, token):
    return np.searchsorted(corpus.sentences[corpus.documents], token, side="right") - 1


HARD = {
    "ordinary": random_corpus(),
    "sentences of one token": corpus_of(*([1] * 30 for _ in range(5))),
    "documents of one sentence": corpus_of(*([7] for _ in range(30))),
    "two documents of one token": corpus_of([1], [1]),
    "sentences longer than an example": corpus_of([200], [90, 1], [1, 150, 3], [64]),
    "one long document": corpus_of([9] * 80, [2]),
}
EVERY = pytest.mark.parametrize("corpus", HARD.values(), ids=HARD)
LENGTHS = pytest.mark.parametrize("max_length", [8, 9, 32, 128])


@EVERY
@LENGTHS
def test_both_segments_have_tokens_of_one_document_each_and_fit(corpus, max_length):
    a, a_length, b, b_length, is_next = pairs_of(corpus, max_length, rounds=200)
    assert a_length.min() >= 1 and b_length.min() >= 1
    assert (a_length + b_length).max() <= max_length - 3
    assert a.min() >= 0 and b.min() >= 0 and (b + b_length).max() <= len(corpus.tokens)
    np.testing.assert_array_equal(document_of(corpus, a), document_of(corpus, a + a_length - 1))
    np.testing.assert_array_equal(document_of(corpus, b), document_of(corpus, b + b_length - 1))
    np.testing.assert_array_equal(
        document_of(corpus, a) == document_of(corpus, b), is_next == 1, "a random B is of another document"
    )


def test_the_next_segment_follows_where_nothing_is_cut():
    corpus = corpus_of(*([3] * 6 for _ in range(40)))
    a, a_length, b, b_length, is_next = pairs_of(corpus, 64, rounds=50, short=False)
    following = is_next == 1
    np.testing.assert_array_equal((a + a_length)[following], b[following])
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


def test_an_epoch_covers_the_corpus_about_once_also_where_documents_begin_and_end():
    corpus = corpus_of(*([10] * int(n) for n in np.random.default_rng(0).integers(4, 60, 120)))
    max_length, rounds = 128, 40
    a, a_length, b, b_length, _ = pairs_of(corpus, max_length, rounds)
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


@EVERY
def test_tokens_stand_between_special_ones_in_their_segments(corpus):
    data = data_of(corpus)
    indices = np.arange(data.num_examples)
    pairs = make_pairs(corpus, indices, uniform(0, 0, indices, 0, NUM_DRAWS), 32)
    batch = data.batch(0, indices)
    ids = batch.tokens.ids.copy()
    for row, slots in enumerate(batch.masked_weights.astype(bool)):  # put back what was masked
        ids[row, batch.masked_positions[row, slots]] = batch.masked_ids[row, slots]
    for row, (a, a_length, b, b_length, is_next) in enumerate(zip(*pairs, strict=True)):
        words = [corpus.tokens[a : a + a_length], corpus.tokens[b : b + b_length]]
        wanted = [2, *words[0], 3, *words[1], 3]
        padding = [0] * (32 - len(wanted))
        assert ids[row].tolist() == wanted + padding
        assert batch.tokens.segments[row].tolist() == [0] * (a_length + 2) + [1] * (b_length + 1) + padding
        assert np.flatnonzero(batch.tokens.mask[row]).tolist() == list(range(len(wanted)))
        assert np.flatnonzero(batch.tokens.special[row]).tolist() == [0, a_length + 1, a_length + b_length + 2]
        assert batch.is_next[row] == is_next
    assert batch.weights.tolist() == [1] * len(indices)


@EVERY
def test_masked_slots_are_words_once_each_in_order(corpus):
    batch = data_of(corpus).batch(0, np.arange(data_of(corpus).num_examples))
    words = batch.tokens.mask & ~batch.tokens.special
    for row, weights in enumerate(batch.masked_weights):
        count = int(weights.sum())
        positions = batch.masked_positions[row, :count]
        assert weights.tolist() == [1] * count + [0] * (len(weights) - count)
        assert words[row, positions].all() and (np.diff(positions) > 0).all()
        due = min(max(1, round(0.15 * int(batch.tokens.mask[row].sum()))), int(words[row].sum()))
        assert count == due, "BERT predicts round(0.15 * tokens), at least one"
        assert not batch.masked_ids[row, count:].any() and not batch.masked_positions[row, count:].any()


def masked_rows(rows=3000, length=64, vocabulary=(5, 1000)):
    rng = np.random.default_rng(0)
    ids = rng.integers(*vocabulary, (rows, length)).astype(np.int32)
    lengths = rng.integers(8, length + 1, rows)
    candidates = (np.arange(length) < lengths[:, None]) & (np.arange(length) > 0)
    draws = uniform(0, 0, np.arange(rows), 1, length + 2 * num_slots(length, 0.15))
    masked = mask_tokens(ids, candidates, lengths, draws, rate=0.15, mask_id=4, vocabulary=vocabulary)
    return ids, lengths, masked


def test_fifteen_percent_are_chosen_and_become_mask_random_or_themselves():
    ids, lengths, masked = masked_rows()
    kept = masked.weights == 1
    assert kept.sum() / lengths.sum() == pytest.approx(0.15, abs=0.003)
    np.testing.assert_array_equal(np.take_along_axis(ids, masked.positions, 1)[kept], masked.targets[kept])
    shown = np.take_along_axis(masked.ids, masked.positions, 1)[kept]
    targets = masked.targets[kept]
    n = kept.sum()
    for share, wanted in [
        ((shown == 4).mean(), 0.8),
        (((shown != 4) & (shown != targets)).mean(), 0.1 * 994 / 995),
        ((shown == targets).mean(), 0.1 * (1 + 1 / 995)),
    ]:
        assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / n) ** 0.5)
    others = masked.ids != ids
    np.put_along_axis(others, np.where(kept, masked.positions, 0), False, 1)
    assert not others.any(), "only chosen tokens change"
    words = shown[(shown != 4) & (shown != targets)]
    assert words.min() >= 5 and words.max() < 1000 and len(np.unique(words)) > 700


def test_every_place_is_as_likely_to_be_chosen_whatever_is_shown_there():
    _, lengths, masked = masked_rows(rows=6000)
    full = lengths >= 60
    chosen = np.bincount(masked.positions[full][masked.weights[full] == 1], minlength=64)[1:60]
    assert abs(chosen / chosen.mean() - 1).max() < 5 / chosen.mean() ** 0.5
    kinds = np.take_along_axis(masked.ids, masked.positions, 1) == 4
    first, second = kinds[full, 0], kinds[full, 1]
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / full.sum() ** 0.5


def test_masking_leaves_its_input_as_it_is():
    ids = np.arange(10, 26, dtype=np.int32).reshape(2, 8)
    before = ids.copy()
    candidates = np.ones((2, 8), bool)
    candidates[:, 0] = False
    slots = num_slots(8, 0.5)
    draws = uniform(0, 0, np.arange(2), 1, 8 + 2 * slots)
    mask_tokens(ids, candidates, np.array([8, 8]), draws, rate=0.5, mask_id=4, vocabulary=(5, 9))
    np.testing.assert_array_equal(ids, before)


def same(x, y):
    for one, other in zip((*x.tokens, *x[1:]), (*y.tokens, *y[1:]), strict=True):
        np.testing.assert_array_equal(one, other)


def differ(x, y):
    return not np.array_equal(x.tokens.ids, y.tokens.ids)


def rows_of(batch, rows):
    return batch._replace(tokens=type(batch.tokens)(*(x[rows] for x in batch.tokens)))._replace(
        **{name: getattr(batch, name)[rows] for name in batch._fields[1:]}
    )


def test_an_example_is_the_same_whatever_else_is_in_its_batch():
    data = data_of(HARD["ordinary"])
    everything = data.batch(2, np.arange(data.num_examples))
    some = np.array([5, 0, 17, 5])
    same(data.batch(2, some), rows_of(everything, some))
    same(data.batch(2, some[2:3]), rows_of(everything, some[2:3]))


def test_seed_and_epoch_change_every_example():
    data, indices = data_of(HARD["ordinary"]), np.arange(10)
    base = data.batch(0, indices)
    same(base, data.batch(0, indices))
    assert differ(base, data.batch(1, indices)) and differ(base, data._replace(seed=1).batch(0, indices))


def test_batches_resume_at_any_step_and_each_epoch_has_every_index_once():
    data = data_of(corpus_of(*([4] * 10 for _ in range(20))), max_length=24)
    n, size = data.num_examples, 16
    assert n % size, "the test is about batches that hold the end of an epoch and the beginning of the next"
    steps = 3 * n // size
    batches = list(data.batches(size, 0, steps))
    for first in (1, n // size, steps - 2):
        for one, other in zip(batches[first:], data.batches(size, first, steps), strict=True):
            same(one, other)
    flat = np.concatenate([batch.tokens.ids for batch in batches])
    orders = []
    for epoch in range(2):
        rows = {tuple(row): i for i, row in enumerate(data.batch(epoch, np.arange(n)).tokens.ids)}
        assert len(rows) == n
        orders.append([rows[tuple(row)] for row in flat[epoch * n : (epoch + 1) * n]])
        assert sorted(orders[-1]) == list(range(n))
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])


def test_uniform_numbers_are_uniform():
    x = uniform(0, 0, np.arange(4000), 0, 50)
    assert x.min() >= 0 and x.max() < 1
    counts, _ = np.histogram(x, 100, (0, 1))
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert 50 < chi2 < 160  # 99 degrees of freedom: 99 +- 14
    # and so is every column, and every row
    assert abs(x.mean(0) - 0.5).max() < 5 / (12 * 4000) ** 0.5
    assert abs(x.mean(1) - 0.5).max() < 5 / (12 * 50) ** 0.5


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


GOLDEN = [[0.07523150637825426, 0.09943313824579625], [0.6140559980682666, 0.5057569520124654]]


def test_numbers_are_the_same_on_every_machine():
    np.testing.assert_allclose(
        uniform(1, 2, np.array([3, 4]), 5, 2),
        GOLDEN,
        rtol=1e-12,
        err_msg="Every pretraining run ever made has other examples now. If that is meant, put these numbers here.",
    )


class Words:
    """A token for each word."""

    def pieces(self, texts):
        return [[5 + len(word) for word in text.split()] for text in texts]


def test_documents_become_flat_arrays_without_what_is_empty():
    corpus = tokenize_documents(Words(), [["a bb", "", "ccc"], [""], [], ["d"], ["  "]])
    assert corpus.tokens.tolist() == [6, 7, 8, 6]
    assert corpus.sentences.tolist() == [0, 2, 3, 4] and corpus.documents.tolist() == [0, 2, 3]
    assert corpus.num_documents == 2 and corpus.tokens.dtype == np.int32


@pytest.mark.parametrize("documents", [[], [["a"]], [["a", "b"], [""]]])
def test_fewer_than_two_documents_are_refused(documents):
    with pytest.raises(InputError, match="at least two"):
        tokenize_documents(Words(), documents)
