"""SentEval's probing tasks (Conneau et al. 2018, arXiv 1805.01070): what a sentence vector knows of its sentence.

Each task is one file of all splits, a row of which is `tr|va|te`, the label and, in the last field, the sentence.
"""

from pathlib import Path

import numpy as np

from bert_jax.errors import InputError, unknown
from bert_jax.tasks.task import Split, Task
from bert_jax.tasks.tsv import read_lines

FOLDER = "probing"
"""Folder of the files, in SentEval beside that of the transfer tasks."""
_MARKS = {"train": "tr", "validation": "va", "test": "te"}
WORDS = 1000
"""Number of classes of word_content. Its labels are words, of which the package has no list: they are numbered in
alphabetical order, as in SentEval."""
_TOP = (
    "ADVP_NP_VP_. CC_ADVP_NP_VP_. CC_NP_VP_. IN_NP_VP_. NP_ADVP_VP_. NP_NP_VP_. NP_PP_. NP_VP_. OTHER PP_NP_VP_. "
    "RB_NP_VP_. SBAR_NP_VP_. SBAR_VP_. S_CC_S_. S_NP_VP_. S_VP_. VBD_NP_VP_. VP_. WHADVP_SQ_. WHNP_SQ_."
)


def _task(name: str, title: str, classes: str, needs: str) -> Task:
    names = tuple(classes.split()) or tuple(f"word {n}" for n in range(1, WORDS + 1))
    return Task(name, title, ("sentence",), names, ("accuracy",), ("test",), validation="validation", needs=needs)


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        _task("sentence_length", "Length", "0 1 2 3 4 5", "Number of words of the sentence, in six bins."),
        _task("word_content", "WordContent", "", "Which of a thousand words is in the sentence."),
        _task("tree_depth", "Depth", "5 6 7 8 9 10 11 12", "Depth of the syntax tree, apart from the length."),
        _task("top_constituents", "TopConstituents", _TOP, "Sequence of the constituents right below the root."),
        _task("bigram_shift", "BigramShift", "I O", "Whether two neighbouring words were swapped."),
        _task("past_present", "Tense", "PAST PRES", "Tense of the main verb."),
        _task("subj_number", "SubjNumber", "NN NNS", "Number of the subject of the main clause."),
        _task("obj_number", "ObjNumber", "NN NNS", "Number of the direct object of the main clause."),
        _task("odd_man_out", "OddManOut", "C O", "Whether a noun or verb was replaced by one that does not fit."),
        _task("coordination_inversion", "CoordinationInversion", "I O", "Whether two joined clauses were swapped."),
    )
}
"""The ten tasks by name, which is that of the file, with SentEval's titles."""


def read_probing(task: Task, folder: Path, split: str) -> Split:
    """Read one split of a probing task, in file order.

    Args:
        task: a row of `TASKS`.
        folder: holds the files.
        split: `train`, `validation` or `test`.

    Raises:
        InputError: an unknown split; the file is missing or empty; a row has fewer than three fields, another mark
            than tr, va and te, or a label that is not the task's; or the split has no rows.
    """
    if split not in _MARKS:
        raise unknown(f"split of {task.title}", split, _MARKS)
    path = folder / f"{task.name}.txt"
    rows = {number: line.split("\t") for number, line in enumerate(read_lines(path), 1) if line.strip()}
    for number, row in rows.items():
        if len(row) < 3 or row[0] not in _MARKS.values():
            raise InputError(
                f"{path}, row {number}: it is not tr, va or te, a label and a sentence, with tabs between; get the "
                "published file again"
            )
    codes = _number_words(path, rows) if task.name == "word_content" else {x: n for n, x in enumerate(task.classes)}
    for number, row in rows.items():
        if row[1] not in codes:
            known = "a label of the training rows" if task.name == "word_content" else f"one of {', '.join(codes)}"
            raise InputError(f"{path}, row {number}: label {row[1]!r} is not {known}; correct or remove the row")
    chosen = [row for row in rows.values() if row[0] == _MARKS[split]]
    if not chosen:
        raise InputError(f"{path}: no row begins with {_MARKS[split]}; get the published file again")
    return Split([row[-1].strip() for row in chosen], None, np.array([codes[row[1]] for row in chosen], np.int32))


def _number_words(path: Path, rows: dict[int, list[str]]) -> dict[str, int]:
    words = sorted({row[1] for row in rows.values() if row[0] == _MARKS["train"]})
    if len(words) > WORDS:
        raise InputError(f"{path}: {len(words):,} labels where there are {WORDS:,} words; get the published file again")
    return {word: n for n, word in enumerate(words)}
