"""Pretraining learns, repeats itself bit for bit, and what it saves is what it trained."""

import jax
import numpy as np
import pytest

import bert_jax
from bert_jax import config as settings
from bert_jax.config import BertConfig, FinetuneConfig, OptimConfig, PretrainConfig, ReadoutConfig
from bert_jax.data.corpus import tokenize_documents
from bert_jax.data.tasks import Split, Task
from bert_jax.data.tokenizer import WordPiece
from bert_jax.errors import InputError
from bert_jax.model.bert import BertForPretraining
from bert_jax.train import finetune as finetuning
from bert_jax.train.finetune import prepare_task
from bert_jax.train.pretrain import bert_config, pretrain, to_pretrained
from bert_jax.types import Tokens

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the cat dog sees hears a red blue ball house and then it runs sleeps".split()
STEPS = 40
ONE = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))


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
    metrics = []
    for step, state, values in pretrain(config, tokenizer, corpus):
        metrics.append(values)
    assert step == int(state.step) == config.steps
    return metrics, jax.device_get(state.params)


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
    assert set(first) == {"mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy", "loss", "grad_norm"}
    assert first["mlm_loss"] == pytest.approx(np.log(len(WORDS)), abs=0.6), "a fresh model knows nothing"
    assert first["nsp_loss"] == pytest.approx(np.log(2), abs=0.1)
    assert last["mlm_loss"] < first["mlm_loss"] - 0.5 and last["mlm_accuracy"] > first["mlm_accuracy"]


def test_one_seed_gives_the_same_bits_and_another_one_others(trained, tokenizer, corpus):
    metrics, params = trained
    again, same = run(config_of(), tokenizer, corpus)
    assert again == metrics
    jax.tree.map(np.testing.assert_array_equal, params, same)
    other = next(pretrain(config_of(seed=1), tokenizer, corpus))[2]
    assert other != metrics[0]


def test_nsp_by_mean_pooling_has_weights_of_its_own(trained, trained_by_mean):
    assert trained[0][0]["mlm_loss"] == trained_by_mean[0][0]["mlm_loss"], "NSP's readout is no matter to the first MLM"
    assert trained[0][0]["nsp_loss"] != trained_by_mean[0][0]["nsp_loss"]


def test_what_is_saved_is_loaded_bit_for_bit(trained, tokenizer, tmp_path):
    _, params = trained
    to_pretrained(config_of(), tokenizer, params).save(tmp_path / "model")
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
def test_a_readout_that_is_no_pooler_of_berts_is_not_saved_as_one(readout, tokenizer, tmp_path):
    config = config_of(nsp_readout=readout)
    model = BertForPretraining(bert_config(config, len(WORDS)), readout)
    params = jax.jit(lambda key: model.init(key, ONE, np.ones((1, 1), np.int32))["params"])(jax.random.key(0))
    to_pretrained(config, tokenizer, params).save(tmp_path / "model")
    loaded = bert_jax.load(tmp_path / "model")
    assert loaded.checkpoint.pooler is None and loaded.checkpoint.nsp is None
    jax.tree.map(np.testing.assert_array_equal, loaded.checkpoint.encoder, params["encoder"])


def test_a_fine_tuning_with_the_same_seed_begins_with_other_fresh_weights(trained, tokenizer, corpus):
    """Were they those that pretraining began with, they would fit the encoder better than fresh ones can."""
    _, state, _ = next(pretrain(config_of(), tokenizer, corpus))  # at rate 0: the weights are the initial ones
    began = state.params["reader"]["projection"]["dense"]["kernel"]
    task = Task("toy", "Toy", ("sentence",), ("no", "yes"), ("accuracy",))
    config, split = FinetuneConfig(1, 8, 8, 16, 1), Split(["the cat"], None, np.zeros(1, np.int32))
    data = prepare_task(task, tokenizer, split, {"validation": split}, config)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(finetuning, "fit", lambda step, state, batches, key: seen.append(state) or iter([(1, state, {})]))
        patch.setattr(finetuning, "predict_rows", lambda *args: np.zeros((1, 2)))
        mlp = ReadoutConfig(projection="mlp")
        finetuning.finetune(to_pretrained(config_of(), tokenizer, trained[1]), data, mlp, config, config_of().seed)
    fresh = seen[0].params["reader"]["projection"]["dense"]["kernel"]
    assert began.shape == fresh.shape and np.isclose(began, fresh, rtol=1e-3, atol=0).mean() < 0.1


def test_a_readout_that_the_model_cannot_have_is_refused_before_anything_runs(tokenizer, corpus):
    with pytest.raises(InputError, match="Did you mean 'mean'"):
        next(pretrain(config_of(nsp_readout=ReadoutConfig(pooling="maen")), tokenizer, corpus))
    with pytest.raises(InputError, match="there is no layer 5"):
        next(pretrain(config_of(nsp_readout=ReadoutConfig(layers="5")), tokenizer, corpus))
