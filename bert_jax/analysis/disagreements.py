"""Examples on which two readouts differ, over the seeds that both have."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from bert_jax.analysis.comparison import by_regime, evaluations, grid, label, short_names
from bert_jax.errors import unknown
from bert_jax.study.evaluation_rows import read_examples
from bert_jax.study.store import Row, read_predictions

COLUMNS = ("task", "regime", "row", "hash", "label", "group", "a", "b", "first", "second", "difference")


def disagreements(folder: Path, rows: Sequence[Row], first: str, second: str, task: str = "") -> pd.DataFrame:
    """One line per example on which two readouts differ, the largest differences first within each task.

    Args:
        folder: the run folder.
        rows: its rows.
        first, second: readouts, by their full or short names.
        task: name or title of the only task to compare; by default all.

    Returns:
        Columns `COLUMNS`. first, second: for classes the share of seeds with the right class; for scores one minus the
        distance between the ranks of prediction and label, as shares of all rows. difference: second minus first.

    Raises:
        InputError: a readout or the task is not among the rows, or the examples are not in the folder.
    """
    names = short_names(list(dict.fromkeys(row.name for row in rows)))
    known = names | {short: short for short in names.values()}
    for name in (first, second):
        if name not in known:
            raise unknown("readout", name, dict.fromkeys([*names.values(), *names]))
    tasks = dict.fromkeys(name for row in rows for name in (row.task, row.title))
    if task and task not in tasks:
        raise unknown("task", task, tasks)
    chosen = [row for row in rows if not task or task in (row.task, row.title)]
    frames = []
    for of_regime in by_regime(chosen).values():
        for cells, evaluation in evaluations(grid(of_regime)):
            sides = {names[name]: cell.ok for name, cell in cells.items()}
            pair = [sides.get(known[name], {}) for name in (first, second)]
            shared = [key for key in pair[0] if key in pair[1]]
            if shared:
                frames.append(_compare(folder, [[side[key] for key in shared] for side in pair], evaluation))
    return pd.concat(frames) if frames else pd.DataFrame(columns=COLUMNS)


def _compare(folder: Path, sides: list[list[Row]], evaluation: str) -> pd.DataFrame:
    row = sides[0][0]
    merits = [
        np.mean([merit(*read_predictions(folder, one)[evaluation], one.is_regression) for one in side], axis=0)
        for side in sides
    ]
    frame = pd.DataFrame(read_examples(folder, row, evaluation))
    frame = frame.assign(task=label(row, evaluation), regime=row.regime, first=merits[0], second=merits[1])
    frame["difference"] = frame["second"] - frame["first"]
    order = frame["difference"].abs().sort_values(ascending=False, kind="stable").index
    frame = frame.loc[order, list(COLUMNS)]
    return frame[frame["difference"] != 0]


def merit(predictions: np.ndarray, labels: np.ndarray, is_regression: bool) -> np.ndarray:
    """Correctness of each prediction [N], from 0 to 1: right or wrong, or for scores the nearness of its rank."""
    if not is_regression:
        right: np.ndarray = predictions == labels
        return right.astype(float)
    near: np.ndarray = 1 - np.abs(rankdata(predictions) - rankdata(labels)) / len(labels)
    return near
