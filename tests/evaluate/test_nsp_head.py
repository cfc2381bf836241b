"""The head for pairs beside the model that it was trained in."""

import jax
import numpy as np
from scipy.special import softmax

from bert_jax.checkpoints.huggingface import Checkpoint
from bert_jax.config import BertConfig, ReadoutConfig
from bert_jax.evaluate.nsp_head import count_probabilities, follow_probability, has_head, head_readout
from bert_jax.model.bert import BertForPretraining
from bert_jax.model.readout import Readout


def test_the_probability_is_that_of_the_pretraining_model(tiny: BertConfig, make_tokens):
    tokens = make_tokens([9, 5, 7])
    model = BertForPretraining(tiny, head_readout("cls"))
    positions = np.zeros((3, 1), np.int32)
    params = jax.jit(model.init)(jax.random.key(0), tokens, positions)["params"]
    params = jax.tree.map(lambda w: 10 * w if w.ndim > 1 else w, params)
    logits = np.asarray(model.apply({"params": params}, tokens, positions).nsp)
    states = model.apply({"params": params}, tokens, method=lambda model, tokens: model.encoder(tokens))
    reader = Readout(head_readout("cls"), tiny)
    vectors = np.asarray(reader.apply({"params": params["reader"]}, states, tokens))
    checkpoint = Checkpoint(tiny, params["encoder"], params["reader"]["projection"]["dense"], nsp=params["nsp"])
    found = follow_probability(checkpoint, vectors)
    np.testing.assert_allclose(found, softmax(logits, -1)[:, 1], atol=1e-5)
    assert np.ptp(found) > 0.01
    assert has_head(checkpoint)
    assert not has_head(checkpoint._replace(nsp=None)) and not has_head(checkpoint._replace(pooler=None))
    assert head_readout("mean") == ReadoutConfig("last", "mean", "tanh")


def test_probabilities_are_counted_by_kind():
    counts = count_probabilities(np.array([0.0, 0.05, 0.95, 1.0, 0.55]), np.array([0, 1, 1, 1, 0]))
    assert counts == {"random": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0], "follows": [1, 0, 0, 0, 0, 0, 0, 0, 0, 2]}
