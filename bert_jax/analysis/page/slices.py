"""Slices of an evaluation set, and the scores and differences of readouts on each.

Slices are by label, by group or subset, and, where the texts are known, by number of words, by negation and by the
words that two texts share.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.analysis.estimates import Key, estimate_stacked, stack
from bert_jax.analysis.statistics import Difference
from bert_jax.evaluate.metrics import OF_SCORES
from bert_jax.study.evaluation_rows import Example
from bert_jax.study.store import Row

LEAST = 20
"""Examples of the smallest slice that is scored."""
MOST_GROUPS = 30
"""Groups of a set that are scored, the largest ones."""
NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|without|cannot)\b|n['\u2019]t\b",
    re.IGNORECASE,
)
"""An English word that negates."""
_WORD = re.compile(r"\w+")


class Slice(NamedTuple):
    """Some examples of a set. kind: what the set is divided by. members: [N], True for its examples."""

    kind: str
    name: str
    members: np.ndarray


class SliceScore(NamedTuple):
    """The score of a readout on a slice, and its difference to a reference, in points.

    change: None for the reference itself, or if no seed finished on both sides. verdict: False if the difference cannot
    be judged, because all runs of a side are degenerate or because it does not vary.
    """

    of: Slice
    readout: str
    metric: str
    score: Difference
    change: Difference | None
    verdict: bool


def find_slices(
    labels: Sequence[str] | None,
    examples: Sequence[Example] | None,
    subsets: Mapping[str, np.ndarray] | None = None,
) -> list[Slice]:
    """The slices of a set that have at least `LEAST` examples and are not all of it.

    Args:
        labels: name of each example's class [N]; None for scores, whose range a slice would cut.
        examples: the examples [N], if their texts are known.
        subsets: name -> members [N], for a set of several.
    """
    found = [] if labels is None else list(_by_name("label", labels))
    found += [Slice("subset", name, members) for name, members in (subsets or {}).items()]
    if examples:
        groups = [one.group for one in examples]
        if any(groups):
            found += list(_by_name("group", [group or "(none)" for group in groups]))
        found += _by_text(examples)
    return [one for one in found if LEAST <= one.members.sum() < len(one.members)]


def _by_name(kind: str, names: Sequence[str]) -> Iterator[Slice]:
    values, counts = np.unique(np.array(names, object).astype(str), return_counts=True)
    chosen = values if kind == "label" else values[np.sort(np.argsort(-counts, kind="stable")[:MOST_GROUPS])]
    yield from (Slice(kind, value, np.array([name == value for name in names])) for value in chosen)


def _by_text(examples: Sequence[Example]) -> list[Slice]:
    words = [[_words(text) for text in (one.a, one.b) if text is not None] for one in examples]
    found = _thirds("length", np.array([sum(map(len, texts)) for texts in words]), "{:.0f} to {:.0f} words")
    negated = np.array([sum(bool(NEGATION.search(text)) for text in (one.a, one.b) if text) for one in examples])
    pairs = any(len(texts) > 1 for texts in words)
    names = ("in neither text", "in one of the texts", "in both texts") if pairs else ("without", "with")
    found += [Slice("negation", name, negated == count) for count, name in enumerate(names)]
    if pairs:
        shared = np.array([_overlap(*map(set, texts)) if len(texts) > 1 else 0.0 for texts in words])
        found += _thirds("shared words", 100 * shared, "{:.0f} to {:.0f}%")
    return found


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _overlap(a: set[str], b: set[str]) -> float:
    """Share of the words of two texts that are in both (Jaccard)."""
    return len(a & b) / max(1, len(a | b))


def _thirds(kind: str, values: np.ndarray, name: str) -> list[Slice]:
    """Three slices of about equal size; fewer where values are equal."""
    bounds = np.unique(np.quantile(values, [1 / 3, 2 / 3], method="lower"))
    place = np.searchsorted(bounds, values)
    members = [place == number for number in range(len(bounds) + 1)]
    return [Slice(kind, name.format(values[m].min(), values[m].max()), m) for m in members if m.any()]


def score_slices(
    found: Sequence[Slice],
    sides: Mapping[str, Mapping[Key, Row]],
    references: Mapping[str, str],
    judged: Collection[str],
    evaluation: str,
    folder: Path,
) -> Iterator[SliceScore]:
    """Score every readout on every slice, with intervals as in a table; the p-values are not corrected.

    The metric of a slice is the accuracy if all of its labels are one class, and otherwise that of the task, over the
    whole slice.

    Args:
        found: slices of the evaluation set.
        sides: readout -> its finished runs.
        references: readout -> the readout that it is compared with.
        judged: readouts whose difference on the whole set has a verdict.
        evaluation: the evaluation set.
        folder: the run folder.
    """
    loaded = {name: stack(list(runs.values()), evaluation, folder) for name, runs in sides.items() if runs}
    keys = {name: list(runs) for name, runs in sides.items()}
    for of in found:
        for name, (predictions, labels) in loaded.items():
            its = labels[of.members]
            metric = _metric(next(iter(sides[name].values())).metric, its)
            score = estimate_stacked(predictions[None][:, :, of.members], its, keys[name], metric).in_points()
            change, other = None, references.get(name, name)
            shared = [key for key in keys[name] if key in keys.get(other, ())]
            if other != name and shared:
                both = [_runs(loaded[side][0], keys[side], shared)[:, of.members] for side in (other, name)]
                change = estimate_stacked(np.stack(both), its, shared, metric).in_points()
            verdict = change is not None and name in judged and change.high > change.low
            yield SliceScore(of, name, metric, score, change, verdict)


def _metric(metric: str, labels: np.ndarray) -> str:
    name = metric.partition("_")[0]
    return name if name in OF_SCORES or len(np.unique(labels)) > 1 else "accuracy"


def _runs(predictions: np.ndarray, keys: Sequence[Key], chosen: Sequence[Key]) -> np.ndarray:
    return predictions[[keys.index(key) for key in chosen]]
