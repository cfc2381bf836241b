"""The files of a GLUE submission (gluebenchmark.com/faq; Wang et al. 2019, arXiv 1804.07461), and the rules for them.

A submission is a zip archive of eleven files. Each has the header `index<TAB>prediction` and a line for each row of a
test set: its number from 0, and the name of a class as the site spells it, or a score.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError

HEADER = "index\tprediction"
_BINARY = ("0", "1")
_NLI = ("entailment", "neutral", "contradiction")
_TWO_WAY = ("entailment", "not_entailment")


class TestFile(NamedTuple):
    """A file of a submission.

    name: its name in the archive, without `.tsv`. trained_on: the task whose model predicts it. task, split: where its
    rows are published. rows: their number. labels: spelling of each class, in the order of the task; empty for scores.
    most_frequent: the prediction that fills the file of a task that was not run.
    """

    name: str
    trained_on: str
    task: str
    split: str
    rows: int
    labels: tuple[str, ...]
    most_frequent: str


FILES: dict[str, TestFile] = {
    file.name: file
    for file in (
        TestFile("AX", "mnli", "ax", "test", 1104, _NLI, "entailment"),
        TestFile("CoLA", "cola", "cola", "test", 1063, _BINARY, "1"),
        TestFile("MNLI-m", "mnli", "mnli", "test_matched", 9796, _NLI, "contradiction"),
        TestFile("MNLI-mm", "mnli", "mnli", "test_mismatched", 9847, _NLI, "contradiction"),
        TestFile("MRPC", "mrpc", "mrpc", "test", 1725, _BINARY, "1"),
        TestFile("QNLI", "qnli", "qnli", "test", 5463, _TWO_WAY, "not_entailment"),
        TestFile("QQP", "qqp", "qqp", "test", 390965, _BINARY, "0"),
        TestFile("RTE", "rte", "rte", "test", 3000, _TWO_WAY, "entailment"),
        TestFile("SST-2", "sst2", "sst2", "test", 1821, _BINARY, "1"),
        # A correlation with a constant is 0, whichever it is: the mean of the training scores.
        TestFile("STS-B", "stsb", "stsb", "test", 1379, (), "2.701"),
        TestFile("WNLI", "wnli", "wnli", "test", 146, _BINARY, "0"),
    )
}
"""The files of a submission by name. Most frequent are classes of the published training sets; those of MNLI and QNLI
are nearly balanced, and AX's is that of its published labels."""
_LEAST, _MOST = 0.0, 5.0


def files_of(task: str) -> list[TestFile]:
    """The files that a model of a task predicts; none for a task that is not in GLUE."""
    return [file for file in FILES.values() if file.trained_on == task]


def spell(file: TestFile, predictions: np.ndarray) -> list[str]:
    """The predictions column of a file.

    Args:
        file: the file.
        predictions: [rows] classes, or scores, which are clipped to 0 to 5.
    """
    if file.labels:
        return [file.labels[found] for found in predictions]
    return [f"{score:.3f}" for score in np.clip(predictions, _LEAST, _MOST)]


def fill(file: TestFile) -> list[str]:
    """The predictions column of a task that was not run: its most frequent class."""
    return [file.most_frequent] * file.rows


def check(columns: Mapping[str, Sequence[str]]) -> None:
    """Raise unless the predictions of a submission keep the benchmark's rules.

    Args:
        columns: name of a file -> its predictions column.

    Raises:
        InputError: a file is missing or unknown, has another number of rows, a label that the site does not know, or a
            score that is no number from 0 to 5.
    """
    missing, more = [*FILES.keys() - columns.keys()], [*columns.keys() - FILES.keys()]
    if missing or more:
        raise InputError(f"a submission has the files {', '.join(FILES)}; missing: {missing}, unknown: {more}")
    for name, column in columns.items():
        file = FILES[name]
        if len(column) != file.rows:
            raise InputError(f"{name}.tsv: {len(column):,} predictions for the {file.rows:,} rows of GLUE's test set")
        wrong = next((row for row, found in enumerate(column) if not _fits(file, found)), None)
        if wrong is not None:
            known = ", ".join(file.labels) or f"numbers from {_LEAST:g} to {_MOST:g}"
            raise InputError(f"{name}.tsv, row {wrong}: prediction {column[wrong]!r}; the site takes {known}")


def _fits(file: TestFile, found: str) -> bool:
    if file.labels:
        return found in file.labels
    try:
        return _LEAST <= float(found) <= _MOST
    except ValueError:
        return False
