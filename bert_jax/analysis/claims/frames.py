"""Evidence on five claims about [CLS], as data frames made from the rows of `experiments.what_is_in_cls`.

A folder holds for each encoder a folder with its parts: run folders called layers, knockout, finetune, cosine and
pairs, and attention with a file per task. Encoders called KIND#0, KIND#1, ... are pretrainings of one kind: in a frame
they count as one encoder, and intervals are over them. Scores and differences are the headline metric times 100; a
difference has a 95% interval, and its p is that of `comparison.correct` over its frame.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from bert_jax.analysis.comparison import correct, differences, may_judge, parts_of, summarise
from bert_jax.analysis.estimates import Where, estimate, finished
from bert_jax.errors import InputError
from bert_jax.files import Json, read_json
from bert_jax.study.store import Row, read_rows

ABOUT = "about.json"
"""encoders: the names of those that have a folder, in order. tasks: name -> title, texts (one or two) and needs."""


class Part(NamedTuple):
    """The rows of one kind of encoder, of one pretraining or several, and the run folder of each row by its id."""

    encoder: str
    folder: dict[str, Path]
    rows: list[Row]

    @property
    def last(self) -> str:
        """Layers spec of the last layer: in a map of all layers, the number of the last one."""
        layers = [parts_of(row.readout)[0] for row in self.rows if row.regime != "head"]
        return max(layers, key=lambda spec: int(spec) if spec.isdecimal() else -1)

    def at(self, layers: str) -> list[Row]:
        """The rows whose readout has this layers spec."""
        return [row for row in self.rows if parts_of(row.readout)[0] == layers]


def read_about(out: Path) -> Json:
    """Read the contents of `ABOUT`.

    Raises:
        InputError: `out` is not a folder of this experiment.
    """
    about = read_json(out / ABOUT, remedy="is this a folder of what_is_in_cls?")
    try:
        return {"encoders": list(about["encoders"]), "tasks": dict(about["tasks"])}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out} is no folder of what_is_in_cls: {ABOUT} is of another form ({error!r})") from None


def split_name(encoder: str) -> tuple[str, int]:
    """The kind of an encoder, and the number of its pretraining.

    >>> split_name("nsp#2"), split_name("nsp")
    (('nsp', 2), ('nsp', 0))
    """
    kind, _, number = encoder.rpartition("#")
    return (kind, int(number)) if kind and number.isdecimal() else (encoder, 0)


def read_part(out: Path, name: str) -> list[Part]:
    """One part of every kind of encoder that has it."""
    found: dict[str, Part] = {}
    for encoder in read_about(out)["encoders"]:
        folder = out / encoder / name
        if (folder / "results.jsonl").exists() and (rows := read_rows(folder)):
            kind, pretraining = split_name(encoder)
            part = found.setdefault(kind, Part(kind, {}, []))
            part.rows.extend(dataclasses.replace(row, pretraining=pretraining) for row in rows)
            part.folder.update({row.id: folder for row in rows})
    return list(found.values())


def by_layer(out: Path, part: str = "layers") -> pd.DataFrame:
    """Probes of every layer: a line per encoder, task, layer and pooling with mean, low, high and majority."""
    frames = []
    for found in read_part(out, part):
        rows = [row for row in found.rows if row.regime == "probe"]
        frames.append(_named(summarise(rows, found.folder), found.encoder))
    return _with_readout(_joined(frames))


def attention(out: Path) -> list[Json]:
    """Attention of [CLS], a dictionary per kind of encoder and task: encoder, title, texts, and arrays shares [N H 3],
    entropy [N H] and evenness [N H], averaged over its pretrainings."""
    found: dict[tuple[str, str], list[Json]] = {}
    for encoder in read_about(out)["encoders"]:
        for path in sorted((out / encoder / "attention").glob("*.json")):
            content = read_json(path, remedy="delete it, and give the command again")
            if "shares" in content:
                found.setdefault((split_name(encoder)[0], path.stem), []).append(content)
    names = ("shares", "entropy", "evenness")
    return [
        alike[0] | {name: np.mean([one[name] for one in alike], 0) for name in names} | {"encoder": kind}
        for (kind, _), alike in found.items()
    ]


def knocked_out(out: Path) -> pd.DataFrame:
    """Probes of the last layer while [CLS] attends only to itself in blocks `first` to `last` (0 and 0: the unchanged
    encoder), with the difference to the unchanged encoder under the same pooling."""
    frames = []
    for found in read_part(out, "knockout"):
        for readout in dict.fromkeys(row.readout for row in found.rows if row.blind is None):
            rows = [row for row in found.rows if row.readout == readout]
            frames.append(_named(_compared(rows, found.folder, readout), found.encoder))
    if not frames:
        return _joined([])
    frame = _corrected(_joined(frames))
    blind = [pair if isinstance(pair, tuple) else (0, 0) for pair in frame["blind"]]
    first, last = zip(*blind, strict=True)
    return _with_readout(frame.assign(first=first, last=last, readout=frame["reading"]))


def positions(out: Path) -> pd.DataFrame:
    """The last layer read from every position, probed and fine-tuned, each with its difference to [CLS]."""
    frames = []
    for name in ("layers", "finetune"):
        for found in read_part(out, name):
            rows = found.at(found.last)
            reference = f"{found.last}/cls/none"
            frames.append(_named(_compared(rows, found.folder, reference), found.encoder))
    return _corrected(_with_readout(_joined(frames)))


def averages(out: Path) -> pd.DataFrame:
    """Mean minus [CLS] at the last layer in every regime, a line per encoder, task and regime, with what the task
    needs."""
    frame = positions_and_cosines(out)
    if frame.empty:
        return frame
    frame = frame[(frame["pooling"] == "mean") & frame["difference"].notna()]
    tasks = read_about(out)["tasks"]
    return _corrected(frame.assign(needs=[tasks[name]["needs"] for name in frame["task"]]))


def positions_and_cosines(out: Path) -> pd.DataFrame:
    """`positions`, and similarity without training beside it."""
    frames = [positions(out)]
    for found in read_part(out, "cosine"):
        frame = _compared(found.rows, found.folder, f"{found.last}/cls/none")
        frames.append(_with_readout(_named(frame, found.encoder)))
    return _joined(frames)


def heads(out: Path) -> pd.DataFrame:
    """Predictions of the pair head that an encoder was pretrained with, fed with [CLS] and with the mean: a line for
    each with its accuracy (mean, low, high) and `probability`, counts in ten bins of pairs that follow and do not."""
    frames = []
    for found in read_part(out, "pairs"):
        if rows := [row for row in found.rows if row.regime == "head"]:
            counts = {readout: _total(rows, readout) for readout in dict.fromkeys(row.name for row in rows)}
            frame = _compared(rows, found.folder, rows[0].name)
            frames.append(_named(frame.assign(probability=frame["readout"].map(counts)), found.encoder))
    return _with_readout(_joined(frames))


def _total(rows: Sequence[Row], readout: str) -> dict[str, list[int]]:
    """The counts of a head's probabilities, summed over pretrainings."""
    counts = [row.details["probability"] for row in rows if row.readout == readout]
    return {kind: np.sum([one[kind] for one in counts], 0).tolist() for kind in counts[0]}


def single_sentences(out: Path) -> pd.DataFrame:
    """[CLS] and mean at the last layer on tasks of one sentence, probed and fine-tuned, each with its difference to
    the first encoder (same readout, pretraining, seeds and examples)."""
    return _against_first(out, ("layers", "finetune"), 1)


def pairs(out: Path) -> pd.DataFrame:
    """Fresh probes of the last layer for whether B follows A, each with its difference to the first encoder."""
    return _against_first(out, ("pairs",), 2)


def pair_averages(out: Path) -> pd.DataFrame:
    """Fresh probes of the last layer for whether B follows A, read from the mean, with their difference to [CLS]."""
    frames = []
    for found in read_part(out, "pairs"):
        rows = [row for row in found.at(found.last) if row.regime != "head"]
        frames.append(_named(_compared(rows, found.folder, f"{found.last}/cls/none"), found.encoder))
    frame = _with_readout(_joined(frames))
    return frame if frame.empty else _corrected(frame[frame["pooling"] == "mean"])


def _against_first(out: Path, names: Sequence[str], texts: int) -> pd.DataFrame:
    lines, tasks = [], read_about(out)["tasks"]
    for name in names:
        parts = read_part(out, name)
        for found in parts:
            rows = [row for row in found.at(found.last) if parts_of(row.readout)[1] in ("cls", "mean")]
            rows = [row for row in rows if tasks[row.task]["texts"] == texts and row.regime != "head"]
            if not rows:
                continue
            frame = _named(summarise(rows, found.folder), found.encoder)
            first = parts[0]
            changes = [_between(first, found, line) for line in frame.itertuples()]
            lines.append(frame.assign(**{key: [change[key] for change in changes] for key in changes[0]}))
    return _corrected(_with_readout(_joined(lines)))


CHANGE = ["difference", "difference_low", "difference_high", "p"]
"""Columns of a difference. `difference_over` names what its interval is over, and `pairs` is the number of pairs of
runs; the first three with the suffix `_kept` are over the `pairs_kept` pairs without a degenerate run."""
_KEPT = ["pairs", "pairs_kept", "difference_kept", "difference_low_kept", "difference_high_kept"]
_NONE = dict.fromkeys([*CHANGE, *_KEPT], math.nan) | {"difference_over": "", "verdict": False}


def _between(first: Part, other: Part, line: Any) -> Json:
    """The difference of a cell to the same cell of another encoder."""
    pooling = parts_of(line.readout)[1]
    rows = [
        [row for row in part.at(part.last) if row.task == line.task and parts_of(row.readout)[1] == pooling]
        for part in (first, other)
    ]
    trained = [[row for row in side if not row.is_degenerate(line.evaluation)] for side in rows]
    found, kept = (
        None if first is other else estimate([*map(finished, sides)], line.evaluation, first.folder | other.folder)
        for sides in (rows, trained)
    )
    if found is None:
        return _NONE
    verdict = may_judge(map(list, rows), line.evaluation)
    figures = dict(zip(CHANGE, found.in_points(), strict=True)) | {"difference_over": found.level, "pairs": found.runs}
    without = [kept.runs, *kept.in_points()[:3]] if kept else [0, *[math.nan] * 3]
    return _NONE | {"verdict": verdict} | figures | dict(zip(_KEPT[1:], without, strict=True))


def _compared(rows: list[Row], folder: Where, reference: str) -> pd.DataFrame:
    """Scores and their differences to a reference, each with its interval in columns of its own."""
    summary = summarise(rows, folder)
    if reference not in set(summary["readout"]):
        return summary.assign(**_NONE)
    compared = differences(rows, folder, reference)
    names = {f"{name}{which}": f"difference_{name}{which}" for name in ("low", "high") for which in ("", "_kept")}
    compared = compared.rename(columns=names | {"over": "difference_over"})
    keys = ["regime", "task", "evaluation", "readout"]
    return summary.merge(compared[[*keys, *_NONE]], "left", on=keys).fillna({"difference_over": "", "verdict": False})


def _corrected(frame: pd.DataFrame) -> pd.DataFrame:
    return frame if frame.empty else correct(frame)


def _named(frame: pd.DataFrame, encoder: str) -> pd.DataFrame:
    return frame.assign(encoder=encoder)


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"readout": pd.Series(dtype=str)})


def _with_readout(frame: pd.DataFrame) -> pd.DataFrame:
    """Add the parts of the readout as columns; layer is a number if the layers spec is one."""
    if frame.empty:
        return frame
    parts = pd.DataFrame(frame["readout"].map(parts_of).tolist(), index=frame.index)
    return frame.assign(layer=pd.to_numeric(parts[0], errors="coerce"), pooling=parts[1])
