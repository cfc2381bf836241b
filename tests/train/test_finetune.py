"""Fine-tuning learns, repeats itself bit for bit, and treats two readouts alike in all but the readout."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig, FinetuneConfig, OptimConfig, ReadoutConfig
from bert_jax.errors import InputError
from bert_jax.evaluate import metrics as task_metrics
from bert_jax.model.bert import BertForPretraining, SequenceClassifier
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.task import Split, Task
from bert_jax.tokenizers.tokenizer import WordPiece
from bert_jax.train import finetune as module
from bert_jax.train import trainer
from bert_jax.train.finetune import finetune, num_steps, prepare_task
from bert_jax.train.loop import Diverged
from bert_jax.train.trainer import initial_params, with_learning_rate
from bert_jax.types import Tokens

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] good bad the a film was is quite very book plot and".split()
CLASSES = Task("toy", "Toy", ("sentence",), ("bad", "good"), ("accuracy",))
SCORES = Task("graded", "Graded", ("sentence1", "sentence2"), (), ("pearson",))
CONFIG = FinetuneConfig(
    epochs=8, batch_size=8, eval_batch_size=16, max_length=16, num_buckets=1, optim=OptimConfig(learning_rate=3e-3)
)
CLS, MEAN = ReadoutConfig(pooling="cls"), ReadoutConfig(pooling="mean")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    config = BertConfig(len(WORDS), 16, 1, 2, 32, 32, initializer_range=0.2)
    model = BertForPretraining(config, ReadoutConfig(projection="tanh"))
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = jax.jit(lambda key: model.init(key, tokens, np.ones((1, 1), np.int32))["params"])(jax.random.key(0))
    params = jax.device_get(params)
    pooler = params["reader"]["projection"]["dense"]
    return Pretrained(Checkpoint(config, params["encoder"], pooler), WordPiece.from_vocabulary(path))


def sentences(number, seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, number).astype(np.int32)
    return [" ".join([*rng.choice(WORDS[7:], 4), ("bad", "good")[label]]) for label in labels], labels


def separable(tokenizer):
    """A sentence is good if it says good."""
    train, dev = (Split(texts, None, labels) for texts, labels in (sentences(64, 0), sentences(21, 1)))
    return prepare_task(CLASSES, tokenizer, train, {"validation": dev}, CONFIG)


def graded(tokenizer, scores):
    texts, _ = sentences(len(scores), 2)
    split = Split(texts, texts[::-1], np.array(scores, np.float32))
    return prepare_task(SCORES, tokenizer, split, {"validation": split}, CONFIG)


@pytest.fixture(scope="module")
def runs(pretrained):
    """(losses, logits) of readouts and seeds; one seed twice."""
    data, found = separable(pretrained.tokenizer), {}
    for name, readout, seed in [("cls", CLS, 0), ("again", CLS, 0), ("other", CLS, 1), ("mean", MEAN, 0)]:
        losses = []
        logits = finetune(
            pretrained, data, readout, CONFIG, seed, lambda _, values, losses=losses: losses.append(values["loss"])
        )
        found[name] = losses, logits["validation"]
    return found


def test_one_seed_gives_the_same_bits_and_another_one_others(runs):
    assert runs["cls"][0] == runs["again"][0]
    np.testing.assert_array_equal(runs["cls"][1], runs["again"][1])
    assert np.abs(runs["cls"][1] - runs["other"][1]).max() > 1e-3


@pytest.mark.parametrize("name", ["cls", "other", "mean"])
def test_a_task_that_one_word_decides_is_learned(runs, name):
    losses, logits = runs[name]
    assert logits.shape == (21, 2) and logits.dtype == np.float32 and len(losses) == 64
    predictions = task_metrics.predict(logits, CLASSES)
    assert (predictions == sentences(21, 1)[1]).mean() == 1.0
    assert np.mean(losses[-8:]) < 0.3 * np.mean(losses[:8])


def test_readouts_differ_in_what_they_read(runs):
    assert np.abs(runs["cls"][1] - runs["mean"][1]).max() > 1e-3


def test_two_readouts_see_the_same_batches_from_the_same_weights(pretrained, monkeypatch):
    data = separable(pretrained.tokenizer)
    seen = {}

    def watch(step, members, batches, drawn, arrived):
        params, (keys, _) = jax.device_get(members.state.params), drawn
        seen[readout, seed] = jax.tree.map(lambda x: x[0], params), list(batches), jax.random.key_data(keys)
        return iter([(1, members, None)])

    monkeypatch.setattr(trainer, "dispatch", watch)
    monkeypatch.setattr(module, "predict_rows", lambda *args: np.zeros((21, 1, 2)))
    for readout in (CLS, MEAN):
        for seed in (0, 1):
            finetune(pretrained, data, readout, CONFIG, seed)
    equal = np.testing.assert_array_equal
    for seed in (0, 1):
        jax.tree.map(equal, seen[CLS, seed], seen[MEAN, seed])
    jax.tree.map(equal, seen[CLS, 0][0]["encoder"], seen[CLS, 1][0]["encoder"])
    jax.tree.map(equal, seen[CLS, 0][0]["encoder"], pretrained.checkpoint.encoder)
    classifier = [seen[CLS, seed][0]["classifier"]["dense"]["kernel"] for seed in (0, 1)]
    assert np.abs(classifier[0] - classifier[1]).max() > 0, "the head is drawn anew for each seed"
    orders = [[batch.labels.tolist() for batch in seen[CLS, seed][1]] for seed in (0, 1)]
    assert orders[0] != orders[1] and orders[0][:8] != orders[0][8:16], "a seed and an epoch have their own order"


def test_the_trained_pooler_is_used_by_tanh_and_not_by_mlp(pretrained):
    kernels = {}
    for projection in ("tanh", "mlp"):
        model = SequenceClassifier(pretrained.config, ReadoutConfig(projection=projection), 2)
        params = initial_params(pretrained, model, jax.random.key(1))
        kernels[projection] = params["reader"]["projection"]["dense"]["kernel"]
    np.testing.assert_array_equal(kernels["tanh"], pretrained.checkpoint.pooler["kernel"])
    assert np.abs(kernels["mlp"] - kernels["tanh"]).max() > 0.01
    without = Pretrained(pretrained.checkpoint._replace(pooler=None), pretrained.tokenizer)
    model = SequenceClassifier(pretrained.config, ReadoutConfig(projection="tanh"), 2)
    with pytest.raises(InputError, match=r"no trained pooler\.dense; use mlp"):
        initial_params(without, model, jax.random.key(0))


def test_scores_are_not_cut_to_whole_numbers(pretrained):
    """Every score is 0.5: an int32 label would be 0, the first loss 0, and 0 what is learned."""
    data = graded(pretrained.tokenizer, [0.5] * 16)
    assert data.train.labels.dtype == np.float32
    losses = []
    logits = finetune(pretrained, data, MEAN, CONFIG, 0, lambda _, values: losses.append(values["loss"]))
    fresh = np.abs(logits["validation"] - 0.5).max()
    assert losses[-1] < 0.05 and fresh < 0.3
    assert losses[0] > 2 * losses[-1]


def test_a_rate_that_is_too_high_stops_the_run_at_its_step(pretrained):
    wild = with_learning_rate(CONFIG, 1e30)
    assert wild.optim.learning_rate == 1e30 and CONFIG.optim.learning_rate == 3e-3
    seen = []
    with pytest.raises(Diverged) as error:
        finetune(pretrained, separable(pretrained.tokenizer), MEAN, wild, 0, lambda step, _: seen.append(step))
    assert error.value.step == len(seen) + 1 and 2 <= error.value.step <= 4


def test_a_run_whose_last_update_breaks_it_has_diverged(pretrained):
    """The only loss is finite: it was measured before the update."""
    config = FinetuneConfig(1, 8, 16, 16, 1, OptimConfig(learning_rate=1e38, warmup=0))
    data = graded(pretrained.tokenizer, [0.0, 1, 2, 3])
    assert num_steps(data, config) == 1
    with pytest.raises(Diverged, match="predictions are not finite after the update at step 1") as error:
        finetune(pretrained, data, MEAN, config, 0)
    assert error.value.step == 1


def test_steps_are_counted_with_the_last_short_batch(pretrained):
    data = graded(pretrained.tokenizer, [0.0] * 17)
    assert num_steps(data, CONFIG) == 8 * 3


def test_an_empty_sentence_is_trained_on_and_scored(pretrained):
    train, dev = (Split(["", *texts[1:]], None, labels) for texts, labels in (sentences(64, 0), sentences(21, 1)))
    data = prepare_task(CLASSES, pretrained.tokenizer, train, {"validation": dev}, CONFIG)
    for readout in (CLS, MEAN):
        logits = finetune(pretrained, data, readout, CONFIG, 0)["validation"]
        assert logits.shape == (21, 2) and np.isfinite(logits).all()


def test_from_scratch_nothing_of_the_checkpoint_is_taken(pretrained):
    model = SequenceClassifier(pretrained.config, ReadoutConfig(projection="tanh"), 2)
    one, same, other = (initial_params(pretrained, model, jax.random.key(s), from_scratch=True) for s in (1, 1, 2))
    jax.tree.map(np.testing.assert_array_equal, one, same)
    taken = initial_params(pretrained, model, jax.random.key(1))
    assert jax.tree.structure(one) == jax.tree.structure(taken)
    for path, leaf in jax.tree.leaves_with_path(one):
        if leaf.ndim > 1:
            for part in (taken, other):
                rest = part
                for key in path:
                    rest = rest[key.key]
                same_draw = part is taken and path[0].key == "classifier"
                assert same_draw or np.abs(leaf - rest).max() > 1e-3, path


def test_dropout_can_be_another_than_the_encoders(pretrained):
    losses = {}
    data = separable(pretrained.tokenizer)
    for rate in (None, 0.1, 0.0):
        config = dataclasses.replace(CONFIG, epochs=1, dropout=rate)
        losses[rate] = []
        finetune(pretrained, data, CLS, config, 0, lambda _, values, rate=rate: losses[rate].append(values["loss"]))
    assert losses[None] == losses[0.1] != losses[0.0], "the encoder's own is 0.1"


def test_seeds_and_rates_share_their_compiled_programs(pretrained):
    """One compilation for each input length, and none for another seed or rate."""
    texts, labels = sentences(40, 3)
    long = [f"{text} {text} {text}" for text in texts]
    split = Split(texts + long, None, np.concatenate([labels, labels]))
    config = dataclasses.replace(CONFIG, epochs=1, max_length=24, num_buckets=2)
    data = prepare_task(CLASSES, pretrained.tokenizer, split, {"validation": split}, config)
    assert data.buckets == (8, 24)
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        listener := lambda event, *_, **__: compiled.append(event) if event.endswith("backend_compile_duration") else 0
    )
    module.compile_program.cache_clear()
    try:
        first = finetune(pretrained, data, MEAN, config, 0)
        assert compiled
        compiled.clear()
        rest = [finetune(pretrained, data, MEAN, with_learning_rate(config, rate), 1) for rate in (1e-3, 1e-2)]
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert not compiled
    found = [outputs["validation"] for outputs in (first, *rest)]
    assert min(np.abs(a - b).max() for a, b in itertools.combinations(found, 2)) > 1e-3
    assert module.compile_program.cache_info().currsize == 1
