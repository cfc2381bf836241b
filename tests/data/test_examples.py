"""Pretraining batches: what each objective's examples are made of, and nothing but (seed, epoch, index) in them."""

import dataclasses
import hashlib
import itertools
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from corpora import HARD, SPECIAL, corpus_of, document_of, random_corpus

from bert_jax.corpus.corpus import Corpus, tokenize_documents
from bert_jax.data.counter_rng import uniform
from bert_jax.data.examples import PretrainData
from bert_jax.data.objectives import make_pairs
from bert_jax.data.segments import NUM_DRAWS
from bert_jax.errors import InputError
from bert_jax.pretrain_config import ObjectiveConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.tokenizers.tokenizer import WordPiece, train_sentencepiece
from bert_jax.types import PretrainBatch

OBJECTIVES = {
    "nsp": ObjectiveConfig(),
    "nsp, whole words": ObjectiveConfig(masking="whole_word"),
    "nsp, spans": ObjectiveConfig(masking="span"),
    "sop": ObjectiveConfig(pairs="sop"),
    "none": ObjectiveConfig(pairs="none"),
    "left to right": ObjectiveConfig("ltr", "none"),
}
OBJECTIVE = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
MASKED = pytest.mark.parametrize("objective", [o for o in OBJECTIVES.values() if o.tokens == "mlm"])
UNPAIRED = "documents of one sentence", "two documents of one token"
"""The corpora of `HARD` in which no sentence has a next one."""


def data_of(corpus, objective=OBJECTIVES["nsp"], max_length=32, seed=0):
    vocab_size = 5 + len(corpus.tokens)
    starts_word = np.arange(vocab_size) % 3 > 0
    return PretrainData(corpus, SPECIAL, vocab_size, starts_word, max_length, objective, seed)


def arrays(batch):
    return (*batch.tokens, *batch[1:])


def assert_same(x, y):
    for name, one, other in zip((*x.tokens._fields, *x._fields[1:]), arrays(x), arrays(y), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, name)


def rows_of(batch, rows):
    tokens = type(batch.tokens)(*(x[rows] for x in batch.tokens))
    return PretrainBatch(tokens, *(x[rows] for x in batch[1:]))


def joined(batches):
    tokens = map(np.concatenate, zip(*(batch.tokens for batch in batches), strict=True))
    rest = map(np.concatenate, zip(*(batch[1:] for batch in batches), strict=True))
    return PretrainBatch(type(batches[0].tokens)(*tokens), *rest)


def unmasked(batch):
    """Ids with what was masked put back."""
    ids = batch.tokens.ids.copy()
    row, slot = np.nonzero(batch.masked_weights)
    ids[row, batch.masked_positions[row, slot]] = batch.masked_ids[row, slot]
    return ids


@pytest.mark.parametrize(
    ("corpus", "objective"),
    [
        pytest.param(HARD[name], OBJECTIVES[kind], id=f"{kind}, {name}")
        for name, kind in itertools.product(HARD, ("nsp", "sop", "none"))
        if kind == "none" or name not in UNPAIRED
    ],
)
@pytest.mark.filterwarnings("ignore:only .* of the text")
def test_tokens_stand_between_special_ones_in_their_segments(corpus, objective):
    length = 32
    data = data_of(corpus, objective)
    indices = np.arange(data.num_examples)
    pairs = make_pairs(corpus, indices, uniform(0, 0, indices, 0, NUM_DRAWS), length, objective)
    batch = data.batch(0, indices)
    for row, (a, a_length, b, b_length, is_next) in enumerate(zip(*pairs, strict=True)):
        first, second = [2, *corpus.tokens[a : a + a_length], 3], [*corpus.tokens[b : b + b_length], 3]
        second = second if b_length else []
        padding = [0] * (length - len(first) - len(second))
        assert unmasked(batch)[row].tolist() == first + second + padding
        assert batch.tokens.segments[row].tolist() == [0] * len(first) + [1] * len(second) + padding
        assert batch.tokens.mask[row].tolist() == [True] * (length - len(padding)) + [False] * len(padding)
        ends = {0, len(first) - 1, len(first) + len(second) - 1}
        assert set(np.flatnonzero(batch.tokens.special[row])) == ends
        assert batch.is_next[row] == is_next and batch.weights[row] == (b_length > 0), "no pair, no loss"
    assert [x.dtype for x in arrays(batch)] == [np.int32, np.int32, bool, bool] + [np.int32] * 2 + [
        np.float32,
        np.int32,
        np.float32,
    ]


@MASKED
def test_masked_slots_are_tokens_of_the_text(objective):
    data = data_of(HARD["ordinary"], objective)
    batch = data.batch(0, np.arange(data.num_examples))
    assert batch.masked_positions.shape == (data.num_examples, data.num_slots)
    text = batch.tokens.mask & ~batch.tokens.special
    row, slot = np.nonzero(batch.masked_weights)
    assert text[row, batch.masked_positions[row, slot]].all() and (batch.masked_ids[row, slot] >= 5).all()
    if objective.masking == "token":
        due = np.maximum(1, np.round(0.15 * batch.tokens.mask.sum(1)))
        np.testing.assert_array_equal(batch.masked_weights.sum(1), np.minimum(due, text.sum(1)))


def test_a_left_to_right_example_is_its_text_and_the_same_one_place_further():
    corpus = random_corpus(sentences=6)
    data = data_of(corpus, ObjectiveConfig("ltr", "none", short_share=0.0))
    batch = data.batch(0, np.arange(data.num_examples))
    assert data.num_slots == 31 and (batch.masked_positions == np.arange(31)).all() and not batch.weights.any()
    for ids, targets, weights in zip(batch.tokens.ids, batch.masked_ids, batch.masked_weights, strict=True):
        first = int(ids[1])
        document = document_of(corpus, first - 5)
        size = np.diff(corpus.sentences[corpus.documents[document : document + 2]])[0]
        text = list(range(first, first + min(30, size)))
        padding = [0] * (30 - len(text))
        assert ids.tolist() == [2, *text, 3, *padding]
        assert targets.tolist() == [*text, 3, *padding]
        assert weights.tolist() == [1.0] * (len(text) + 1) + padding


def test_random_tokens_are_never_special_also_where_those_stand_last():
    corpus = Corpus(np.arange(200) % 90, np.arange(0, 201, 10), np.array([0, 10, 20]))
    objective = ObjectiveConfig(mask_share=0.0, random_share=1.0, mask_rate=0.9)
    data = PretrainData(corpus, SpecialIds(90, 91, 92, 93, 94), 95, None, 32, objective, 0)
    batches = [data.batch(epoch, np.arange(data.num_examples)) for epoch in range(40)]
    shown = np.concatenate([batch.tokens.ids[batch.tokens.mask & ~batch.tokens.special] for batch in batches])
    assert set(shown) == set(range(90))


@OBJECTIVE
def test_an_example_is_the_same_whatever_else_is_in_its_batch(objective):
    data = data_of(HARD["ordinary"], objective)
    everything = data.batch(2, np.arange(data.num_examples))
    some = np.array([5, 0, 17, 5])
    assert_same(data.batch(2, some), rows_of(everything, some))
    assert_same(data.batch(2, some[2:3]), rows_of(everything, some[2:3]))
    assert_same(
        data.batch(np.array([2, 7, 2]), np.array([5, 1, 0])),
        joined([data.batch(e, np.array([i])) for e, i in [(2, 5), (7, 1), (2, 0)]]),
    )


@OBJECTIVE
def test_seed_and_epoch_change_pairs_and_masks_of_every_example(objective):
    data = data_of(corpus_of(*([7] * 100 for _ in range(10))), objective, max_length=64)
    indices = np.arange(data.num_examples)
    base = data.batch(0, indices)
    assert_same(base, data.batch(0, indices))
    for other in (data.batch(1, indices), dataclasses.replace(data, seed=1).batch(0, indices)):
        assert (unmasked(base) == unmasked(other)).all(1).mean() < 0.05
        if objective.tokens == "mlm":
            assert (base.masked_positions == other.masked_positions).all(1).mean() < 0.02
        if objective.pairs != "none":
            assert 0.3 < (base.is_next == other.is_next).mean() < 0.7


def test_tokens_may_be_of_any_integer_type():
    for objective in OBJECTIVES.values():
        base = data_of(random_corpus(), objective).batch(0, np.arange(20))
        for dtype in (np.uint16, np.uint32):
            assert_same(base, data_of(random_corpus(dtype=dtype), objective).batch(0, np.arange(20)))


def test_what_is_masked_does_not_tell_whether_b_is_next():
    data = data_of(corpus_of(*([4] * 100 for _ in range(10))), ObjectiveConfig(short_share=0.0, mask_rate=0.3))
    epochs, indices = np.repeat(np.arange(40), data.num_examples), np.tile(np.arange(data.num_examples), 40)
    batch = data.batch(epochs, indices)
    chosen = np.zeros(batch.tokens.ids.shape)
    row, slot = np.nonzero(batch.masked_weights)
    chosen[row, batch.masked_positions[row, slot]] = 1
    for column in range(1, 13):
        assert abs(np.corrcoef(chosen[:, column], batch.is_next)[0, 1]) < 4.5 / len(epochs) ** 0.5


@OBJECTIVE
@pytest.mark.parametrize("num_hosts", [1, 2, 4])
def test_hosts_have_parts_of_the_same_batches_and_make_no_other_rows(objective, num_hosts, monkeypatch):
    data = data_of(HARD["ordinary"], objective)
    whole = list(data.batches(12, 3, 9))
    made = []
    plain = PretrainData.batch
    monkeypatch.setattr(
        PretrainData, "batch", lambda self, epoch, rows: made.append(len(rows)) or plain(self, epoch, rows)
    )
    parts = [list(data.batches(12, 3, 9, host=host, num_hosts=num_hosts)) for host in range(num_hosts)]
    assert made == [12 // num_hosts] * 6 * num_hosts
    for step, batch in enumerate(whole):
        assert_same(batch, joined([part[step] for part in parts]))


def test_batches_resume_at_any_step_and_each_epoch_has_every_index_once():
    data = data_of(corpus_of(*([4] * 10 for _ in range(20))), max_length=24)
    n, size = data.num_examples, 16
    assert n % size, "the test is about batches that hold the end of an epoch and the beginning of the next"
    steps = 3 * n // size
    batches = list(data.batches(size, 0, steps))
    for first in (1, n // size, steps - 2):
        for one, other in zip(batches[first:], data.batches(size, first, steps), strict=True):
            assert_same(one, other)
    flat = np.concatenate([batch.tokens.ids for batch in batches])
    orders = []
    for epoch in range(2):
        rows = {tuple(row): i for i, row in enumerate(data.batch(epoch, np.arange(n)).tokens.ids)}
        assert len(rows) == n
        orders.append([rows[tuple(row)] for row in flat[epoch * n : (epoch + 1) * n]])
        assert sorted(orders[-1]) == list(range(n))
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])


def digests(steps):
    """Digests of the batches of some steps, for every objective."""
    found = []
    for objective, step in itertools.product(OBJECTIVES.values(), steps):
        (batch,) = data_of(random_corpus(), objective).batches(16, step, step + 1)
        found.append(hashlib.sha256(b"".join(x.tobytes() for x in arrays(batch))).hexdigest())
    return found


@pytest.mark.parametrize("workers", [1, 4])
def test_worker_processes_make_the_same_bytes(workers):
    steps = [0, 5, 9, 1000]
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(digests, [[step] for step in steps]))
    assert [part[k] for k in range(len(OBJECTIVES)) for part in parts] == digests(steps)
    assert len(set(digests(steps))) == len(steps) * len(OBJECTIVES)


def refused(corpus, objective, starts_word=None):
    with pytest.raises(InputError) as caught:
        PretrainData(corpus, SPECIAL, 100, starts_word, 32, objective, 0)
    return str(caught.value)


def test_what_a_corpus_or_a_tokenizer_does_not_have_is_refused():
    assert "another one" in refused(corpus_of([3, 4, 5]), OBJECTIVES["nsp"])
    for name in UNPAIRED:
        assert "an order of sentences (pairs sop) needs two" in refused(HARD[name], OBJECTIVES["sop"])
        assert "a true next sentence (pairs nsp) needs two" in refused(HARD[name], OBJECTIVES["nsp"])
        assert data_of(HARD[name], OBJECTIVES["none"]).num_examples
    for masking in ("whole_word", "span"):
        assert "begin a word" in refused(HARD["ordinary"], ObjectiveConfig(masking=masking))
    for objective in (OBJECTIVES["sop"], OBJECTIVES["none"]):
        assert len(data_of(corpus_of([3, 4, 5]), objective).batch(0, np.arange(1)).weights) == 1


@pytest.mark.parametrize(("single", "share"), [(0, 1), (5, 0.5), (6, 5 / 11), (45, 0.1)])
def test_a_corpus_in_which_few_sentences_have_a_next_one_is_warned_of(single, share):
    corpus = corpus_of(*([10] for _ in range(single)), *([5, 5] for _ in range(5)))
    assert corpus.paired_share == pytest.approx(share)
    if share < 0.5:
        with pytest.warns(UserWarning, match=f"only {share:.1%} of the text .* fewer than half .* true next sentence"):
            data = data_of(corpus)
    else:
        data = data_of(corpus)
    # The share is what it says: so many of the examples that are to have a true next sentence have one.
    epochs = np.concatenate([data.batch(epoch, np.arange(data.num_examples)).is_next for epoch in range(400)])
    assert abs(epochs.mean() - share / 2) < 0.05
    data_of(corpus, OBJECTIVES["sop"])


@pytest.mark.parametrize("pairs", ["nsp", "sop"])
def test_pairs_for_a_left_to_right_model_are_refused(pairs):
    with pytest.raises(InputError, match="needs pairs none"):
        ObjectiveConfig("ltr", pairs)


def test_both_tokenizers_say_which_pieces_begin_a_word(tmp_path):
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "#", "##s", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces), encoding="utf-8")
    assert WordPiece.from_vocabulary(tmp_path / "vocab.txt").starts_word.tolist() == [True] * 6 + [
        False,
        True,
        False,
        True,
    ]
    tokenizer = train_sentencepiece([f"the cat ran {n} times" for n in range(200)], 40)
    for text in ("the cat ran 17 times", "19 cats"):
        (ids,) = tokenizer.pieces([text])
        assert tokenizer.starts_word[ids].sum() == len(text.split()) < len(ids) and tokenizer.starts_word[ids[0]]
    assert len(tokenizer.starts_word) == 40 and not tokenizer.starts_word[:5].any()


class Words:
    """A token for each word."""

    vocab_size = 30

    def pieces(self, texts):
        return [[5 + len(word) for word in text.split()] for text in texts]


def test_documents_become_flat_arrays_without_what_is_empty():
    corpus = tokenize_documents(Words(), [["a bb", "", "ccc"], [""], [], ["d"], ["  "]])
    assert corpus.tokens.tolist() == [6, 7, 8, 6]
    assert corpus.sentences.tolist() == [0, 2, 3, 4] and corpus.documents.tolist() == [0, 2, 3]
    assert corpus.num_documents == 2 and np.issubdtype(corpus.tokens.dtype, np.integer)


@pytest.mark.parametrize("documents", [[], [["a"]], [["a", "b"], [""]]])
def test_fewer_than_two_documents_are_refused(documents):
    with pytest.raises(InputError, match="at least two"):
        tokenize_documents(Words(), documents)
