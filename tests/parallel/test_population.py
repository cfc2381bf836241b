"""A run has the same parameters and predictions alone and in a population, on one device and on eight.

Run as a script, this file trains populations on the devices that it finds; the tests run it twice and compare.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from bert_jax.checkpoints.checkpoint import Checkpoint
from bert_jax.config import BertConfig, FinetuneConfig, OptimConfig, ReadoutConfig
from bert_jax.data.batching import Examples
from bert_jax.model.bert import SequenceClassifier
from bert_jax.parallel.population import Layout, lay_out, local_devices, side_by_side
from bert_jax.pretrained import Pretrained
from bert_jax.tasks.task import Task
from bert_jax.tokenizers.template import Encoding, SpecialIds
from bert_jax.train.finetune import TaskData, finetune_together
from bert_jax.train.loop import Diverged
from bert_jax.train.trainer import Trial
from bert_jax.types import Tokens

CONFIG, READOUT = BertConfig(50, 16, 1, 2, 32, 32, initializer_range=0.2), ReadoutConfig(pooling="mean")
WILD = 1e30
TRIALS = [Trial(seed, rate) for seed, rate in itertools.product(range(4), (1e-3, 3e-3))]
TRIALS[5] = Trial(2, WILD)


def task_data():
    """21 rows of two lengths in batches of 8, and 13 rows to predict."""
    special, sets = SpecialIds(0, 1, 2, 3, 4), []
    for number in (21, 13):
        rng = np.random.default_rng(number)
        rows = [[2, *rng.integers(5, 50, rng.integers(1, 14)).tolist(), 3] for _ in range(number)]
        labels = np.array([row[1] % 2 for row in rows], np.int32)
        sets.append(Examples([Encoding(ids, [0] * len(ids)) for ids in rows], labels, special))
    task = Task("toy", "Toy", ("sentence",), ("no", "yes"), ("accuracy",))
    return TaskData(task, sets[0], {"validation": sets[1]}, (8, 16))


def encoder():
    tokens = Tokens(*(np.ones((1, 8), dtype) for dtype in (np.int32, np.int32, bool, bool)))
    params = jax.jit(SequenceClassifier(CONFIG, READOUT, 2).init)(jax.random.key(0), tokens)["params"]
    return Pretrained(Checkpoint(CONFIG, params["encoder"]), None)


def arrays_of(kind, runs):
    """Name -> array of every parameter and prediction of the runs, and the step at which each failed.

    The biases of attention's keys are left out: they change no output, their gradient is rounding noise, and Adam
    scales that up to the size of any other gradient.
    """
    found = {}
    for number, run in enumerate(runs):
        name = f"{kind}.{number}"
        found[f"{name}.failed"] = run.step if isinstance(run, Diverged) else 0
        if not isinstance(run, Diverged):
            leaves = {jax.tree_util.keystr(path): x for path, x in jax.tree.leaves_with_path(run.params)}
            found |= {f"{name}{path}": x for path, x in leaves.items() if not path.endswith("['key']['bias']")}
            found[f"{name}.logits"] = run.outputs["validation"]
    return found


def main(path):
    config = FinetuneConfig(2, 8, 8, 16, 2, OptimConfig(), dropout=0.1)
    pretrained, data, devices = encoder(), task_data(), local_devices()

    def runs(trials, layout):
        return finetune_together(pretrained, data, READOUT, config, trials, layout)

    found = arrays_of("together", runs(TRIALS, lay_out(devices, len(TRIALS), len(TRIALS))))
    if len(devices) == 1:
        found |= arrays_of("alone", itertools.chain.from_iterable(runs([trial], Layout(devices)) for trial in TRIALS))
    else:  # three places on each of two devices, of which two are left
        found |= arrays_of("some", runs(TRIALS[:4], lay_out(devices[:2], 6, 6)))
    np.savez(path, devices=len(devices), **found)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Results of the script on one device and on eight."""
    folder, root = tmp_path_factory.mktemp("population"), Path(__file__).parents[2]
    found = []
    for devices in (1, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        env = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
        command = [sys.executable, __file__, str(folder / f"{devices}.npz")]
        done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        with np.load(folder / f"{devices}.npz") as arrays:
            found.append(dict(arrays))
        assert found[-1]["devices"] == devices
    return found


def assert_same(found, alone, kind, numbers):
    """Arrays differ by less than 1e-5 of their largest entry."""
    for number in numbers:
        names = [name for name in alone if name.startswith(f"alone.{number}.") or name.startswith(f"alone.{number}[")]
        assert len(names) == (1 if number == 5 else 24), names
        for name in names:
            wanted, x = alone[name], found[name.replace("alone", kind)]
            np.testing.assert_allclose(x, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max(), err_msg=name)


def test_a_run_in_a_population_equals_the_run_alone(results):
    assert_same(results[0], results[0], "together", range(len(TRIALS)))


def test_on_eight_devices_a_run_equals_the_one_on_one_device(results):
    assert_same(results[1], results[0], "together", range(len(TRIALS)))


def test_places_may_be_left(results):
    assert_same(results[1], results[0], "some", range(4))


def test_the_runs_differ_and_only_the_wild_one_fails(results):
    for found in results:
        failed = [int(found[f"together.{number}.failed"]) for number in range(len(TRIALS))]
        assert failed[5] in (2, 3) and not any(failed[:5] + failed[6:])
        logits = [found[f"together.{number}.logits"] for number in range(len(TRIALS)) if number != 5]
        assert min(np.abs(a - b).max() for a, b in itertools.combinations(logits, 2)) > 1e-3


@pytest.mark.parametrize(
    ("runs", "largest", "groups", "places"), [(1, 1, 1, 1), (1, 8, 1, 1), (3, 8, 3, 3), (8, 8, 4, 8), (9, 16, 3, 9)]
)
def test_runs_are_spread_over_as_few_rounds_of_the_devices_as_possible(runs, largest, groups, places):
    layout = lay_out(("a", "b", "c", "d"), runs, largest)
    assert (layout.groups, layout.places) == (groups, places)
    assert len(layout.devices) == (4 if largest == 1 else groups), "a single run shares its rows among all devices"
    assert layout.fill(range(runs)) == [*range(runs), *[runs - 1] * (places - runs)]


def test_batches_of_other_shapes_cannot_be_side_by_side():
    with pytest.raises(ValueError, match="same shape"):
        list(side_by_side([[np.zeros(3)], [np.zeros(4)]]))
    with pytest.raises(ValueError, match="shorter"):
        list(side_by_side([[np.zeros(3)] * 2, [np.zeros(3)]]))


if __name__ == "__main__":
    main(sys.argv[1])
