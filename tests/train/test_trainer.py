"""Every program is made for the devices that it runs on, and a name that is no objective is refused."""

import dataclasses

import numpy as np
import pytest
from jax import eval_shape, random

from bert_jax import pretrained as embedding
from bert_jax.config import BertConfig, FinetuneConfig, ReadoutConfig, SiameseConfig
from bert_jax.errors import InputError
from bert_jax.evaluate import features
from bert_jax.model import encoder
from bert_jax.parallel import devices
from bert_jax.parallel.population import Layout, local_devices
from bert_jax.pretrain_config import ObjectiveConfig, PretrainConfig
from bert_jax.train import finetune, pretrain, siamese
from bert_jax.train.sentence_objectives import SENTENCE_OBJECTIVES
from bert_jax.types import Target, Tokens

BERT, READOUT = BertConfig(50, 16, 1, 2, 32, 32), ReadoutConfig(pooling="mean")
HERE, ALONE = Target("gpu", "9.0"), Layout(local_devices())


@pytest.fixture
def seen(monkeypatch):
    """The targets that attention is chosen for while programs are traced. The devices say that they are GPUs."""
    found = set()
    monkeypatch.setattr(devices, "Target", lambda *_: HERE)
    monkeypatch.setattr(encoder, "is_fused", lambda config, train, target: bool(found.add(target)))
    for cached in (finetune.compile_program, siamese.compile_program, features._step, encoder._block):
        cached.cache_clear()
    yield found
    for cached in (finetune.compile_program, siamese.compile_program, features._step, encoder._block):
        cached.cache_clear()


def trace(model):
    """Trace a model over tokens."""
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = eval_shape(lambda key: model.init(key, tokens)["params"], random.key(0))
    eval_shape(lambda params: model.apply({"params": params}, tokens), params)


def test_a_program_knows_the_devices_that_it_is_made_for(seen, monkeypatch):
    tuned = finetune.compile_program(BERT, READOUT, 2, FinetuneConfig(), 10, ALONE)
    trained = [
        siamese.compile_program(BERT, name, READOUT, SiameseConfig(), 3, 10, ALONE)[0] for name in SENTENCE_OBJECTIVES
    ]
    for program in (tuned, *trained):
        trace(program.model)
        assert seen == {HERE}
        seen.clear()
    made = []
    monkeypatch.setattr(features, "SentenceReadouts", lambda *args: made.append(args))
    monkeypatch.setattr(embedding, "SentenceEncoder", lambda *args: made.append(args))
    features._step(BERT, (READOUT,))
    embedding.embed_step(BERT, READOUT)
    assert [args[-1] for args in made] == [HERE, HERE]


def test_a_pretraining_and_its_evaluation_know_their_devices(seen, monkeypatch):
    made, real = [], pretrain.BertForPretraining
    monkeypatch.setattr(pretrain, "BertForPretraining", lambda *args: made.append(args) or real(*args))
    config = PretrainConfig(objective=ObjectiveConfig(pairs="none"))
    pretrain._eval_step(BERT, config)
    assert [args[-1] for args in made] == [HERE] and made[0][0] == dataclasses.replace(
        BERT, dropout=0.0, attention_dropout=0.0
    )


def test_an_unknown_sentence_objective_is_named_with_what_there_is():
    with pytest.raises(InputError, match=r"'simsce'\. Did you mean 'simcse'"):
        siamese.compile_program(BERT, "simsce", READOUT, SiameseConfig(), 0, 10, ALONE)
