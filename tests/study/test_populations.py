"""Runs that one program can train are put together; with a largest population of one nothing changes its place."""

import dataclasses
import itertools

import pytest

from bert_jax.config import FinetuneConfig, OptimConfig, ReadoutConfig
from bert_jax.study.populations import name, populations
from bert_jax.study.run import EncoderId, Run
from bert_jax.tasks.glue import TASKS


def grid(seeds, rates=(1e-3,), poolings=("cls", "mean")):
    """Runs in the order of a grid: the readouts of a seed stand together."""
    base = Run("finetune", TASKS["cola"], ReadoutConfig(), 0, FinetuneConfig(), EncoderId("bert", "abc"), {})
    return [
        dataclasses.replace(
            base,
            readout=ReadoutConfig(pooling=pooling),
            seed=seed,
            learning_rate=rate,
            settings=FinetuneConfig(optim=OptimConfig(learning_rate=rate)),
        )
        for seed, rate, pooling in itertools.product(range(seeds), rates, poolings)
    ]


def test_alone_runs_keep_their_order():
    runs = grid(3)
    assert [population.runs for population in populations(runs, lambda run: 1)] == [[run] for run in runs]


@pytest.mark.parametrize("limit", [2, 4, 5, 6, 100])
def test_populations_are_of_one_readout_and_of_even_size(limit):
    runs = grid(3, (1e-3, 2e-3))
    found = list(populations(runs, lambda run: limit))
    assert all(len({run.readout for run in population.runs}) == 1 for population in found)
    sizes = [len(population.runs) for population in found if population.runs[0].readout.pooling == "cls"]
    assert sorted((run for population in found for run in population.runs), key=runs.index) == runs
    assert max(sizes) - min(sizes) <= 1 and len(sizes) == -(-6 // limit)


def test_the_last_population_has_the_size_of_the_others_with_places_left():
    found = list(populations(grid(11, poolings=("cls",)), lambda run: 8))
    assert [(len(population.runs), population.size) for population in found] == [(6, 6), (5, 6)]


def test_the_limit_is_asked_once_for_each_readout():
    asked = []
    list(populations(grid(4), lambda run: asked.append(run.readout) or 2))
    assert [readout.pooling for readout in asked] == ["cls", "mean"]


def test_a_population_is_named_by_what_its_runs_differ_in():
    runs = grid(2, (1e-3, 2e-3), ("mean",))
    assert name(runs[:1]) == runs[0].name == "last/mean/none seed 0"
    assert name(runs[::2]) == "last/mean/none seed 0, 1"
    assert name(runs) == "last/mean/none seed 0, 1 rate 0.001, 0.002"
