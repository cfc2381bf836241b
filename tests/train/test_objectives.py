"""A pretraining objective is one class: what is registered is made, learned, measured, drawn and described."""

import importlib
import itertools
import re

import jax
import numpy as np
import pytest

from bert_jax import config as settings
from bert_jax.analysis.curves import draw_curves
from bert_jax.config import BertConfig, OptimConfig
from bert_jax.corpus.corpus import Corpus
from bert_jax.data.counter_rng import uniform
from bert_jax.data.examples import PretrainData
from bert_jax.data.masking import Masked
from bert_jax.data.objectives import (
    PAIR_OBJECTIVES,
    TOKEN_OBJECTIVES,
    Measure,
    TokenObjective,
    all_measures,
    make_objectives,
    token_objective,
)
from bert_jax.data.segments import NUM_DRAWS
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining
from bert_jax.pretrain_config import ObjectiveConfig, PretrainConfig
from bert_jax.tokenizers.template import SpecialIds
from bert_jax.train.pretrain import Pretraining, bert_config
from bert_jax.train.step import pretrain_objective

RECIPE = '''\
# mylab/objectives.py
from bert_jax.data.objectives import NextSentence, pair_objective


@pair_objective("previous")
class PreviousSentence(NextSentence):
    """Does B stand before A, or is it from another document?"""

    def segments(self, corpus, token, target, u):
        pairs = super().segments(corpus, token, target, u)
        a, b = (pairs.b_start, pairs.b_length), (pairs.a_start, pairs.a_length)
        return type(pairs)(*a, *b, pairs.is_next)
'''
SPECIAL = SpecialIds(0, 1, 2, 3, 4)
LENGTH = 16


class Tokenizer:
    """What a pretraining asks a tokenizer for."""

    special, vocab_size, starts_word = SPECIAL, 50, None


@pytest.fixture(scope="module")
def corpus():
    """Sixty documents of two to seven sentences, each of one to eight tokens."""
    rng = np.random.default_rng(0)
    documents = np.cumsum([0, *rng.integers(2, 8, 60)])
    sentences = np.cumsum([0, *rng.integers(1, 9, documents[-1])])
    return Corpus(rng.integers(5, 50, sentences[-1]).astype(np.int32), sentences, documents)


@pytest.fixture
def registries(monkeypatch):
    """Registries that may be added to: afterwards they are what they were."""
    for registry in (TOKEN_OBJECTIVES, PAIR_OBJECTIVES):
        for name in (*registry, "previous", "first"):
            monkeypatch.setitem(registry, name, registry.get(name))
            if registry[name] is None:
                del registry[name]


@pytest.fixture
def recipe(registries, tmp_path, monkeypatch):
    """The module of the recipe, from the file that its first line names."""
    place = tmp_path / RECIPE.splitlines()[0].removeprefix("# ")
    place.parent.mkdir()
    place.write_text(RECIPE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("mylab.objectives")


def pretrain(corpus, objective, monkeypatch):
    """Two steps: (job, what is logged of the last one, what held-out text gives)."""
    monkeypatch.setitem(settings.PRESETS, "tiny", BertConfig(50, 16, 1, 2, 32))
    config = PretrainConfig(
        steps=2, batch_size=16, max_length=LENGTH, objective=objective, optim=OptimConfig(learning_rate=1e-2)
    )
    job = Pretraining(config, Tokenizer(), corpus, corpus, 32)
    for step, state, metrics in job.fit(job.initial_state(), job.batches(0)):
        measured = job.measured(step, metrics)
    return job, measured, job.evaluate(state.params)


def test_the_recipe_is_short_and_names_its_file():
    lines = RECIPE.splitlines()
    assert re.fullmatch(r"# [\w/]+\.py", lines[0]) and len(lines) <= 15


def test_the_recipe_makes_pairs_and_is_learned(recipe, corpus, monkeypatch):
    objective = ObjectiveConfig(pairs="previous")
    tokens = np.arange(0, len(corpus.tokens), 3)
    u, target = uniform(0, 0, tokens, 0, NUM_DRAWS).T, np.full(len(tokens), LENGTH - 3)
    pairs = make_objectives(objective)[1].segments(corpus, tokens, target, u)
    before = pairs.is_next == 1
    assert 0.3 < before.mean() < 0.7
    np.testing.assert_array_equal((pairs.b_start + pairs.b_length)[before], pairs.a_start[before])
    job, measured, evaluated = pretrain(corpus, objective, monkeypatch)
    assert isinstance(job.phases[0].data.objectives[1], recipe.PreviousSentence)
    assert evaluated["nsp_loss"] == pytest.approx(np.log(2), abs=0.2) and {"nsp_loss", "nsp_accuracy"} <= set(measured)
    titles = [axes.get_title(loc="left") for axes in draw_curves([{"step": 1, "split": "train", **measured}]).axes]
    assert "accuracy of sentence pairs" in titles


def test_an_objective_over_tokens_brings_its_measures_and_its_words(registries, corpus, monkeypatch):
    """The first token of a text is to be told from the others."""

    @token_objective("first")
    class FirstToken(TokenObjective):
        measures = (Measure("first_loss", "first {:.2f}", "loss of the first token"), Measure("first_accuracy"))
        card = "first tokens"

        def share(self):
            return 0.05

        def num_slots(self, max_length):
            return 1

        def choose(self, tokens, vocabulary, draw):
            ids, one = tokens.ids.copy(), np.ones((len(tokens.ids), 1), np.int32)
            ids[:, 1] = vocabulary.special.mask
            return Masked(ids, one, tokens.ids[:, 1:2], one.astype(np.float32))

        def labelled(self, logits, batch):
            return {"first": super().labelled(logits, batch)["mlm"]}

    job, measured, evaluated = pretrain(corpus, ObjectiveConfig("first", "none"), monkeypatch)
    assert set(evaluated) == {"first_loss", "first_accuracy"} < set(measured)
    assert measured["loss"] == measured["first_loss"] and job.phases[0].data.num_slots == 1
    titles = [axes.get_title(loc="left") for axes in draw_curves([{"step": 1, "split": "train", **measured}]).axes]
    assert titles == ["loss of the first token"] and all_measures()["first_loss"].brief == "first {:.2f}"


COMBINATIONS = [
    pytest.param(ObjectiveConfig(tokens, pairs), id=f"{tokens} {pairs}")
    for tokens, pairs in itertools.product(TOKEN_OBJECTIVES, PAIR_OBJECTIVES)
    if not TOKEN_OBJECTIVES[tokens].causal or not PAIR_OBJECTIVES[pairs].trains_head
]


@pytest.mark.parametrize("objective", COMBINATIONS)
def test_what_is_shown_is_measured_and_slots_have_room(objective, corpus):
    parts = make_objectives(objective)
    data = PretrainData(corpus, SPECIAL, 50, None, LENGTH, objective, 0)
    batch = data.batch(0, np.arange(32))
    assert batch.masked_ids.shape == (32, data.num_slots) and batch.masked_weights.sum() > 0
    assert parts[0].share() * LENGTH - 1 <= data.num_slots <= LENGTH
    model, key = model_for(objective), jax.random.key(0)
    params = jax.eval_shape(model.init, key, batch.tokens, batch.masked_positions)["params"]
    terms = jax.eval_shape(pretrain_objective(model, objective), params, batch, key)
    assert {measure.name for part in parts for measure in part.measures} == {*terms.losses, *terms.measures}
    assert bool(batch.weights.any()) == parts[1].trains_head == bool(parts[1].measures)


def model_for(objective):
    config = PretrainConfig(preset="1/16/2", objective=objective)
    bert = bert_config(config, 50)
    assert bert.causal == make_objectives(objective)[0].causal
    return BertForPretraining(bert, config.nsp_readout)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (ObjectiveConfig(tokens="mlmm"), "'mlmm'.*Did you mean 'mlm'"),
        (ObjectiveConfig(pairs="nps"), "'nps'.*Did you mean 'nsp'"),
    ],
)
def test_an_unknown_objective_is_named_with_what_there_is(objective, message):
    with pytest.raises(InputError, match=message):
        make_objectives(objective)
