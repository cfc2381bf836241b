"""float32 means float32 on accelerators wherever nothing is trained; in training only if it is asked for.

Read from the programs as they are lowered for TPU, where JAX's own default is one bfloat16 pass.
"""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bert_jax.config import ComputeConfig, FinetuneConfig, ReadoutConfig, SiameseConfig
from bert_jax.evaluate import attention_maps, features, linear
from bert_jax.files import digest, plain
from bert_jax.model.bert import BertForPretraining
from bert_jax.parallel.devices import Mapped, map_eval_step, map_train_step, split_batch
from bert_jax.parallel.population import Layout, local_devices, stack
from bert_jax.pretrain_config import PretrainConfig
from bert_jax.pretrained import _embed_step, init_all
from bert_jax.train import finetune, siamese
from bert_jax.train.optim import make_optimizer
from bert_jax.train.pretrain import _eval_step
from bert_jax.train.step import init_state, make_train_step, pretrain_objective
from bert_jax.types import PairBatch, PretrainBatch, TaskBatch

CLS, ALONE = ReadoutConfig(), Layout(local_devices())
ROWS = 4


def precisions(mapped, *args):
    """The precision of every product of floats in a program, lowered for TPU."""
    program, parts = (mapped.program, mapped.split(*args)) if isinstance(mapped, Mapped) else (mapped, args)
    text = jax.jit(program).trace(*parts).lower(lowering_platforms=("tpu",)).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line and "xf32>" in line]
    assert products
    return {(re.findall(r"precision = \[(\w+), (\w+)\]", line) or [("none", "none")])[0] for line in products}


HIGHEST, DEFAULT = {("HIGHEST", "HIGHEST")}, {("DEFAULT", "DEFAULT")}


@pytest.fixture(scope="module")
def tokens(make_tokens):
    return make_tokens([5, 9, 4, 8], width=12)


@pytest.fixture(scope="module")
def encoder(tiny, tokens):
    model = BertForPretraining(tiny, CLS)
    return jax.jit(model.init)(jax.random.key(0), tokens, np.ones((ROWS, 2), np.int32))["params"]["encoder"]


def test_embedding_features_and_attention_are_float32(tiny, encoder, tokens):
    step = _embed_step(tiny, ReadoutConfig(pooling="mean"))
    assert precisions(step, {"encoder": encoder, "reader": {}}, tokens) == HIGHEST
    step = features._step(tiny, (CLS, ReadoutConfig("1", "mean")))
    assert precisions(step, ({"encoder": encoder}, None), tokens) == HIGHEST
    assert precisions(attention_maps._step(tiny), encoder, tokens) == HIGHEST


@pytest.mark.parametrize("precision", ["default", "highest"])
def test_fine_tuning_predicts_in_float32_and_trains_as_it_is_told(tiny, tokens, precision):
    program = finetune.compile_program(tiny, CLS, 2, FinetuneConfig(precision=precision), 10, ALONE)
    params = stack([init_all(program.model, jax.random.key(0))])
    batch = stack([TaskBatch(tokens, np.zeros(ROWS, np.int32), np.ones(ROWS, np.float32))])
    assert precisions(program.predict_step, params, tokens) == HIGHEST
    found = precisions(program.train_step, program.init(params), batch, jnp.stack([jax.random.key(0)]), jnp.ones(1))
    assert found == (HIGHEST if precision == "highest" else DEFAULT)


@pytest.mark.parametrize("precision", ["default", "highest"])
def test_sentence_vectors_are_compared_in_float32_and_trained_as_it_is_told(tiny, encoder, tokens, precision):
    program, _ = siamese.compile_program(tiny, "sts", CLS, SiameseConfig(precision=precision), 0, 10, ALONE)
    params = stack([{"encoder": encoder}])
    batch = stack([PairBatch(tokens, tokens, np.zeros(ROWS, np.float32), np.ones(ROWS, np.float32))])
    assert precisions(program.predict_step, params, tokens) == HIGHEST
    found = precisions(program.train_step, program.init(params), batch, jnp.stack([jax.random.key(0)]), jnp.ones(1))
    assert found == (HIGHEST if precision == "highest" else DEFAULT)


@pytest.mark.parametrize("compute", [ComputeConfig(), ComputeConfig(precision="highest"), ComputeConfig(remat=True)])
def test_pretraining_is_evaluated_in_float32_and_trains_as_it_is_told(tiny, tokens, compute):
    bert = dataclasses.replace(tiny, compute=compute)
    model, slots = BertForPretraining(bert, CLS), np.ones((ROWS, 2), np.int32)
    weights = np.ones((ROWS, 2), np.float32)
    batch = PretrainBatch(tokens, slots, slots, weights, np.ones(ROWS, np.int32), weights[:, 0])
    params = jax.jit(model.init)(jax.random.key(0), tokens, slots)["params"]
    optimizer = make_optimizer(PretrainConfig().optim, 10)
    evaluation = map_eval_step(_eval_step(bert, PretrainConfig(nsp_readout=CLS)), compute.evaluation_precision)
    assert precisions(evaluation, params, batch) == HIGHEST
    step = map_train_step(make_train_step(pretrain_objective(model), optimizer), compute.precision)
    found = precisions(step, init_state(params, optimizer), batch, jax.random.key(0))
    assert found == (HIGHEST if compute.precision == "highest" else DEFAULT)


def test_the_heads_of_probes_are_fitted_in_float32():
    x, targets, rows, bound = jnp.ones((8, 3)), jnp.ones((8, 1)), jnp.ones((8, 2)), jnp.ones(3)
    assert precisions(linear._solve, x, targets, rows, bound, jnp.ones(3), jnp.zeros((3, 2, 1))) == HIGHEST


def test_bfloat16_is_left_to_the_platform():
    assert ComputeConfig("bfloat16").evaluation_precision == "default"


@pytest.mark.parametrize("config", [FinetuneConfig, SiameseConfig, ComputeConfig])
def test_a_precision_that_is_not_changed_changes_no_run(config):
    assert "precision" not in plain(config()) and plain(config(precision="highest"))["precision"] == "highest"
    assert digest({"settings": config()}) != digest({"settings": config(precision="highest")})


def test_nothing_changes_on_a_cpu(tiny, encoder, tokens):
    model = features.SentenceReadouts(tiny, (CLS, ReadoutConfig("1", "mean")))
    plainly = jax.pmap(lambda p, t: model.apply({"params": p}, t), axis_name="data", in_axes=(None, 0))
    step = features._step(tiny, (CLS, ReadoutConfig("1", "mean")))
    params = {"encoder": encoder}
    ours, theirs = np.asarray(step((params, None), tokens)), np.asarray(plainly(params, split_batch(tokens)))
    np.testing.assert_array_equal(ours, theirs.reshape(ours.shape))
