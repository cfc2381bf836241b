"""Probes: what the head sees, on what protocol scaled chooses C, and that no row answers for itself."""

from itertools import product
from typing import get_args, get_type_hints

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from bert_jax.config import ProbeConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.evaluate.linear import unit
from bert_jax.evaluate.probe import (
    PROTOCOLS,
    Places,
    ProbeData,
    describe,
    is_random,
    prepare_probe,
    probe,
)
from bert_jax.files import digest, plain
from bert_jax.tasks.senteval import TASKS
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import WordPiece

READOUT = ReadoutConfig()
CONFIG = ProbeConfig(c_values=(1e-3, 1e-1, 10.0), folds=4)
RNG = np.random.default_rng(1)
VECTORS = RNG.normal(size=(160, 10)).astype(np.float32)
LABELS = (VECTORS @ RNG.normal(size=10) + RNG.normal(size=160) > 0).astype(np.int32)


def places(*rows):
    rows = np.arange(*rows)
    return Places(rows, None, LABELS[rows], np.ones((len(rows), 1)))


def make(evaluations, train, held=None, **task):
    task = Task("t", "T", ("sentence",), ("no", "yes"), ("accuracy",), tuple(evaluations), **task)
    return ProbeData(task, [], train, held, evaluations)


def theirs(x, labels, c):
    return LogisticRegression(C=c, tol=1e-8, max_iter=5000).fit(x, labels)


def test_nested_folds_are_those_that_scikit_learn_would_fit_one_by_one():
    folds, cs = 4, CONFIG.c_values
    answers = probe(make({"folds": places(160)}, places(160), folds=folds), {READOUT: VECTORS}, READOUT, CONFIG, seed=3)
    x = VECTORS / unit(VECTORS)
    outer = list(StratifiedKFold(folds, shuffle=True, random_state=3).split(x, LABELS))
    wanted, chosen = np.empty_like(LABELS), []
    for train, test in outer:
        right = []
        for c in cs:
            held = [np.setdiff1d(inner, test) for _, inner in outer if not np.array_equal(inner, test)]
            heads = [theirs(x[np.setdiff1d(train, inner)], LABELS[np.setdiff1d(train, inner)], c) for inner in held]
            right.append(
                sum((head.predict(x[inner]) == LABELS[inner]).sum() for head, inner in zip(heads, held, strict=True))
            )
        chosen.append(cs[int(np.argmax(right))])
        wanted[test] = theirs(x[train], LABELS[train], chosen[-1]).predict(x[test])
    assert answers.chosen == chosen
    np.testing.assert_array_equal(answers.predictions["folds"], wanted)


def test_a_validation_set_chooses_c_and_only_training_rows_are_fitted():
    data = make({"test": places(120, 160)}, places(80), places(80, 120), validation="validation")
    answers = probe(data, {READOUT: VECTORS}, READOUT, CONFIG, seed=0)
    x = VECTORS / unit(VECTORS[:80])
    heads = [theirs(x[:80], LABELS[:80], c) for c in CONFIG.c_values]
    best = int(np.argmax([head.score(x[80:120], LABELS[80:120]) for head in heads]))
    assert answers.chosen == [CONFIG.c_values[best]]
    np.testing.assert_array_equal(answers.predictions["test"], heads[best].predict(x[120:]))


def test_without_one_folds_of_the_training_rows_choose_it_and_the_test_set_has_no_say():
    data = make({"test": places(120, 160)}, places(120))
    answers = probe(data, {READOUT: VECTORS}, READOUT, CONFIG, seed=0)
    moved = VECTORS.copy()
    moved[120:] = 0
    assert probe(data, {READOUT: moved}, READOUT, CONFIG, seed=0).chosen == answers.chosen
    assert answers.chosen[0] in CONFIG.c_values


def test_a_row_of_a_fold_never_answers_for_itself():
    """With labels that say nothing of the features, ten folds are right in half of the cases, whatever C."""
    coin = np.random.default_rng(0).permutation(np.repeat([0, 1], 80)).astype(np.int32)
    rows = Places(np.arange(160), None, coin, np.ones((160, 1)))
    wide = np.random.default_rng(2).normal(size=(160, 200)).astype(np.float32)
    config = ProbeConfig(c_values=(10.0,))
    answers = probe(make({"folds": rows}, rows, folds=10), {READOUT: wide}, READOUT, config, seed=0)
    assert 0.35 < np.mean(answers.predictions["folds"] == coin) < 0.65


def test_the_scale_of_the_features_does_not_matter_and_the_seed_decides_folds_only():
    data = make({"folds": places(160)}, places(160), folds=4)
    found = [
        probe(data, {READOUT: VECTORS * scale}, READOUT, CONFIG, seed) for scale, seed in ((1, 0), (64, 0), (1, 1))
    ]
    np.testing.assert_array_equal(found[0].predictions["folds"], found[1].predictions["folds"])
    assert found[0].chosen == found[1].chosen
    assert np.mean(found[0].predictions["folds"] != found[2].predictions["folds"]) < 0.2


TEXTS = ["a", "b", "c", "a b", "b c"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "vocab.txt"
    path.write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n")
    return WordPiece.from_vocabulary(path)


@pytest.mark.parametrize(("pairs", "directed"), list(product(("separate", "joint"), (False, True))))
def test_a_pair_is_seen_as_the_protocol_says(tokenizer, pairs, directed):
    a, b = (list(side) for side in zip(*product(TEXTS, TEXTS), strict=True))
    labels = np.array([(x < y) for x, y in zip(a, b, strict=True)], np.int32)
    task = Task("t", "T", ("one", "two"), ("no", "yes"), ("accuracy",), ("test",), directed=directed)
    config = ProbeConfig(pairs=pairs, folds=2, c_values=(10.0,))
    split = Split(a, b, labels)
    data = prepare_probe(task, tokenizer, split, None, {"test": split}, config, 16)
    assert len(data.encodings) == (len(TEXTS) if pairs == "separate" else len(a))
    vectors = RNG.normal(size=(len(data.encodings), 6)).astype(np.float32)
    found = probe(data, {READOUT: vectors}, READOUT, config, 0).predictions["test"].reshape(5, 5)
    symmetric = pairs == "separate" and not directed
    assert np.array_equal(found, found.T) == symmetric
    assert ("jointly" in describe(task, config)) == (pairs == "joint")


def test_the_protocol_of_each_task_is_in_words():
    config = ProbeConfig()
    assert describe(TASKS["mr"], config) == (
        "logistic regression on u, C chosen on 10 folds of the training rows, protocol scaled"
    )
    assert "on [|u-v|, u*v], C" in describe(TASKS["mrpc"], config)
    assert "[u, v, |u-v|, u*v], C chosen on the validation set" in describe(TASKS["snli"], config)
    assert describe(TASKS["sickr"], config).startswith("ridge")


def test_the_protocol_belongs_to_the_id_of_a_run_and_the_default_leaves_older_ids_as_they_are():
    assert "protocol" not in plain(ProbeConfig()) and digest(ProbeConfig()) == "89dae685a220"
    assert plain(ProbeConfig(protocol="senteval"))["protocol"] == "senteval"
    assert digest(ProbeConfig(protocol="senteval")) != digest(ProbeConfig())


def test_every_protocol_is_offered_and_the_other_way_round():
    assert set(PROTOCOLS) == set(get_args(get_type_hints(ProbeConfig)["protocol"]))


def test_values_of_c_are_refused_where_the_protocol_has_its_own():
    with pytest.raises(InputError, match="c_values: protocol senteval has its own; leave them out, or"):
        ProbeConfig(protocol="senteval", c_values=(1.0,))


def test_a_seed_counts_where_there_are_folds():
    random = {name for name, task in TASKS.items() if is_random(task)}
    assert random == {"mr", "cr", "subj", "mpqa", "trec", "mrpc"}


def test_a_class_with_fewer_rows_than_folds_is_explained(tokenizer):
    split = Split(["a"] * 10, None, np.array([0] * 9 + [1], np.int32))
    task = Task("t", "T", ("sentence",), ("no", "yes"), ("accuracy",))
    with pytest.raises(InputError, match="and one has 1; use more training rows, or fewer folds"):
        prepare_probe(task, tokenizer, split, None, {"validation": split}, CONFIG, 16)
    fixed = "MPQA: 10 folds need .* use more training rows; its protocol fixes their number"
    with pytest.raises(InputError, match=fixed):
        prepare_probe(TASKS["mpqa"], tokenizer, split, None, {"10 folds": split}, CONFIG, 16)
