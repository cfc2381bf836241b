"""A grid has a run for every cell and for every seed that can change something."""

from pathlib import Path

import pytest

from bert_jax.config import BertConfig, ProbeConfig, ReadoutConfig, StsConfig
from bert_jax.study.grid import Grid, make_runs
from bert_jax.study.run import EncoderId
from bert_jax.study.sources import TaskSplits
from bert_jax.tasks import senteval, sts


@pytest.mark.parametrize(
    ("regime", "settings", "task", "seeds"),
    [
        ("probe", ProbeConfig(), senteval.TASKS["mr"], [0, 1, 2]),
        ("probe", ProbeConfig(), senteval.TASKS["trec"], [0, 1, 2]),
        ("probe", ProbeConfig(), senteval.TASKS["sst2"], [0]),
        ("knockout", ProbeConfig(), senteval.TASKS["snli"], [0]),
        ("sts", StsConfig(), sts.SETS["stsb"], [0]),
    ],
)
def test_seeds_that_change_nothing_are_not_runs(regime, settings, task, seeds):
    splits = TaskSplits(task, None, None, {})
    grid = Grid(
        Path(), BertConfig(), Path, {regime: settings}, [task], lambda task: splits, [ReadoutConfig()], range(3)
    )
    runs = list(make_runs(grid, EncoderId("bert", "abc"), {task.name: splits}))
    assert [run.seed for run in runs] == seeds
