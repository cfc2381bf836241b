"""Predicted chances are those of repetitions, and what a plan asks for suffices."""

import math

import numpy as np
import pandas as pd
import pytest

from benchmarks.coverage import SPREADS, simulate
from bert_jax.analysis.crossed import Components, measure
from bert_jax.analysis.power import describe, plan, power, resize, tabulate

BOTH = Components(0.0, 5, 0.0009, 0.0006, 0.0002, 400)


def repeat(matter, seeds, size, effect, times=400):
    rng = np.random.default_rng(seeds)
    for _ in range(times):
        a, b, labels = simulate(rng, "accuracy", SPREADS[matter], seeds, size, effect)
        yield measure("accuracy", np.stack([a, b]), labels).difference(0, 1)


def average(found):
    """The components of many repetitions, averaged: as good as the true ones."""
    return Components(
        *(np.mean([getattr(one, name) for one in found]) for name in Components._fields[:-1]), 1
    )._replace(readers=found[0].readers, examples=found[0].examples)


@pytest.mark.parametrize(
    ("matter", "seeds", "size", "effect"),
    [("seeds", 5, 200, 0.5), ("both", 10, 150, 0.25), ("examples", 4, 300, 0.25)],
)
def test_predicted_power_is_the_share_of_significant_repetitions(matter, seeds, size, effect):
    # Predicted from a run of another size, of the same population.
    small = average(list(repeat(matter, 3, 100, effect)))
    found = list(repeat(matter, seeds, size, effect))
    predicted = power(resize(small, seeds, size), np.mean([one.mean for one in found]))
    observed = np.mean([one.test().p_value < 0.05 for one in found])
    assert 0.2 < observed < 0.95 and abs(predicted - observed) < 0.08, (predicted, observed)


def test_without_an_effect_power_is_the_level():
    assert power(BOTH, 0) == pytest.approx(0.05)


def test_what_is_planned_suffices_and_less_does_not():
    found = plan(BOTH, 0.05)
    assert found.power == pytest.approx(power(resize(BOTH, 5, 400), 0.05))
    for number, enough in ((found.readers, True), (found.readers - 1, False)):
        assert (power(resize(BOTH, number, 400), 0.05) >= 0.8) == enough
    assert power(resize(BOTH, 5, 400), found.smallest) >= 0.8 > power(resize(BOTH, 5, 400), found.smallest - 0.001)


def test_more_seeds_do_not_help_where_examples_are_too_few_and_both_together_do():
    found = plan(BOTH, 0.02)
    assert found.readers is None and found.examples is None
    readers, size = found.both
    assert size in (800, 1600, 3200) and power(resize(BOTH, readers, size), 0.02) >= 0.8


def test_one_seed_can_be_given_more_examples_only():
    found = plan(Components(0.0, 1, 0.0, 0.0004, 0.0004, 400), 0.03)
    assert found.readers is None and found.both is None
    assert found.examples == pytest.approx(400 * 0.0004 * (2.8016 / 0.03) ** 2, abs=2)


def test_a_run_that_does_not_vary_finds_everything():
    assert plan(Components(0.0, 3, 0.0, 0.0, 0.0, 50), 0.01).power == 1


def test_plans_are_told_in_a_table_and_a_line():
    line = {"label": "RTE", "regime": "finetune", "readout": "mean", "pairs": 5, "over": "seeds", "components": BOTH}
    frame = pd.DataFrame([line, line | {"label": "CoLA", "pairs": 0, "components": None, "over": ""}])
    table = tabulate(frame, 5.0)
    assert table["Task"].tolist() == ["RTE"] and f"{plan(BOTH, 0.05).readers} seeds" in table["For 80%"][0]
    assert "a true difference of 5 points" in describe(frame, 5.0)
    assert describe(frame.iloc[1:], 5.0) == ""
    assert math.isfinite(float(table["Found with 80%"][0]))
