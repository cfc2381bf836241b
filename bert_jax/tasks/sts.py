"""Semantic textual similarity: sentence pairs with human scores, from the published folders.

There are three layouts: the SemEval tasks of 2012 to 2016 as distributed with SentEval (Conneau and Kiela 2018,
arXiv 1803.05449), with a pair of files per subset; the STS benchmark (Cer et al. 2017, arXiv 1708.00055); and
SICK (Marelli et al. 2014).
"""

from pathlib import Path
from typing import NamedTuple

from bert_jax.errors import InputError, unknown
from bert_jax.tasks.task import Split, Task
from bert_jax.tasks.tsv import Columns, parse_scores, read_columns


def _set(name: str, title: str, needs: str) -> Task:
    texts = ("sentence1", "sentence2")
    return Task(name, title, texts, (), ("spearman",), ("test",), train="", needs=needs, suite="sts")


SETS: dict[str, Task] = {
    task.name: task
    for task in (
        _set("sts12", "STS12", "News, captions and machine translations."),
        _set("sts13", "STS13", "Headlines and dictionary glosses; SMT, which is licensed, is in no published copy."),
        _set("sts14", "STS14", "Forums, news, headlines, captions, glosses and tweets."),
        _set("sts15", "STS15", "Forums, students' answers, belief, headlines and captions."),
        _set("sts16", "STS16", "Answers, headlines, plagiarism, post-editing and questions."),
        _set("stsb", "STS-B", "The benchmark's selection of 2012 to 2017."),
        _set("sickr", "SICK-R", "Plain sentences about scenes, with negations and exchanged roles."),
    )
}
"""The similarity sets by name."""

_FOLDERS = {f"sts{year}": f"STS{year}-en-test" for year in range(12, 17)} | {"stsb": "STSBenchmark", "sickr": "SICK"}


def find_set(task: Task, folder: Path) -> Path | None:
    """Find the folder of one of the `SETS`, in `folder` or, as in SentEval, in its `STS/`; None if it does not exist.

    Raises:
        InputError: `folder` itself does not exist.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give --sts-dir the folder that holds STS12-en-test/ and the like")
    name = _FOLDERS[task.name]
    return next((path for path in (folder / name, folder / "STS" / name) if path.is_dir()), None)


class _Layout(NamedTuple):
    """A layout with one file per split."""

    files: dict[str, str]
    columns: Columns
    """Columns of the two sentences and the score."""
    scores: tuple[float, float]
    """Lowest and highest score."""
    sources: bool
    """True if some rows have two more fields with the sources of the two sentences."""


_SCORES = (0.0, 5.0)
"""Range of the scores of all sets but SICK."""
BENCHMARK = {"train": "sts-train.csv", "validation": "sts-dev.csv", "test": "sts-test.csv"}
"""Split -> file of the STS benchmark."""
_LAYOUTS = (
    # In the original release, rows taken from the web end with two source fields.
    _Layout(BENCHMARK, (5, 6, 4), _SCORES, True),
    _Layout(
        {"train": "SICK_train.txt", "validation": "SICK_trial.txt", "test": "SICK_test_annotated.txt"},
        ("sentence_A", "sentence_B", "relatedness_score"),
        (1.0, 5.0),
        False,
    ),
)


def read_sts(folder: Path, split: str = "test") -> dict[str, Split]:
    """Read the scored pairs of one similarity data set, by subset.

    Args:
        folder: `STS12-en-test` and the like, `STSBenchmark` or `SICK`.
        split: `train`, `validation` or `test`; the SemEval folders have `test` only.

    Returns:
        {subset: pairs with float32 scores in file order}. A SemEval subset has the name in its files
        (`MSRvid`), a single file has its stem (`sts-test`). Pairs without a gold score are left out.

    Raises:
        InputError: the folder is missing or has none of the layouts; the split does not exist; a file is missing,
            empty or not UTF-8; a row has too few or too many fields; a score is not a plain decimal number in the
            set's range; a subset's two files differ in length.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of one STS data set, such as STS12-en-test")
    for layout in _LAYOUTS:
        files = layout.files
        if any((folder / name).is_file() for name in files.values()):
            if split not in files:
                raise unknown(f"split of {folder}", split, files)
            return {Path(files[split]).stem: _read_file(folder / files[split], layout)}
    return _read_subsets(folder, split)


def _read_file(path: Path, layout: _Layout) -> Split:
    a, b, scores = read_columns(path, layout.columns, layout.sources)
    return Split(list(a.values()), list(b.values()), parse_scores(path, scores, *layout.scores))


def _read_subsets(folder: Path, split: str) -> dict[str, Split]:
    paths = {path.stem.removeprefix("STS.input."): path for path in sorted(folder.glob("STS.input.*.txt"))}
    # ALL repeats the other files. A gold file without sentences (STS13's SMT) is ignored.
    paths.pop("ALL", None)
    if not paths:
        single = ", ".join(name for layout in _LAYOUTS for name in layout.files.values())
        raise InputError(f"{folder}: no STS data; it needs STS.input.NAME.txt with STS.gs.NAME.txt, or one of {single}")
    if split != "test":
        raise unknown(f"split of {folder}", split, ["test"])
    return {name: _read_subset(path, folder / f"STS.gs.{name}.txt") for name, path in paths.items()}


def _read_subset(path: Path, gold_path: Path) -> Split:
    # Rows of STS16 end with the sources of the pair.
    a, b = read_columns(path, (0, 1), sources=True, parallel=True)
    (gold,) = read_columns(gold_path, (0,), parallel=True)
    if len(gold) != len(a):
        raise InputError(f"{gold_path}: {len(gold)} rows for the {len(a)} of {path.name}; get both files again")
    scored = {number: cell for number, cell in gold.items() if cell.strip()}
    scores = parse_scores(gold_path, scored, *_SCORES)
    return Split([a[number] for number in scored], [b[number] for number in scored], scores)
