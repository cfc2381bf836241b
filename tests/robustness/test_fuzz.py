"""Damaged files from elsewhere are read or refused in words, and never anything else.

CONTRIBUTING has the command for thousands of them.
"""

from collections import Counter

import pytest
from amounts import SEED, amount
from fuzzing import fuzz, write_originals
from inputs import KINDS
from mutations import copy

INPUTS = amount("FUZZ", 200)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    return write_originals(tmp_path_factory.mktemp("originals"))


@pytest.mark.filterwarnings("ignore:.*without a label")  # NLI has pairs on which annotators disagreed
def test_every_original_is_read(originals, tmp_path):
    for name, kind in KINDS.items():
        units = sorted((originals / name).iterdir())
        assert units, f"there is no input of the kind {name}"
        for unit in units:
            kind.read(copy(unit, tmp_path / unit.name))


def test_a_damaged_input_is_read_or_refused(originals, tmp_path):
    results, faults = Counter(), []
    for outcome in fuzz(originals, tmp_path, SEED, INPUTS):
        results[outcome.case.partition("/")[0], outcome.result.partition(":")[0]] += 1
        if outcome.fault:
            faults.append(f"input {outcome.number} of seed {SEED}, {outcome.case}:\n{outcome.fault}")
            print(faults[-1], flush=True)
    print(*sorted(results.items()), sep="\n")
    assert not faults, f"{len(faults)} of {INPUTS}; the inputs are in {tmp_path}\n\n" + "\n\n".join(faults[:5])
    assert all(results[name, result] for name in KINDS for result in ("read", "refused"))
