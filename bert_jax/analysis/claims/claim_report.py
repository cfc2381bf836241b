"""Figures and tables for five claims about [CLS], as functions of rows: `write_claims(folder)` makes them again."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bert_jax.analysis.claims import frames
from bert_jax.analysis.claims.claim_figures import (
    NAMES,
    draw_attention,
    draw_averages,
    draw_knockout,
    draw_layers,
    draw_pairs,
    draw_positions,
    draw_single,
)
from bert_jax.analysis.estimates import DEFAULT, METHODS
from bert_jax.errors import InputError
from bert_jax.evaluate.attention_maps import TARGETS
from bert_jax.files import writing
from bert_jax.study.regimes import regime_title

PAGE = "claims.md"
NOTE = (
    "Scores and differences are the metric times 100. In brackets the 95% interval by "
    f"{METHODS[DEFAULT]}; a star where p, corrected by Holm's method for all comparisons of its table, is below 0.05. "
    "After a semicolon the difference of the pairs of which no run is degenerate, where some are. "
    "Degenerate runs are no better than the majority baseline; where all of a side are, the difference has no star."
)
LEVELS = {
    "pretrainings": "Intervals are over pretrainings of a kind, each averaged over its seeds, and examples.",
    "seeds": "Intervals are over seeds of fine-tuning and examples, of one pretraining: they say nothing of another.",
    "examples": "Intervals are over examples only: they say nothing of other seeds or another pretraining.",
}
"""Note on what the intervals of a table are over."""


def write_claims(out: Path) -> None:
    """Make claims.md and a figure for each claim that has rows, and print the tables.

    Raises:
        InputError: nothing has been run, or the folder cannot be written.
    """
    sections = [section for make in _SECTIONS for section in make(out)]
    if not sections:
        raise InputError(f"{out} has no finished run to report")
    lines = ["# What is in [CLS]?", NOTE]
    with writing(out):
        for title, text, table, name, figure in sections:
            lines += [f"## {title}", text, table.to_markdown(index=False, disable_numparse=True)]
            if figure is not None:
                figure.savefig(out / name, dpi=130)
                lines.append(f"![{title}]({name})")
        (out / PAGE).write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print("\n\n".join(line for line in lines if not line.startswith("![")))


Section = tuple[str, str, pd.DataFrame, str, Figure | None]
"""Title, a text on what to look for, a table of text, the file name of the figure, and the figure."""


def _layers(out: Path) -> Iterator[Section]:
    frame = frames.by_layer(out)
    if frame.empty:
        return
    here = frame[frame["pooling"].isin(["cls", "mean"])]
    lines = _pivot(here, ["encoder", "label", "pooling"], "layer", _alone)
    lines.insert(3, "majority", _firsts(here, ["encoder", "label", "pooling"], lambda line: f"{line['majority']:.1f}"))
    text = "A linear probe by layer; layer 0 is the embeddings, where [CLS] is the same vector in every text."
    yield "(a) What can be read from [CLS], layer by layer", text, lines, "a-layers.png", draw_layers(here)


def _attention(out: Path) -> Iterator[Section]:
    found = frames.attention(out)
    if not found:
        return
    lines = []
    for one in found:
        for block, (shares, entropy, even) in enumerate(
            zip(one["shares"].mean(1), one["entropy"].mean(1), one["evenness"].mean(1), strict=True), start=1
        ):
            parts = {f"to {target}": f"{100 * share:.0f}%" for target, share in zip(TARGETS, shares, strict=True)}
            more = {"entropy (nats)": f"{entropy:.2f}", "of the largest": f"{100 * even:.0f}%"}
            lines.append({"encoder": one["encoder"], "task": one["title"], "block": str(block)} | parts | more)
    text = "Its attention in each block, averaged over heads and texts (in the figure over tasks, too)."
    figure = draw_attention(found, TARGETS)
    yield "(a) Where [CLS] looks", text, pd.DataFrame(lines), "a-attention.png", figure


def _knockout(out: Path) -> Iterator[Section]:
    frame = frames.knocked_out(out)
    if frame.empty:
        return
    depth = frame.groupby("encoder")["last"].transform("max")
    ways = [
        "nothing" if first == 0 else f"from {first} on" if last == most else f"in {first} only"
        for first, last, most in zip(frame["first"], frame["last"], depth, strict=True)
    ]
    named = frame.assign(taken=ways)
    lines = _pivot(named, ["encoder", "label", "taken"], "pooling", _cell)
    text = (
        "[CLS] may attend to nothing but itself in some blocks; a fresh probe of the last layer is fitted each time. "
        f"In brackets what is lost. {_described(frame)}"
    )
    yield "(a) [CLS] without attention", text, lines, "a-knockout.png", draw_knockout(frame)


def _positions(out: Path) -> Iterator[Section]:
    frame = frames.positions(out)
    if frame.empty:
        return
    lines = _pivot(_with_regimes(frame), ["encoder", "label", "regime"], "pooling", _cell)
    text = f"The last layer read from one position; in brackets the difference to [CLS]. {_described(frame)}"
    yield "(b) Would another word serve?", text, lines, "b-positions.png", draw_positions(frame)
    layers = frames.by_layer(out)
    if layers.empty:
        return
    poolings = list(layers["pooling"].unique())
    lines = _pivot(layers, ["encoder", "label", "pooling"], "layer", _alone)
    text = "The same positions by a linear probe of each layer."
    yield "(b) Every position, layer by layer", text, lines, "b-layers.png", draw_layers(layers, poolings)


def _pairs(out: Path) -> Iterator[Section]:
    layers, heads = frames.by_layer(out, "pairs"), frames.heads(out)
    if layers.empty:
        return
    lines = _pivot(layers, ["encoder", "pooling"], "layer", _alone).fillna("")
    own = {} if heads.empty else {(line.encoder, line.pooling): f"{line.mean:.1f}" for line in heads.itertuples()}
    names = {name: pooling for pooling, name in NAMES.items()}
    keys = zip(lines["encoder"], lines["pooling"], strict=True)
    lines["own head"] = [own.get((encoder, names.get(name, name)), "none") for encoder, name in keys]
    text = (
        "Does B follow A, in pairs from documents that no encoder of ours has seen: accuracy of a fresh probe of each "
        f"layer, and of the head that the encoder was pretrained with. Chance is {layers['majority'].iloc[0]:.1f}."
    )
    yield "(c) Does B follow A?", text, lines, "c-pairs.png", draw_pairs(layers, heads)
    frame = frames.pairs(out)
    text = f"The same at the last layer, {_beside_first(frame)}"
    lines = _pivot(frame, ["encoder"], "pooling", _cell)
    changes = {line["encoder"]: _change(line) for _, line in frames.pair_averages(out).iterrows()}
    lines["mean minus [CLS]"] = [changes.get(encoder, "") for encoder in lines["encoder"]]
    yield "(c) Encoder beside encoder", text, lines, "", None


def _single(out: Path) -> Iterator[Section]:
    frame = frames.single_sentences(out)
    if frame.empty:
        return
    named = _with_regimes(frame)
    lines = _pivot(named, ["label", "regime", "encoder"], "pooling", _cell)
    text = f"Tasks of a single sentence, before (probe) and after fine-tuning, {_beside_first(frame)}"
    yield "(d) Single sentences", text, lines, "d-single.png", draw_single(frame)


def _beside_first(frame: pd.DataFrame) -> str:
    """The end of a text on scores of several encoders: what is in brackets, and what the intervals are over."""
    text = f"in brackets the difference to {frame['encoder'].iloc[0]}. {_described(frame, 'difference_over')}"
    if {"seeds", "examples"} & set(frame["difference_over"]):
        text += " A difference of single encoders is between these two, not between kinds of pretraining."
    return text


def _averages(out: Path) -> Iterator[Section]:
    frame = frames.averages(out)
    if frame.empty:
        return
    lines = _pivot(_with_regimes(frame), ["encoder", "label"], "regime", _change).fillna("")
    text = f"Mean minus [CLS] at the last layer, in every regime. {_described(frame)}"
    yield "(e) An average makes sense, too", text, lines, "e-averages.png", draw_averages(frame)


_SECTIONS: tuple[Callable[[Path], Iterator[Section]], ...] = (
    _layers,
    _attention,
    _knockout,
    _positions,
    _pairs,
    _single,
    _averages,
)


def _described(frame: pd.DataFrame, column: str = "over") -> str:
    """Sentence on what the intervals of a frame are over; if they differ, with the regimes of each kind."""
    found = frame[frame[column].isin(list(LEVELS))]
    levels = found.groupby(column, sort=False)["regime"].unique()
    if len(levels) == 1:
        return LEVELS[levels.index[0]]
    named = ((level, ", ".join(regime_title(regime) for regime in regimes)) for level, regimes in levels.items())
    return " ".join(f"{regimes}: {LEVELS[str(level)][0].lower()}{LEVELS[str(level)][1:]}" for level, regimes in named)


def _pivot(frame: pd.DataFrame, keys: list[str], columns: str, cell: Callable[[pd.Series], str]) -> pd.DataFrame:
    """A table of text: a line for each combination of keys, a column for each value of `columns`, in their order."""
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for _, line in frame.iterrows():
        key = tuple(_name(name, line[name]) for name in keys)
        lines.setdefault(key, dict(zip(_titles(keys), key, strict=True)))[_name(columns, line[columns])] = cell(line)
    return pd.DataFrame(list(lines.values())).fillna("")


def _titles(keys: list[str]) -> list[str]:
    return ["task" if key == "label" else key for key in keys]


def _name(column: str, value: Any) -> str:
    if column == "pooling":
        value = NAMES.get(value, value)
    return str(int(value)) if column == "layer" else str(value)


def _firsts(frame: pd.DataFrame, keys: list[str], cell: Callable[[pd.Series], str]) -> list[str]:
    return [cell(here.iloc[0]) for _, here in frame.groupby(keys, sort=False)]


def _with_regimes(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(regime=[regime_title(regime) for regime in frame["regime"]])


def _alone(line: pd.Series) -> str:
    """A score, with a note on runs that failed or learned nothing."""
    return ", ".join([f"{line['mean']:.1f}", *_troubles(line)])


def _cell(line: pd.Series) -> str:
    """A score and its difference, with a note on runs that failed or learned nothing."""
    change = "" if math.isnan(line["difference"]) else f" ({_change(line)})"
    return ", ".join([f"{line['mean']:.1f}{change}", *_troubles(line)])


def _troubles(line: pd.Series) -> list[str]:
    return [f"{line[name]} {name}" for name in ("degenerate", "failed") if line[name]]


def _change(line: pd.Series) -> str:
    star = "*" if line["p_adjusted"] < 0.05 else ""
    text = _interval(line, "") + star
    return text + (f"; {_interval(line, '_kept')}" if line["pairs"] > line["pairs_kept"] > 0 else "")


def _interval(line: pd.Series, which: str) -> str:
    difference, low, high = (line[f"difference{name}{which}"] for name in ("", "_low", "_high"))
    return f"{difference:+.1f} [{low:.1f}, {high:.1f}]"
