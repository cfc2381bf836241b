"""MLM + NSP pretraining from random initialisation."""

from collections.abc import Iterator

import jax
import numpy as np

from bert_jax.config import BertConfig, PretrainConfig, ReadoutConfig, preset
from bert_jax.data.corpus import Corpus
from bert_jax.data.pretrain import PretrainData
from bert_jax.data.tokenizer import Tokenizer
from bert_jax.model import readout as readouts
from bert_jax.model.bert import BertForPretraining
from bert_jax.model.huggingface import Checkpoint
from bert_jax.pretrained import Pretrained
from bert_jax.train.loop import Metrics, fit
from bert_jax.train.optim import make_optimizer
from bert_jax.train.parallel import check_batch_size, map_train_step
from bert_jax.train.step import TrainState, init_state, make_train_step, pretrain_objective
from bert_jax.types import Params

_STAGE = 2
"""Folded into the seed, so that a fine-tuning with the same seed does not draw what this run began with as fresh."""


def bert_config(config: PretrainConfig, vocab_size: int) -> BertConfig:
    """The architecture that a pretraining config names, for a tokenizer's vocabulary."""
    return preset(
        config.preset,
        vocab_size=vocab_size,
        max_length=max(config.max_length, 128),
        dropout=config.dropout,
        attention_dropout=config.dropout,
    )


def pretrain(config: PretrainConfig, tokenizer: Tokenizer, corpus: Corpus) -> Iterator[tuple[int, TrainState, Metrics]]:
    """Pretrain; yields after every step, see `loop.fit`.

    Raises:
        Diverged: the loss is not finite.
        InputError: a readout that the model cannot have, or a batch that the devices cannot share.
    """
    check_batch_size(config.batch_size, "batch_size")
    bert = bert_config(config, tokenizer.vocab_size)
    readouts.check(config.nsp_readout, bert)
    model = BertForPretraining(bert, config.nsp_readout)
    data = PretrainData(corpus, tokenizer.special, bert.vocab_size, config.max_length, config.mask_rate, config.seed)
    optimizer = make_optimizer(config.optim, config.steps)
    init_key, dropout_key = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), _STAGE))
    example = data.batch(0, np.zeros(1, int))
    params = jax.jit(lambda key: model.init(key, example.tokens, example.masked_positions)["params"])(init_key)
    step = map_train_step(make_train_step(pretrain_objective(model), optimizer))
    yield from fit(step, init_state(params, optimizer), data.batches(config.batch_size, 0, config.steps), dropout_key)


def to_pretrained(config: PretrainConfig, tokenizer: Tokenizer, params: Params) -> Pretrained:
    """The pretrained model as something to fine-tune and to save.

    A checkpoint's pooler and NSP head read last/cls; where NSP read the sentence in another way, they are left out.
    """
    params = jax.device_get(params)
    bert = bert_config(config, tokenizer.vocab_size)
    checkpoint = Checkpoint(bert, params["encoder"], mlm=params["mlm"])
    if config.nsp_readout == ReadoutConfig("last", "cls", "tanh"):
        checkpoint = checkpoint._replace(pooler=params["reader"]["projection"]["dense"], nsp=params["nsp"])
    return Pretrained(checkpoint, tokenizer)
