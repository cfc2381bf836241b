"""The curves of a pretraining: losses and accuracies over steps, on training text and on held-out text."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_jax.analysis.figures import COLOURS
from bert_jax.data.objectives import all_measures
from bert_jax.train.log import LogLine


def draw_curves(lines: list[LogLine]) -> Figure:
    """Draw a panel for each logged measure that has a title in an objective.

    A thin line shows the logged training steps, a thick one their running mean, and points show held-out text.
    """
    measured = {name for line in lines for name in line}
    panels = {name: found.title for name, found in all_measures().items() if found.title and name in measured}
    figure = Figure(figsize=(4 * max(len(panels), 1), 3.2), layout="constrained")
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for panel, (name, title) in zip(axes, panels.items(), strict=False):
        _draw_train(panel, *curve(lines, name, "train"))
        panel.plot(*curve(lines, name, "heldout"), "o-", color=COLOURS[1], ms=3.5, lw=1, label="held out", zorder=3)
        panel.set_title(title, loc="left", fontsize=10)
        panel.set_xlabel("step", fontsize=9)
        panel.tick_params(labelsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    if panels:
        axes[0].legend(fontsize=9, frameon=False)
    return figure


def running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """The mean of each value and the values before it, over at most `width` values.

    >>> running_mean(np.array([4.0, 2.0, 0.0, 4.0]), 2).tolist()
    [4.0, 3.0, 1.0, 2.0]
    """
    sums = np.concatenate([[0.0], np.cumsum(values)])
    last = np.arange(1, len(values) + 1)
    first = np.maximum(last - width, 0)
    means: np.ndarray = (sums[last] - sums[first]) / (last - first)
    return means


def _draw_train(axes: Axes, steps: np.ndarray, values: np.ndarray) -> None:
    axes.plot(steps, values, color=COLOURS[0], alpha=0.25, linewidth=0.8)
    axes.plot(steps, running_mean(values, max(1, len(values) // 30)), color=COLOURS[0], label="training")


def curve(lines: list[LogLine], name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, in order; values that are not numbers are left out."""
    points = [(line["step"], line[name]) for line in lines if line["split"] == split and line.get(name) is not None]
    steps, values = zip(*points, strict=True) if points else ((), ())
    return np.array(steps, float), np.array(values, float)
