"""The learning curves of a page: those of the pretraining that lies in a run folder."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.analysis.curves import curve, running_mean
from bert_jax.analysis.page.examined import Examined
from bert_jax.data.objectives import all_measures
from bert_jax.train.log import METRICS, LogLine, read_log

PRETRAINING = "pretraining"
"""Folder of the pretraining inside a run folder."""
WIDTH, HEIGHT = 300, 160
"""Size of a plot in the units of its points."""


class CurvePlot(NamedTuple):
    """A measured value over steps: points of lines, `x,y x,y`, for training and held-out text, and the axes' ends."""

    title: str
    training: str
    held_out: str
    steps: tuple[str, str]
    values: tuple[str, str]


def make_curves(examined: Sequence[Examined]) -> list[CurvePlot]:
    """The curves of every folder that holds a log of training."""
    plots = []
    for found in examined:
        folder = next((at for at in (found.folder, found.folder / PRETRAINING) if (at / METRICS).exists()), None)
        if folder is not None:
            plots += _plots(read_log(folder), f"{found.encoder}: " if len(examined) > 1 else "")
    return plots


def _plots(lines: list[LogLine], before: str) -> list[CurvePlot]:
    measured = {name for line in lines for name in line}
    plots = []
    for name, measure in all_measures().items():
        if not measure.title or name not in measured:
            continue
        steps, values = curve(lines, name, "train")
        values = running_mean(values, max(1, len(values) // 30))
        sides = [(steps, values), curve(lines, name, "heldout")]
        x, y = (np.concatenate([side[i] for side in sides]) for i in (0, 1))
        if len(x):
            ends = float(x.min()), float(x.max()), float(y.min()), float(y.max())
            training, held_out = (_points(*side, *ends) for side in sides)
            across, up = (f"{ends[0]:,.0f}", f"{ends[1]:,.0f}"), (f"{ends[2]:.3g}", f"{ends[3]:.3g}")
            plots.append(CurvePlot(f"{before}{measure.title}", training, held_out, across, up))
    return plots


def _points(x: np.ndarray, y: np.ndarray, left: float, right: float, low: float, high: float) -> str:
    across = (x - left) / ((right - left) or 1) * WIDTH
    down = HEIGHT - (y - low) / ((high - low) or 1) * HEIGHT
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True))
