"""A folder whose rows are of several data is taken apart, and each part can be reported."""

import dataclasses

import numpy as np
import pytest
from test_store import EXPERIMENT, a_row

from bert_jax.analysis.report import write_report
from bert_jax.errors import InputError
from bert_jax.study.repair import group_rows, write_groups
from bert_jax.study.store import ResultStore, read_predictions, read_rows
from experiments import repair
from experiments.cli import run

LABELS = {"one": np.array([0, 1, 0]), "other": np.array([1, 1, 0])}


@pytest.fixture
def mixed(tmp_path):
    """Five rows of which three were scored on other labels, and one failed, with other training rows."""
    store = ResultStore(tmp_path / "run", EXPERIMENT)
    for seed, labels in enumerate(("one", "other", "other", "one", "other")):
        store.append(a_row(seed), {"validation": (np.array([0, 1, 1]), LABELS[labels])})
    failed = dataclasses.replace(a_row(5), status="failed", failed_step=3, metrics={}, train_examples=9)
    store.append(failed, {})
    return tmp_path / "run"


def test_rows_are_grouped_by_their_data_and_written_apart(mixed, tmp_path):
    groups = group_rows(mixed)
    assert [[row.seed for row in group.rows] for group in groups] == [[1, 2, 4], [0, 3], [5]]
    folders = write_groups(mixed, groups, tmp_path / "apart")
    assert [folder.name for folder in folders] == ["data0", "data1", "data2"]
    for folder, group, labels in zip(folders[:2], groups, ("other", "one"), strict=False):
        rows = read_rows(folder)
        assert [row.id for row in rows] == [row.id for row in group.rows]
        for row in rows:
            np.testing.assert_array_equal(read_predictions(folder, row)["validation"][1], LABELS[labels])
        write_report(folder, show=False)
    assert len(read_rows(mixed)) == 6
    with pytest.raises(InputError, match="data0 is there already"):
        write_groups(mixed, groups, tmp_path / "apart")


def test_the_command_to_report_a_part_can_be_pasted(mixed, tmp_path, capsys):
    run(repair.main, repair.RepairConfig, [str(mixed), "--out", str(tmp_path / "in parts")])
    assert f"python -m experiments.report '{tmp_path}/in parts/data1' reports it" in capsys.readouterr().out


def test_a_folder_of_one_data_set_is_one_group(tmp_path):
    store = ResultStore(tmp_path, EXPERIMENT)
    for seed in range(2):
        store.append(a_row(seed), {"validation": (np.array([0, 1, 1]), LABELS["one"])})
    store.append(dataclasses.replace(a_row(2), status="failed", failed_step=3, metrics={}), {})
    (group,) = group_rows(tmp_path)
    assert [row.seed for row in group.rows] == [0, 1, 2]


def test_the_command_says_which_rows_are_of_which_data(mixed, tmp_path, capsys):
    run(repair.main, repair.RepairConfig, [str(mixed)])
    said = capsys.readouterr().out
    assert "data0: 3 rows\n" in said and "seeds 1, 2, 4\n" in said and "give --out DIR to copy each group" in said
    run(repair.main, repair.RepairConfig, [str(mixed), "--out", str(tmp_path / "apart")])
    assert f"wrote {tmp_path / 'apart' / 'data1'}; python -m experiments.report" in capsys.readouterr().out
