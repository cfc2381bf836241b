"""Evaluation sets with the predictions of all readouts, in the form that the page's script reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.analysis.disagreements import merit
from bert_jax.analysis.estimates import Key, stack
from bert_jax.analysis.page.compact import Numbers, encode_classes, encode_scores
from bert_jax.analysis.page.examined import Examined, OfTask
from bert_jax.files import Json
from bert_jax.study.evaluation_rows import Example, has_examples, read_examples
from bert_jax.study.regimes import regime_title
from bert_jax.study.store import Row
from bert_jax.tasks.suites import SUITES

MOST = 10_000
"""Examples of a set that a page holds; of a larger set those on which readouts differ most."""


class Side(NamedTuple):
    """The finished runs of one readout, which is called `name` on the page."""

    name: str
    folder: Path
    runs: dict[Key, Row]


class EvaluationSet(NamedTuple):
    """An evaluation set with the readouts that were scored on it. examples: None if the folder lacks their texts."""

    title: str
    evaluation: str
    sides: list[Side]
    examples: list[Example] | None

    @property
    def row(self) -> Row:
        """One of its rows."""
        return next(iter(self.sides[0].runs.values()))


def texts_of(found: Examined, of: OfTask) -> list[Example] | None:
    """The examples of a set, or None if the folder is of an older version and lacks them.

    Raises:
        InputError: their file is damaged.
    """
    known = has_examples(found.folder, of.row, of.evaluation)
    return read_examples(found.folder, of.row, of.evaluation) if known else None


def collect(examined: Sequence[Examined]) -> list[EvaluationSet]:
    """The evaluation sets of some run folders: rows with the same texts and labels are one set."""
    sets: dict[tuple[str, str, str], EvaluationSet] = {}
    regimes = {of.regime for found in examined for of in found.tasks()}
    for number, found in enumerate(examined):
        for of in found.tasks():
            after = [regime_title(of.regime)] * (len(regimes) > 1) + [found.encoder] * (len(examined) > 1)
            sides = [
                Side(", ".join([found.names[name], *after]), found.folder, cell.ok)
                for name, cell in of.cells.items()
                if cell.ok
            ]
            digest = (of.row.config.get("data") or {}).get(of.evaluation, f"folder {number}")
            key = of.row.task, of.evaluation, digest
            if sides and key not in sets:
                sets[key] = EvaluationSet(of.label, of.evaluation, sides, texts_of(found, of))
            elif sides:
                examples = sets[key].examples or texts_of(found, of)
                sets[key] = sets[key]._replace(sides=sets[key].sides + sides, examples=examples)
    return list(sets.values())


def payload(of: EvaluationSet) -> Json:
    """The set as plain JSON for the script: texts, labels, and each side's predictions by seed."""
    stacked = [stack(list(side.runs.values()), of.evaluation, side.folder) for side in of.sides]
    labels, regression = stacked[0][1], of.row.is_regression
    kept = _most_different(stacked, regression)
    examples = None if of.examples is None else [of.examples[i] for i in kept]
    encode = encode_scores if regression else encode_classes
    return {
        "title": of.title,
        "rows": None if len(kept) == len(labels) else kept.tolist(),
        "total": len(labels),
        "classes": [] if regression else class_names(of.row, labels, of.examples, _classes(stacked)),
        "labels": _plain(encode(labels[kept])),
        "a": None if examples is None else [one.a for one in examples],
        "b": None if examples is None or not any(one.b is not None for one in examples) else [o.b for o in examples],
        "groups": [one.group for one in examples] if examples and any(one.group for one in examples) else None,
        "sides": [
            {
                "name": side.name,
                "seeds": [_seed(key, list(side.runs)) for key in side.runs],
                "predictions": [_plain(encode(found[kept])) for found in predictions],
            }
            for side, (predictions, _) in zip(of.sides, stacked, strict=True)
        ],
    }


def class_names(row: Row, labels: np.ndarray, examples: Sequence[Example] | None, number: int) -> list[str]:
    """Names of a task's classes: as its suite has them, or else as the examples' labels, or else by number."""
    task = SUITES.get(str(row.config.get("suite")), {}).get(row.task)
    if task is not None and len(task.classes) >= number:
        return list(task.classes)
    seen = {} if examples is None else {int(c): str(e.label) for c, e in zip(labels, examples, strict=True)}
    return [seen.get(one, f"class {one}") for one in range(number)]


def _classes(stacked: Sequence[tuple[np.ndarray, np.ndarray]]) -> int:
    return 1 + max(int(values.max()) for pair in stacked for values in pair)


def _most_different(stacked: Sequence[tuple[np.ndarray, np.ndarray]], regression: bool) -> np.ndarray:
    """The places of at most `MOST` examples, in order: those with the largest range of correctness over the sides."""
    labels = stacked[0][1]
    if len(labels) <= MOST:
        return np.arange(len(labels))
    merits = [np.mean([merit(one, labels, regression) for one in found], axis=0) for found, _ in stacked]
    return np.sort(np.argsort(-np.ptp(merits, axis=0), kind="stable")[:MOST])


def _seed(key: Key, keys: Sequence[Key]) -> str:
    pretraining, seed = key
    return f"{pretraining}.{seed}" if len({one for one, _ in keys}) > 1 else str(seed)


def _plain(numbers: Numbers) -> Json:
    return numbers._asdict()
