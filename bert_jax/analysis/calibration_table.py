"""Calibration of the readouts of a run folder, from the logits that its runs have kept."""

from pathlib import Path

import numpy as np
import pandas as pd

from bert_jax.analysis.comparison import by_regime, evaluations, grid, label
from bert_jax.errors import InputError
from bert_jax.evaluate.calibration import brier_score, expected_calibration_error
from bert_jax.study.kept import SCORES, has_kept, read_kept
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import Row, read_predictions

MEASURES = {"ECE": expected_calibration_error, "Brier": brier_score}
"""Column -> function of logits and labels."""


def tabulate(folder: Path, rows: list[Row]) -> pd.DataFrame:
    """A line of text for each task, regime and readout: score, ECE and Brier score times 100, mean and s.d. over runs.

    Runs without logits are left out: those of tasks with scores, of regimes that have none, and failed ones.

    Raises:
        InputError: no run has kept its logits, or a file is damaged.
    """
    lines = []
    for of_regime in by_regime(rows).values():
        for cells, evaluation in evaluations(grid(of_regime)):
            for readout, cell in cells.items():
                found = [row for row in cell.ok.values() if has_kept(folder, row.id, SCORES)]
                if found:
                    lines.append(_line(folder, found, readout, evaluation))
    if not lines:
        raise InputError(f"{folder}: no run has kept its logits; give the command that made it again, with --{SCORES}")
    return pd.DataFrame(lines)


def _line(folder: Path, rows: list[Row], readout: str, evaluation: str) -> dict[str, str]:
    logits = [read_kept(folder, row, SCORES)[evaluation] for row in rows]
    labels = [read_predictions(folder, row)[evaluation][1] for row in rows]
    measured = {
        name: _text([measure(*pair) for pair in zip(logits, labels, strict=True)]) for name, measure in MEASURES.items()
    }
    first = rows[0]
    return {
        "Task": label(first, evaluation),
        "Regime": regime_title(first.regime),
        "Readout": readout,
        "Metric": first.metric,
        "Score": _text([row.score(evaluation) for row in rows]),
        **measured,
        "Runs": str(len(rows)),
    }


def _text(values: list[float]) -> str:
    found = 100 * np.array(values)
    return f"{found.mean():.1f}" + (f" \N{PLUS-MINUS SIGN} {found.std(ddof=1):.1f}" if len(found) > 1 else "")
