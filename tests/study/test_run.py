"""A run has one id, which says what decides its result and nothing else."""

import dataclasses

import pytest

from bert_jax.config import FinetuneConfig, OptimConfig, ReadoutConfig
from bert_jax.study.run import Blind, EncoderId, Run, config_id
from bert_jax.tasks.glue import TASKS

RUN = Run(
    "finetune",
    TASKS["cola"],
    ReadoutConfig(),
    0,
    FinetuneConfig(),
    EncoderId("bert", "abc"),
    {"train": "1", "validation": "2"},
    learning_rate=5e-5,
    labels={"suite": "glue", "train_rows": None},
)


@pytest.mark.parametrize(
    "changes",
    [
        {"regime": "probe"},
        {"task": TASKS["mrpc"]},
        {"readout": ReadoutConfig("last", "mean")},
        {"seed": 1},
        {"settings": FinetuneConfig(epochs=2)},
        {"settings": FinetuneConfig(optim=OptimConfig(learning_rate=1e-3))},
        {"encoder": EncoderId("bert", "abd")},
        {"encoder": EncoderId("bert", "abc", "another tokenizer")},
        {"data": {"train": "1", "validation": "3"}},
        {"data": {"train": "0", "validation": "2"}},
        {"blind": Blind(1, 2)},
    ],
)
def test_what_decides_a_result_is_in_the_id(changes):
    assert dataclasses.replace(RUN, **changes).id != RUN.id


@pytest.mark.parametrize(
    "changes",
    [
        {"encoder": EncoderId("another name", "abc", "", ("nli on snli",))},
        {"labels": {"suite": "other"}},
        {"labels": {}},
    ],
)
def test_labels_are_not_in_the_id(changes):
    assert dataclasses.replace(RUN, **changes).id == RUN.id


def test_the_id_follows_from_the_config_of_a_row():
    assert config_id(RUN.config) == RUN.id and RUN.config["encoder"] == "bert" and RUN.config["suite"] == "glue"
