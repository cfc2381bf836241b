"""A figure for each of five claims about [CLS], from the data frames of `bert_jax.analysis.claims.frames`."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bert_jax.analysis.figures import COLOURS
from bert_jax.files import Json
from bert_jax.study.regimes import regime_title

NAMES = {
    "cls": "[CLS]",
    "last_token": "[SEP]",
    "cls(special_tokens=False)": "first word",
    "random_token(special_tokens=False)": "some word",
}
"""Names of the poolings in figures."""
_HATCHED = ("#0072B2", "#999999", "#E69F00")


def draw_layers(frame: pd.DataFrame, poolings: Sequence[str] = ("cls", "mean")) -> Figure:
    """Probes by layer: a panel per task and encoder, a line per pooling with its 95% interval."""

    def panel(axes: Axes, here: pd.DataFrame) -> None:
        for place, pooling in enumerate(poolings):
            line = here[here["pooling"] == pooling].sort_values("layer")
            _line(axes, line["layer"], line, COLOURS[place % len(COLOURS)], NAMES.get(pooling, pooling))
        _whole_numbers(axes, here["layer"].max())

    return _panels(frame, panel, "layer (0: embeddings)")


def draw_knockout(frame: pd.DataFrame) -> Figure:
    """Probes of the last layer while [CLS] attends only to itself: from a block on, or in that block alone."""

    def panel(axes: Axes, here: pd.DataFrame) -> None:
        depth = int(here["last"].max())
        for place, pooling in enumerate(("cls", "mean")):
            of = here[here["pooling"] == pooling]
            whole = of[of["first"] == 0]
            if not whole.empty:
                axes.axhline(whole["mean"].iloc[0], color=COLOURS[place], linewidth=1, linestyle=":")
            onward = of[(of["first"] > 0) & (of["last"] == depth)].sort_values("first")
            name = NAMES.get(pooling, pooling)
            _line(axes, onward["first"], onward, COLOURS[place], f"{name}, blind from this block on")
            alone = of[(of["first"] > 0) & (of["first"] == of["last"])].sort_values("first")
            axes.plot(
                alone["first"], alone["mean"], "D", mfc="white", color=COLOURS[place], ms=5, label=f"{name}, in it only"
            )
        axes.set_xticks(range(1, depth + 1))

    return _panels(frame, panel, "block in which [CLS] sees only itself; dotted: nothing taken away")


def draw_attention(found: Sequence[Json], targets: Sequence[str]) -> Figure:
    """Attention of [CLS], averaged over tasks, a row of panels per encoder: shares by layer; the share on words and the
    entropy by head."""
    found = [_mean_attention(found, encoder) for encoder in dict.fromkeys(one["encoder"] for one in found)]
    figure = Figure(figsize=(9.5, 0.5 + 2.1 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), 3, squeeze=False, width_ratios=(3, 2, 2))
    for row, one in zip(panels, found, strict=True):
        shares = one["shares"]
        depth, place = np.arange(1, len(shares) + 1), np.zeros(len(shares))
        for i, target in enumerate(targets):
            part = 100 * shares[:, :, i].mean(1)
            row[0].barh(depth, part, left=place, color=_HATCHED[i % 3], label=f"to {target}", height=0.75)
            place = place + part
        row[0].set_title(f"{one['encoder']}: attention of [CLS] (%)", loc="left", fontsize=9, weight="bold")
        _map(row[1], 100 * shares[:, :, -1], "to words, by head (%)")
        _map(row[2], 100 * one["evenness"], "entropy (% of the largest)")
        row[0].set_ylabel("block", fontsize=8)
        for axes in row:
            axes.set_yticks(depth)
            axes.set_ylim(0.5, len(shares) + 0.5)
            axes.tick_params(labelsize=8, length=0)
            axes.spines[:].set_visible(False)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3, fontsize=8, frameon=False)
    return figure


def _mean_attention(found: Sequence[Json], encoder: str) -> Json:
    its_own = [one for one in found if one["encoder"] == encoder]
    return {"encoder": encoder} | {name: np.mean([one[name] for one in its_own], 0) for name in ("shares", "evenness")}


def draw_positions(frame: pd.DataFrame) -> Figure:
    """The last layer read from each position, probed and fine-tuned: scores with their intervals."""
    poolings, regimes = list(frame["pooling"].unique()), list(frame["regime"].unique())

    def panel(axes: Axes, here: pd.DataFrame) -> None:
        for place, pooling in enumerate(poolings):
            for shift, regime in enumerate(regimes):
                line = here[(here["pooling"] == pooling) & (here["regime"] == regime)]
                y = place + 0.18 * (2 * shift - len(regimes) + 1)
                _whisker(axes, line, y, COLOURS[shift], regime_title(regime) if place == 0 else None)
        axes.set_yticks(range(len(poolings)), [NAMES.get(pooling, pooling) for pooling in poolings])
        axes.set_ylim(len(poolings) - 0.5, -0.5)

    return _panels(frame, panel, "score, 95% interval; dashed: majority baseline", across=True)


def draw_single(frame: pd.DataFrame) -> Figure:
    """Tasks of one sentence: [CLS] and mean of every encoder, probed and fine-tuned, a panel per task and regime."""
    encoders = list(frame["encoder"].unique())

    def panel(axes: Axes, here: pd.DataFrame) -> None:
        for place, encoder in enumerate(encoders):
            for shift, pooling in enumerate(("cls", "mean")):
                line = here[(here["encoder"] == encoder) & (here["pooling"] == pooling)]
                y = place + 0.18 * (2 * shift - 1)
                _whisker(axes, line, y, COLOURS[shift], NAMES.get(pooling, pooling) if place == 0 else None)
        axes.set_yticks(range(len(encoders)), encoders)
        axes.set_ylim(len(encoders) - 0.5, -0.5)

    named = frame.assign(column=[regime_title(regime) for regime in frame["regime"]])
    return _panels(named, panel, "score, 95% interval; dashed: majority baseline", across=True, columns="column")


def draw_averages(frame: pd.DataFrame, needs_width: int = 62) -> Figure:
    """Mean minus [CLS] for every encoder in every regime, a panel per task; above it, a note on what the task needs."""
    labels, regimes = list(frame["label"].unique()), list(frame["regime"].unique())
    encoders = list(frame["encoder"].unique())
    heights = [0.9 + 0.2 * len(frame[frame["label"] == label]) for label in labels]
    figure = Figure(figsize=(7.5, sum(heights) + 0.6), layout="constrained")
    panels = figure.subplots(len(labels), 1, squeeze=False, height_ratios=heights, sharex=True)[:, 0]
    for axes, label in zip(panels, labels, strict=True):
        here = frame[frame["label"] == label].reset_index(drop=True)
        for y, line in here.iterrows():
            colour = COLOURS[regimes.index(line["regime"])]
            axes.plot([line["difference_low"], line["difference_high"]], [y, y], color=colour, linewidth=2)
            axes.plot([line["difference"]], [y], "D", color=colour, markersize=5)
        names = [regime_title(regime) for regime in here["regime"]]
        if len(encoders) > 1:
            names = [f"{name}, {encoder}" for name, encoder in zip(names, here["encoder"], strict=True)]
        axes.axvline(0, color="0.5", linewidth=1, zorder=0)
        axes.set_yticks(range(len(here)), names)
        axes.set_ylim(len(here) - 0.5, -0.5)
        title = f"{label}: {here['needs'].iloc[0]}"
        axes.set_title(_folded(title, needs_width), loc="left", fontsize=8)
        _plain(axes)
    panels[-1].set_xlabel("mean minus [CLS], 95% interval; right of the line the mean is better", fontsize=8)
    return figure


def draw_pairs(layers: pd.DataFrame, heads: pd.DataFrame) -> Figure:
    """Prediction of whether B follows A, a row per encoder: fresh probes by layer, and the calibration of the
    encoder's own head, the share of pairs that do follow at each predicted probability."""
    encoders = list(layers["encoder"].unique())
    figure = Figure(figsize=(8.5, 0.5 + 2.5 * len(encoders)), layout="constrained")
    panels = figure.subplots(len(encoders), 2, squeeze=False)
    for (left, right), encoder in zip(panels, encoders, strict=True):
        here = layers[layers["encoder"] == encoder]
        for place, pooling in enumerate(("cls", "mean")):
            line = here[here["pooling"] == pooling].sort_values("layer")
            _line(left, line["layer"], line, COLOURS[place], f"fresh probe of {NAMES.get(pooling, pooling)}")
        left.axhline(here["majority"].iloc[0], color="0.5", linestyle="--", linewidth=1)
        _whole_numbers(left, here["layer"].max())
        left.set_title(f"{encoder}: does B follow A? (accuracy)", loc="left", fontsize=9, weight="bold")
        left.set_xlabel("layer (0: embeddings)", fontsize=8)
        left.legend(fontsize=7, frameon=False)
        of = heads[heads["encoder"] == encoder] if not heads.empty else heads
        if of.empty:
            right.axis("off")
            right.text(0, 0.5, "no head for pairs that reads [CLS]", fontsize=8, transform=right.transAxes)
        else:
            _draw_reliability(right, of)
        _plain(left)
        _plain(right)
    return figure


def _draw_reliability(axes: Axes, heads: pd.DataFrame) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for place, line in enumerate(heads.itertuples()):
        follows, random = (np.array(line.probability[kind], float) for kind in ("follows", "random"))
        total = follows + random
        there = total > 0
        centres = (np.arange(len(total)) + 0.5) / len(total)
        label = f"its head on {NAMES.get(line.pooling, line.pooling)}: {line.mean:.1f}%"
        sizes = 12 + 160 * total[there] / total.sum()
        axes.plot(centres[there], follows[there] / total[there], color=COLOURS[place], linewidth=1, label=label)
        axes.scatter(centres[there], follows[there] / total[there], s=sizes, color=COLOURS[place], zorder=3)
    axes.set_title("own head (size: share of the pairs)", loc="left", fontsize=9)
    axes.set_xlabel("probability that B follows, by the head", fontsize=8)
    axes.set_ylabel("share that does follow", fontsize=8)
    axes.legend(fontsize=7, frameon=False)


def _panels(
    frame: pd.DataFrame,
    draw: Callable[[Axes, pd.DataFrame], None],
    xlabel: str,
    across: bool = False,
    columns: str = "encoder",
) -> Figure:
    """A row of panels per task and a column per encoder, each with its majority baseline."""
    labels, names = list(frame["label"].unique()), list(frame[columns].unique())
    figure = Figure(figsize=(1 + 3.4 * len(names), 0.9 + 2.2 * len(labels)), layout="constrained")
    panels = figure.subplots(len(labels), len(names), squeeze=False)
    for row, label in zip(panels, labels, strict=True):
        for axes, name in zip(row, names, strict=True):
            here = frame[(frame["label"] == label) & (frame[columns] == name)]
            if here.empty:
                axes.axis("off")
                continue
            draw(axes, here)
            line = axes.axvline if across else axes.axhline
            line(here["majority"].iloc[0], color="0.5", linestyle="--", linewidth=1, zorder=0)
            axes.set_title(f"{label} ({here['metric'].iloc[0]}), {name}", loc="left", fontsize=9, weight="bold")
            _plain(axes)
    found = (pair for axes in panels.ravel() for pair in zip(*axes.get_legend_handles_labels(), strict=True))
    handles = {name: handle for handle, name in found}
    figure.legend(list(handles.values()), list(handles), loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    figure.supxlabel(xlabel, fontsize=8)
    return figure


def _line(axes: Axes, x: np.ndarray | pd.Series, line: pd.DataFrame, colour: str, name: str) -> None:
    axes.plot(x, line["mean"], "o-", color=colour, markersize=4, linewidth=1.3, label=name)
    axes.fill_between(x, line["low"], line["high"], color=colour, alpha=0.15, linewidth=0)


def _whisker(axes: Axes, line: pd.DataFrame, y: float, colour: str, name: str | None) -> None:
    if not line.empty:
        axes.plot(line[["low", "high"]].to_numpy()[0], [y, y], color=colour, linewidth=2, alpha=0.5)
        axes.plot(line["mean"], [y], "o", color=colour, markersize=5, label=name)


def _map(axes: Axes, values: np.ndarray, title: str) -> None:
    """Draw values [N H] as a heat map, blocks upwards and heads to the right."""
    image = axes.imshow(values, origin="lower", aspect="auto", cmap="cividis", vmin=0, vmax=100)
    image.set_extent((0.5, values.shape[1] + 0.5, 0.5, len(values) + 0.5))
    for (y, x), value in np.ndenumerate(values):
        colour = "black" if value > 50 else "white"
        axes.text(x + 1, y + 1, f"{value:.0f}", ha="center", va="center", fontsize=6, color=colour)
    axes.set_xticks(range(1, values.shape[1] + 1))
    axes.set_title(title, loc="left", fontsize=9)


def _whole_numbers(axes: Axes, last: float) -> None:
    axes.set_xticks(range(int(last) + 1))


def _folded(text: str, width: int) -> str:
    words, lines = text.split(), [""]
    for word in words:
        if len(lines[-1]) + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
