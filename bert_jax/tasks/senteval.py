"""The tasks of SentEval (Conneau and Kiela 2018, arXiv 1803.05449) from its published folders: transfer and probing.

SentEval scores MR, CR, SUBJ and MPQA by ten-fold cross-validation, the others on a test set. Regularisation is chosen
on the validation set of a task, or else on inner folds. The files of MR, CR, SUBJ, MPQA and TREC are Latin-1.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bert_jax.errors import InputError, unknown
from bert_jax.tasks import probing
from bert_jax.tasks.nli import read_nli
from bert_jax.tasks.sts import BENCHMARK, read_sts
from bert_jax.tasks.task import Split, Task
from bert_jax.tasks.tsv import (
    parse_classes,
    parse_scores,
    read_columns,
    read_lines,
    split_rows,
)

FOLDS = 10
_ONE, _TWO = ("sentence",), ("sentence1", "sentence2")
_POLARITY = ("negative", "positive")
_NLI = ("entailment", "neutral", "contradiction")


def _folds(name: str, title: str, classes: tuple[str, ...], needs: str) -> Task:
    return Task(name, title, _ONE, classes, ("accuracy",), (f"{FOLDS} folds",), folds=FOLDS, needs=needs)


def _split(
    name: str,
    title: str,
    texts: tuple[str, ...],
    classes: tuple[str, ...],
    metrics: tuple[str, ...],
    needs: str,
    validation: str = "",
    directed: bool = False,
) -> Task:
    return Task(name, title, texts, classes, metrics, ("test",), validation=validation, directed=directed, needs=needs)


_ROWS = (
    _folds("mr", "MR", _POLARITY, "Whether a sentence of a film review praises or blames."),
    _folds("cr", "CR", _POLARITY, "Whether a sentence of a customer's review praises or blames."),
    _folds("subj", "SUBJ", ("subjective", "objective"), "Whether a sentence judges a film or tells its plot."),
    _folds("mpqa", "MPQA", _POLARITY, "The polarity of a short phrase from the news."),
    _split(
        "sst2",
        "SST-2",
        _ONE,
        _POLARITY,
        ("accuracy",),
        "The polarity of a few decisive words, and what negates or weakens them.",
        "validation",
    ),
    _split(
        "sst5",
        "SST-5",
        _ONE,
        ("very negative", "negative", "neutral", "positive", "very positive"),
        ("accuracy",),
        "Polarity with its strength, in five grades.",
        "validation",
    ),
    _split(
        "trec",
        "TREC",
        _ONE,
        ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        ("accuracy",),
        "What kind of thing a question asks for.",
    ),
    _split(
        "mrpc",
        "MRPC",
        _TWO,
        ("not_equivalent", "equivalent"),
        ("accuracy", "f1"),
        "The overlap of two news sentences, and whether a detail in one changes what is reported.",
    ),
    _split(
        "snli",
        "SNLI",
        _TWO,
        _NLI,
        ("accuracy",),
        "Whether a picture's description makes a sentence true, false or neither.",
        "validation",
        directed=True,
    ),
    _split(
        "sicke",
        "SICK-E",
        _TWO,
        ("NEUTRAL", "ENTAILMENT", "CONTRADICTION"),
        ("accuracy",),
        "Whether one plain sentence makes another true, false or neither.",
        "validation",
    ),
    _split(
        "sickr",
        "SICK-R",
        _TWO,
        (),
        ("pearson", "spearman"),
        "How much of the meaning two plain sentences share, as a grade from 1 to 5.",
        "validation",
    ),
    _split(
        "stsb",
        "STS-B",
        _TWO,
        (),
        ("pearson", "spearman"),
        "How much of the meaning two sentences of news, captions or forums share, as a grade from 0 to 5.",
        "validation",
    ),
)

TASKS: dict[str, Task] = {task.name: replace(task, suite="senteval") for task in (*_ROWS, *probing.TASKS.values())}
"""SentEval's tasks by name. SICK-E's pair has no direction, as in SentEval."""

_FOLDERS = {
    "mr": ("MR", ("rt-polarity.neg", "rt-polarity.pos")),
    "cr": ("CR", ("custrev.neg", "custrev.pos")),
    "subj": ("SUBJ", ("subj.subjective", "subj.objective")),
    "mpqa": ("MPQA", ("mpqa.neg", "mpqa.pos")),
    "trec": ("TREC", ()),
    "sst2": ("SST/binary", ()),
    "sst5": ("SST/fine", ()),
    "mrpc": ("MRPC", ()),
    "snli": ("SNLI", ()),
    "sicke": ("SICK", ()),
    "sickr": ("SICK", ()),
    "stsb": ("STS/STSBenchmark", ()),
    **{name: (probing.FOLDER, (f"{name}.txt",)) for name in probing.TASKS},
}
_SST = {"train": "sentiment-train", "validation": "sentiment-dev", "test": "sentiment-test"}
_TREC = {"train": "train_5500.label", "test": "TREC_10.label"}
_MRPC = {"train": "msr_paraphrase_train.txt", "test": "msr_paraphrase_test.txt"}
_SNLI = {"train": "train", "validation": "dev", "test": "test"}
_SICK = {"train": "SICK_train.txt", "validation": "SICK_trial.txt", "test": "SICK_test_annotated.txt"}
_FILES = {
    "SST/binary": _SST,
    "SST/fine": _SST,
    "TREC": _TREC,
    "MRPC": _MRPC,
    "SNLI": _SNLI,
    "SICK": _SICK,
    "STS/STSBenchmark": BENCHMARK,
}


def read_senteval(task: Task, folder: Path, split: str) -> Split:
    """Read one split of a SentEval task from its published folders, in file order.

    Args:
        task: a row of `TASKS`.
        folder: contains `MR/`, `CR/`, `SST/binary/` ... (SentEval's `data/downstream`); the files of the probing tasks
            are in its `probing/` or, as in SentEval, in the one beside it.
        split: `train`, `validation` or `test`; a task scored by folds only has `train`, with all rows.

    Raises:
        InputError: unknown task or split; a folder or file is missing or empty; a row has too few or too many fields;
            a label is not one of the task's, or a score is not a plain decimal number from 1 to 5.
    """
    if task.name not in TASKS:
        raise unknown("task", task.name, TASKS)
    name, polar = _FOLDERS[task.name]
    home = _home(task, folder)
    if not home.is_dir():
        raise InputError(f"{home}: no such folder; give --senteval-dir the folder that holds SentEval's {name}/")
    if task.name in _READERS:
        return _READERS[task.name](task, home, split)
    _file({"train": ""}, task, split)
    return _read_polar([home / file for file in polar])


def _home(task: Task, folder: Path) -> Path:
    """The folder of a task. SentEval has that of the probing tasks beside the others' `downstream`."""
    name, _ = _FOLDERS[task.name]
    beside = folder.resolve().parent / name
    return beside if name == probing.FOLDER and beside.is_dir() and not (folder / name).is_dir() else folder / name


def why_absent(task: Task, folder: Path) -> str | None:
    """Return a sentence that names the files of a task missing from the folder, or None if there are none.

    Raises:
        InputError: the folder itself does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give --senteval-dir the folder that holds MR/, CR/ and the like")
    name, whole = _FOLDERS[task.name]
    files = whole or [
        file.format(_FILES[name][split])
        for split in ("train", task.validation, *task.evaluations)
        if split
        for file in (("s1.{}", "s2.{}", "labels.{}") if name == "SNLI" else ("{}",))
    ]
    missing = [file for file in files if not (_home(task, folder) / file).is_file()]
    return f"{folder / name} has no {', '.join(missing)}" if missing else None


def _file(files: dict[str, str], task: Task, split: str) -> str:
    if split not in files:
        raise unknown(f"split of {task.title}", split, files)
    return files[split]


def _read_polar(paths: list[Path]) -> Split:
    """Read one file per class, one sentence per line. An empty line (CR has four) becomes ".", as in SentEval."""
    texts = [[fields[0].strip() or "." for fields in _rows(path, 1, "latin-1").values()] for path in paths]
    labels = np.repeat(np.arange(len(paths), dtype=np.int32), [len(lines) for lines in texts])
    return Split([text for lines in texts for text in lines], None, labels)


def _rows(path: Path, width: int, encoding: str = "utf-8", blank: bool = True) -> dict[int, list[str]]:
    """Split the lines of a file into fields; without `blank`, skip blank lines."""
    lines = {number: line for number, line in enumerate(read_lines(path, encoding), 1) if blank or line.strip()}
    return split_rows(path, lines, (width,))


def _read_labelled(task: Task, path: Path, rows: dict[int, tuple[str, str]]) -> Split:
    """Build a split from one text and one label per row."""
    labels = {number: label.strip() for number, (_, label) in rows.items()}
    texts = [text.strip() for text, _ in rows.values()]
    return Split(texts, None, parse_classes(path, labels, task.classes))


def _read_trec(task: Task, home: Path, split: str) -> Split:
    path = home / _file(_TREC, task, split)
    cut = {number: line.partition(" ") for number, (line,) in _rows(path, 1, "latin-1", blank=False).items()}
    return _read_labelled(
        task, path, {number: (text, label.partition(":")[0]) for number, (label, _, text) in cut.items()}
    )


def _read_sst2(task: Task, home: Path, split: str) -> Split:
    path = home / _file(_SST, task, split)
    return _read_labelled(task, path, {n: (text, label) for n, (text, label) in _rows(path, 2, blank=False).items()})


def _read_sst5(task: Task, home: Path, split: str) -> Split:
    path = home / _file(_SST, task, split)
    cut = {number: line.partition(" ") for number, (line,) in _rows(path, 1, blank=False).items()}
    return _read_labelled(task, path, {number: (text, label) for number, (label, _, text) in cut.items()})


def _read_mrpc(task: Task, home: Path, split: str) -> Split:
    path = home / _file(_MRPC, task, split)
    a, b, labels = read_columns(path, ("#1 String", "#2 String", "Quality"))
    return Split(list(a.values()), list(b.values()), parse_classes(path, labels, task.classes))


def _read_snli(task: Task, home: Path, split: str) -> Split:
    return read_nli(home / f"labels.{_file(_SNLI, task, split)}")


def _read_sick(task: Task, home: Path, split: str) -> Split:
    path = home / _file(_SICK, task, split)
    label = "relatedness_score" if task.is_regression else "entailment_judgment"
    a, b, cells = read_columns(path, ("sentence_A", "sentence_B", label))
    labels = parse_scores(path, cells, 1, 5) if task.is_regression else parse_classes(path, cells, task.classes)
    return Split(list(a.values()), list(b.values()), labels)


def _read_stsb(task: Task, home: Path, split: str) -> Split:
    (rows,) = read_sts(home, split).values()
    return rows


_READERS: dict[str, Callable[[Task, Path, str], Split]] = {
    "trec": _read_trec,
    "sst2": _read_sst2,
    "sst5": _read_sst5,
    "mrpc": _read_mrpc,
    "snli": _read_snli,
    "sicke": _read_sick,
    "sickr": _read_sick,
    "stsb": _read_stsb,
    **dict.fromkeys(probing.TASKS, probing.read_probing),
}
