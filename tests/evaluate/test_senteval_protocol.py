"""Protocol senteval beside a plain loop over scikit-learn, with SentEval's grids and folds, for each kind of task."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from bert_jax.config import ProbeConfig, ReadoutConfig
from bert_jax.evaluate import senteval_protocol
from bert_jax.evaluate.probe import Places, ProbeData, describe, probe
from bert_jax.evaluate.relatedness import predict_relatedness
from bert_jax.tasks.senteval import TASKS

READOUT, CONFIG = ReadoutConfig(), ProbeConfig(protocol="senteval", folds=3)
RNG = np.random.default_rng(5)
VECTORS = RNG.normal(size=(240, 6)).astype(np.float32)
SCORES = VECTORS @ RNG.normal(size=(6, 3)) + 2 * RNG.normal(size=(240, 3))
WORDS = RNG.integers(3, 9, (240, 2))
NARROW, WIDE = [2.0**t for t in range(-2, 4)], [2.0**t for t in range(-1, 6)]


def make(name, *bounds, classes=2, **task):
    """A task of SentEval: the first rows to train on, then those of the validation set if any, then the test set."""
    task = replace(TASKS[name], **task)
    labels = SCORES[:, :classes].argmax(1).astype(np.int32)
    sides = len(task.texts)

    def places(rows):
        return Places(rows, (rows * 7 + 1) % 240 if sides == 2 else None, labels[rows], WORDS[rows, :sides])

    parts = [places(rows) for rows in np.split(np.arange(240), bounds)]
    held = parts[1] if task.validation else None
    return ProbeData(task, [], parts[0], held, {task.evaluations[0]: parts[-1]})


def features(places, directed=False):
    u = VECTORS[places.a]
    if places.b is None:
        return u
    v = VECTORS[places.b]
    return np.hstack([*((u, v) if directed else ()), np.abs(u - v), u * v])


def theirs(x, labels, held, held_labels, c):
    head = LogisticRegression(C=c).fit(x, labels)
    return head, head.score(held, held_labels)


def best_of(x, labels, grid, folds, seed=1111):
    """SentEval's choice by folds: the first of the best mean accuracies, in percent with two decimals."""
    means = []
    for c in grid:
        split = StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, labels)
        found = [theirs(x[kept], labels[kept], x[held], labels[held], c)[1] for kept, held in split]
        means.append(round(100 * np.mean(found), 2))
    return grid[int(np.argmax(means))]


def sorted_rows(places):
    """SentEval's order: sorted by the words of the texts, then by label, with equal rows in file order."""
    keys = [(*words, label) for words, label in zip(places.words.tolist(), places.labels.tolist(), strict=True)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))


def answered(data, seed=0):
    found = probe(data, {READOUT: VECTORS}, READOUT, CONFIG, seed)
    return next(iter(found.predictions.values())), found.chosen


@pytest.mark.parametrize("seed", [0, 2])
def test_a_set_without_a_test_set_is_scored_by_folds_with_c_chosen_on_folds_inside_each(seed):
    data = make("mr", folds=4)
    order = sorted_rows(data.train)
    x, labels = VECTORS[order], data.train.labels[order]
    wanted, chosen = np.empty_like(labels), []
    for kept, held in StratifiedKFold(4, shuffle=True, random_state=1111 + seed).split(x, labels):
        chosen.append(best_of(x[kept], labels[kept], NARROW, 3, 1111 + seed))
        wanted[order[held]] = theirs(x[kept], labels[kept], x, labels, chosen[-1])[0].predict(x[held])
    found, c = answered(data, seed)
    assert c == chosen
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize(("name", "classes"), [("trec", 3), ("mrpc", 2)])
def test_a_set_with_a_test_set_chooses_c_from_the_wide_grid_on_folds_of_its_training_rows(name, classes):
    data = make(name, 180, classes=classes)
    order = sorted_rows(data.train)
    x, labels = features(data.train)[order], data.train.labels[order]
    best = best_of(x, labels, WIDE, 3)
    found, chosen = answered(data)
    assert chosen == [best]
    head = theirs(x, labels, x, labels, best)[0]
    np.testing.assert_array_equal(found, head.predict(features(data.evaluations["test"])))


@pytest.mark.parametrize(("name", "grid"), [("sst2", NARROW), ("snli", [1e9])])
def test_a_validation_set_chooses_c_and_snli_has_no_penalty(name, grid):
    data = make(name, 120, 180, classes=2 if name == "sst2" else 3)
    parts = data.train, data.validation, data.evaluations["test"]
    x, held, test = (features(places, name == "snli") for places in parts)
    fitted = [theirs(x, data.train.labels, held, data.validation.labels, c) for c in grid]
    best = int(np.argmax([round(100 * accuracy, 2) for _, accuracy in fitted]))
    found, chosen = answered(data)
    assert chosen == [grid[best]]
    np.testing.assert_array_equal(found, fitted[best][0].predict(test))


def test_features_are_used_as_they_are_so_that_their_scale_matters_as_in_senteval():
    data = make("trec", 180)
    small = probe(data, {READOUT: VECTORS / 64}, READOUT, CONFIG, 0)
    assert not np.array_equal(small.predictions["test"], answered(data)[0])


def test_the_same_seed_gives_the_same_answers_and_another_one_other_folds():
    data = make("mr", folds=4)
    first, again, other = (answered(data, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1] and not np.array_equal(first[0], other[0])


def scored(validation="validation"):
    data = make("sickr", 120, 180, validation=validation)
    scores = np.clip(3 + np.sum(np.abs(VECTORS - np.roll(VECTORS, 1, 0)), 1) / 4, 1, 5)
    return data._replace(
        train=data.train._replace(labels=scores[data.train.a]),
        validation=data.validation and data.validation._replace(labels=scores[data.validation.a]),
    )


def test_scores_are_predicted_by_the_head_for_relatedness_on_sorted_rows():
    data = scored()
    found, chosen = answered(data, seed=4)
    order = sorted_rows(data.train)
    held, test = data.validation, data.evaluations["test"]
    (wanted,) = predict_relatedness(
        features(data.train)[order], data.train.labels[order], features(held), held.labels, [features(test)], 4
    )
    assert chosen == []
    np.testing.assert_array_equal(found, wanted)


def test_without_a_validation_set_a_fold_of_the_training_rows_stops_the_head(monkeypatch):
    seen = {}

    def note(x, scores, held, held_scores, others, seed):
        seen.update(x=x, held=held)
        return [np.zeros(len(other)) for other in others]

    monkeypatch.setattr(senteval_protocol, "predict_relatedness", note)
    data = scored(validation="")
    answered(data)
    assert [len(seen["x"]), len(seen["held"])] == [80, 40]
    both = np.concatenate([seen["x"], seen["held"]])
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(features(data.train), axis=0))


def test_each_kind_of_evaluation_is_in_words():
    wanted = {
        "mr": "scikit-learn's logistic regression on u, C of 0.25 to 8 chosen on 3 folds of the training rows",
        "trec": "scikit-learn's logistic regression on u, C of 0.5 to 32 chosen on 3 folds of the training rows",
        "sst2": "scikit-learn's logistic regression on u, C of 0.25 to 8 chosen on the validation set",
        "snli": "scikit-learn's logistic regression on [u, v, |u-v|, u*v], unpenalised",
        "sickr": "softmax over scores 1 to 5 on [|u-v|, u*v], stopped by Pearson's r on the validation set",
    }
    assert {name: describe(TASKS[name], CONFIG) for name in wanted} == {
        name: f"{text}, protocol senteval" for name, text in wanted.items()
    }
