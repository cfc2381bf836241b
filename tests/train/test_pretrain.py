"""Pretraining learns, repeats itself bit for bit, and what it saves is what it trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bert_jax
from bert_jax import config as settings
from bert_jax.config import BertConfig, ComputeConfig, FinetuneConfig, OptimConfig, ReadoutConfig
from bert_jax.corpus.corpus import Corpus, tokenize_documents
from bert_jax.data.examples import PretrainData
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining
from bert_jax.parallel.devices import replicate
from bert_jax.pretrain_config import LongPhase, ObjectiveConfig, PretrainConfig
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.train import finetune as finetuning
from bert_jax.train import trainer
from bert_jax.train.finetune import prepare_task
from bert_jax.train.losses import Ratio, Terms
from bert_jax.train.pretrain import Pretraining, bert_config, check, with_tokens
from bert_jax.types import PretrainBatch, Tokens

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat dog sees hears a red blue ball house and then it runs sleeps".split()
STEPS = 40
ONE = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))


def assert_same_trees(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return WordPiece.from_vocabulary(path)


@pytest.fixture(scope="module", autouse=True)
def small():
    """`tiny` is larger than a test needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(settings.PRESETS, "tiny", BertConfig(50, 16, 1, 2, 32))
        yield


@pytest.fixture(scope="module")
def corpus(tokenizer):
    """Each document is about one thing that one animal sees."""
    rng = np.random.default_rng(0)
    documents = []
    for _ in range(40):
        animal, colour, thing = (rng.choice(names) for names in (["cat", "dog"], ["red", "blue"], ["ball", "house"]))
        sentence = f"the {animal} sees a {colour} {thing}"
        documents.append([sentence, f"it sees the {thing}", f"and then the {animal} runs", sentence])
    return tokenize_documents(tokenizer, documents)


def config_of(**changes):
    values = {"steps": STEPS, "batch_size": 16, "max_length": 16, "dropout": 0.0, "seed": 0}
    return PretrainConfig(optim=OptimConfig(learning_rate=1e-2), **(values | changes))


def run(config, tokenizer, corpus):
    job, metrics = Pretraining(config, tokenizer, corpus), []
    for step, state, values in job.fit(job.initial_state(), job.batches(0)):
        metrics.append(values)
    assert step == int(state.step) == config.steps
    return metrics, jax.device_get(state.params)


def first_step(config, tokenizer, corpus):
    """(state, metrics)."""
    job = Pretraining(config, tokenizer, corpus)
    return next(job.fit(job.initial_state(), job.batches(0)))[1:]


@pytest.fixture(scope="module")
def trained(tokenizer, corpus):
    return run(config_of(), tokenizer, corpus)


@pytest.fixture(scope="module")
def trained_by_mean(tokenizer, corpus):
    return run(config_of(nsp_readout=ReadoutConfig(pooling="mean", projection="tanh")), tokenizer, corpus)


@pytest.mark.parametrize("name", ["trained", "trained_by_mean"])
def test_the_loss_falls(name, request):
    metrics, _ = request.getfixturevalue(name)
    first, last = ({key: np.mean([m[key] for m in part]) for key in part[0]} for part in (metrics[:5], metrics[-5:]))
    assert set(first) == {"mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy", "tokens", "loss", "grad_norm"}
    assert first["mlm_loss"] == pytest.approx(np.log(len(WORDS)), abs=0.6), "a fresh model knows nothing"
    assert first["nsp_loss"] == pytest.approx(np.log(2), abs=0.1)
    assert last["mlm_loss"] < first["mlm_loss"] - 0.5 and last["mlm_accuracy"] > first["mlm_accuracy"]


def test_one_seed_gives_the_same_bits_and_another_one_others(trained, tokenizer, corpus):
    metrics, params = trained
    again, same = run(config_of(), tokenizer, corpus)
    assert again == metrics
    jax.tree.map(np.testing.assert_array_equal, params, same)
    _, other = first_step(config_of(seed=1), tokenizer, corpus)
    assert other != metrics[0]


def test_nsp_by_mean_pooling_has_weights_of_its_own(trained, trained_by_mean):
    assert trained[0][0]["mlm_loss"] == trained_by_mean[0][0]["mlm_loss"], "NSP's readout is no matter to the first MLM"
    assert trained[0][0]["nsp_loss"] != trained_by_mean[0][0]["nsp_loss"]


def test_what_is_saved_is_loaded_bit_for_bit(trained, tokenizer, corpus, tmp_path):
    _, params = trained
    Pretraining(config_of(), tokenizer, corpus).pretrained(params).save(tmp_path / "model")
    loaded = bert_jax.load(tmp_path / "model")
    equal = np.testing.assert_array_equal
    jax.tree.map(equal, loaded.checkpoint.encoder, params["encoder"])
    jax.tree.map(equal, loaded.checkpoint.pooler, params["reader"]["projection"]["dense"])
    jax.tree.map(equal, loaded.checkpoint.mlm, params["mlm"])
    jax.tree.map(equal, loaded.checkpoint.nsp, params["nsp"])
    assert loaded.config == bert_config(config_of(), len(WORDS))
    text = "the dog hears a blue house and"
    assert loaded.tokenizer.encode(text) == tokenizer.encode(text)


@pytest.mark.parametrize("readout", [ReadoutConfig(), ReadoutConfig(pooling="cls+mean", projection="tanh")])
def test_a_readout_that_is_no_pooler_of_berts_is_not_saved_as_one(readout, tokenizer, corpus, tmp_path):
    config = config_of(nsp_readout=readout)
    model = BertForPretraining(bert_config(config, len(WORDS)), readout)
    params = jax.jit(lambda key: model.init(key, ONE, np.ones((1, 1), np.int32))["params"])(jax.random.key(0))
    Pretraining(config, tokenizer, corpus).pretrained(params).save(tmp_path / "model")
    loaded = bert_jax.load(tmp_path / "model")
    assert loaded.checkpoint.pooler is None and loaded.checkpoint.nsp is None
    jax.tree.map(np.testing.assert_array_equal, loaded.checkpoint.encoder, params["encoder"])


def test_a_fine_tuning_with_the_same_seed_begins_with_other_fresh_weights(trained, tokenizer, corpus):
    """Were they those that pretraining began with, they would fit the encoder better than fresh ones can."""
    job = Pretraining(config_of(), tokenizer, corpus)
    began = job.initial_state().params["reader"]["projection"]["dense"]["kernel"]
    task = Task("toy", "Toy", ("sentence",), ("no", "yes"), ("accuracy",))
    config, split = FinetuneConfig(1, 8, 8, 16, 1), Split(["the cat"], None, np.zeros(1, np.int32))
    data = prepare_task(task, tokenizer, split, {"validation": split}, config)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "dispatch", lambda step, begin, *_: seen.append(begin.state) or iter([(1, begin, None)]))
        patch.setattr(finetuning, "predict_rows", lambda *args: np.zeros((1, 1, 2)))
        mlp = ReadoutConfig(projection="mlp")
        finetuning.finetune(job.pretrained(trained[1]), data, mlp, config, config_of().seed)
    fresh = seen[0].params["reader"]["projection"]["dense"]["kernel"][0]
    assert began.shape == fresh.shape and np.isclose(began, fresh, rtol=1e-3, atol=0).mean() < 0.1


def test_what_cannot_be_is_refused_before_anything_runs():
    with pytest.raises(InputError, match="Did you mean 'mean'"):
        check(config_of(nsp_readout=ReadoutConfig(pooling="maen")))
    with pytest.raises(InputError, match="there is no layer 5"):
        check(config_of(nsp_readout=ReadoutConfig(layers="5")))
    with pytest.raises(InputError, match=r"--pretrain\.batch-size 16 does not divide .* 3 pieces; use 15 or 18"):
        check(config_of(batch_size=16, accumulate=3))
    with pytest.raises(InputError, match=r"--pretrain\.long\.batch-size 15 does not divide .* 2 pieces; use 14 or 16"):
        check(config_of(accumulate=2, long=LongPhase(5, 32, 15)))


def test_ids_without_an_embedding_are_refused_before_anything_runs(tokenizer, corpus):
    """JAX takes NaN for a row that there is not, and the loss follows some steps later."""
    strange = corpus._replace(tokens=np.where(corpus.tokens == 5, len(WORDS), corpus.tokens))
    config = PretrainConfig(steps=STEPS)
    for train, heldout in ((strange, None), (corpus, strange)):
        with pytest.raises(InputError, match=r"the corpus has the token id 20, its tokenizer only ids up to 19"):
            Pretraining(config, tokenizer, train, heldout)


def test_a_text_of_unknown_words_is_warned_of(tokenizer, corpus):
    unknown = corpus._replace(tokens=np.where(np.arange(len(corpus.tokens)) % 4 == 0, 1, corpus.tokens))
    with pytest.warns(UserWarning, match=r"^the corpus: 25% of the tokens are \[UNK\]"):
        Pretraining(config_of(), tokenizer, unknown)


def test_the_network_is_the_one_that_the_settings_ask_for():
    compute = ComputeConfig(remat=True)
    config = config_of(compute=compute, dropout=0.25, attention_dropout=0.5)
    assert bert_config(config, 77).vocab_size == 77 and not bert_config(config, 77).causal
    assert (bert_config(config, 77).dropout, bert_config(config, 77).attention_dropout) == (0.25, 0.5)
    assert bert_config(config, 77).compute is compute
    left_to_right = ObjectiveConfig(tokens="ltr", pairs="none")
    assert bert_config(config_of(objective=left_to_right), 77).causal
    lengths = [16, 200, 512]
    assert [bert_config(config_of(max_length=n), 77).max_length for n in lengths] == [128, 200, 512]
    assert bert_config(config_of(long=LongPhase(0, 512, 8)), 77).max_length == 128
    assert bert_config(config_of(long=LongPhase(5, 256, 8)), 77).max_length == 256


# Two phases -------------------------------------------------------------------------------------------------------


def two_phases(**changes):
    return config_of(steps=9, batch_size=8, long=LongPhase(4, 32, 6), **changes)


def test_the_last_steps_are_longer(tokenizer, corpus):
    job = Pretraining(two_phases(), tokenizer, corpus)
    shapes = [batch.tokens.ids.shape for batch in job.batches(0)]
    assert shapes == [(8, 16)] * 5 + [(6, 32)] * 4
    assert [job.phase(step).data.max_length for step in range(1, 10)] == [16] * 5 + [32] * 4
    metrics, _ = run(two_phases(), tokenizer, corpus)
    assert len(metrics) == 9 and all(np.isfinite(values["loss"]) for values in metrics)


def test_one_schedule_runs_through_both(tokenizer, corpus):
    job = Pretraining(two_phases(), tokenizer, corpus)
    metrics = {"loss": 1.0, "mlm_loss": 1.0, "tokens": 0.75}
    rates = [job.measured(step, metrics)["learning_rate"] for step in range(1, 10)]
    warmup, peak = 1, 1e-2  # a tenth of nine steps
    assert rates == pytest.approx([peak * min((step - 1) / warmup, (9 - step + 1) / 8) for step in range(1, 10)])


@pytest.mark.parametrize("first", [0, 3, 5, 7, 9])
def test_a_run_that_goes_on_sees_what_it_would_have_seen(tokenizer, corpus, first):
    job = Pretraining(two_phases(), tokenizer, corpus)
    wanted, found = list(job.batches(0))[first:], list(job.batches(first))
    assert len(found) == len(wanted) == 9 - first
    for one, other in zip(found, wanted, strict=True):
        assert_same_trees(one, other)


def test_a_run_of_long_steps_only(tokenizer, corpus):
    config = config_of(steps=3, long=LongPhase(3, 32, 8))
    job = Pretraining(config, tokenizer, corpus)
    assert [batch.tokens.ids.shape for batch in job.batches(0)] == [(8, 32)] * 3
    assert len(run(config, tokenizer, corpus)[0]) == 3


def test_going_on_from_a_state_is_the_same_as_never_having_stopped(tokenizer, corpus):
    config = two_phases(dropout=0.1, attention_dropout=0.1)
    _, whole = run(config, tokenizer, corpus)
    job = Pretraining(config, tokenizer, corpus)
    steps = job.fit(job.initial_state(), job.batches(0), pause=lambda step: step == 3)
    _, state, _ = next(steps)
    saved = jax.tree.map(np.array, jax.device_get(state))
    job = Pretraining(config, tokenizer, corpus)
    *_, (_, state, _) = job.fit(replicate(saved), job.batches(3))
    assert_same_trees(jax.device_get(state.params), whole)


# Measurements -----------------------------------------------------------------------------------------------------


def test_padding_is_the_share_of_positions_without_a_token(trained, tokenizer, corpus):
    job = Pretraining(config_of(), tokenizer, corpus)
    for step, batch in zip(range(1, 4), job.batches(0), strict=False):
        measured = job.measured(step, trained[0][step - 1])
        assert measured["padding"] == pytest.approx(1 - batch.tokens.mask.mean()) and "tokens" not in measured


def test_a_loss_over_pairs_that_there_are_not_is_not_logged(tokenizer, corpus):
    config = config_of(steps=1, objective=ObjectiveConfig(pairs="none"))
    job = Pretraining(config, tokenizer, corpus, heldout=corpus)
    state, metrics = first_step(config, tokenizer, corpus)
    assert not [name for name in job.measured(1, metrics) if name.startswith("nsp")]
    assert metrics["loss"] == metrics["mlm_loss"] and set(job.evaluate(state.params)) == {"mlm_loss", "mlm_accuracy"}


@pytest.mark.parametrize("pairs", ["none", "nsp"])
def test_heads_that_were_not_trained_are_not_saved(pairs, tokenizer, corpus):
    config = config_of(steps=1, objective=ObjectiveConfig(pairs=pairs))
    state, _ = first_step(config, tokenizer, corpus)
    saved = Pretraining(config, tokenizer, corpus).pretrained(state.params).checkpoint
    assert saved.mlm is not None
    assert [saved.pooler is None, saved.nsp is None] == [pairs == "none"] * 2


def by_hand(job, params, examples):
    """Sums and counts over examples one by one, in float64."""
    model, losses = job.model, {"mlm": [], "nsp": []}
    data = PretrainData(
        examples,
        job.tokenizer.special,
        len(WORDS),
        job.tokenizer.starts_word,
        16,
        job.config.objective,
        job.config.seed,
    )
    number = data.num_examples
    logits_of = jax.jit(lambda batch: model.apply({"params": params}, batch.tokens, batch.masked_positions))
    for index in range(number):
        batch = data.batch(0, np.array([index]))
        logits = logits_of(batch)
        for name, rows, labels, weights in [
            ("mlm", logits.mlm[0], batch.masked_ids[0], batch.masked_weights[0]),
            ("nsp", logits.nsp, batch.is_next, batch.weights),
        ]:
            rows = np.asarray(rows, np.float64)
            right = rows.argmax(-1) == labels
            logs = np.log(np.exp(rows).sum(-1)) - np.take_along_axis(rows, labels[:, None], 1)[:, 0]
            losses[name] += [(logs[i], right[i]) for i in np.flatnonzero(weights)]
    means = {name: np.mean(rows, axis=0) for name, rows in losses.items()}
    return {f"{name}_{what}": means[name][i] for name in means for i, what in enumerate(("loss", "accuracy"))}, number


@pytest.mark.parametrize("batch_size", [8, 16, 64])
def test_every_held_out_example_counts_once_whatever_the_batch(trained, tokenizer, corpus, batch_size):
    config = config_of(batch_size=batch_size, dropout=0.5)
    job = Pretraining(config, tokenizer, corpus, heldout=held_out(corpus))
    wanted, number = by_hand(job, trained[1], held_out(corpus))
    assert number % batch_size, "the last batch is not full"
    found = job.evaluate(trained[1])
    assert found == pytest.approx(wanted, rel=1e-5) and found == job.evaluate(trained[1])


def held_out(corpus):
    """The first eleven documents."""
    sentences = corpus.documents[11]
    return Corpus(
        corpus.tokens[: corpus.sentences[sentences]], corpus.sentences[: sentences + 1], corpus.documents[:12]
    )


def test_a_limit_spreads_the_examples_over_the_text(tokenizer, corpus, monkeypatch):
    asked = []
    real = PretrainData.batch
    monkeypatch.setattr(PretrainData, "batch", lambda *args: asked.append(args[1:]) or real(*args))
    Pretraining(config_of(batch_size=4), tokenizer, corpus, heldout=held_out(corpus), eval_examples=6)
    number = PretrainData(held_out(corpus), tokenizer.special, 50, None, 16, ObjectiveConfig(), 0).num_examples
    assert number > 12 and [epoch for epoch, _ in asked] == [0, 0]
    wanted = [0, *(number * k // 6 for k in range(1, 6))]
    assert np.concatenate([indices for _, indices in asked])[:6].tolist() == wanted


def test_without_held_out_text_nothing_is_evaluated(trained, tokenizer, corpus):
    assert Pretraining(config_of(), tokenizer, corpus).evaluate(trained[1]) == {}


def test_measuring_padding_changes_nothing_else():
    terms = Terms({"loss": Ratio(jnp.float32(3), jnp.float32(2))}, {"seen": Ratio(jnp.float32(1), jnp.float32(4))})
    mask = np.array([[True, True, False], [True, False, False]])
    batch = PretrainBatch(ONE._replace(mask=mask), *[np.zeros((2, 1))] * 3, np.zeros(2), np.ones(2))
    found = with_tokens(lambda params, batch, key: terms)({}, batch, None)
    assert found.losses == terms.losses and found.measures["seen"] == terms.measures["seen"]
    assert (float(found.measures["tokens"].sum), float(found.measures["tokens"].count)) == (3, 6)
