"""Tasks of one's own: a TOML file, or a folder of files with names and columns that are recognised.

train = "train.csv"
validation = "dev.csv"
text = "review"
label = "verdict"
"""

import re
import tomllib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bert_jax.errors import InputError, unknown
from bert_jax.json_object import JsonObject
from bert_jax.tasks import hub_data
from bert_jax.tasks.table_files import FORMATS, Form, Table, Value, is_parts, read_table
from bert_jax.tasks.task import OwnFiles, Split, Task

SUITE = "own"
KEYS = {
    "name": "name on the command line and in rows; by default that of the file",
    "title": "name in tables; by default `name`",
    "needs": "what the task asks of a text, in a sentence",
    "hub": "data set of the Hugging Face hub, OWNER/NAME or OWNER/NAME/CONFIG; files are then its splits",
    "train": "file to train on",
    "validation": "file to score, or to choose a probe's penalty on if `test` is scored",
    "test": "file to score if `evaluate` says so, or if there is no other",
    "evaluate": "validation or test",
    "folds": "score `train` itself by so many folds (probes only)",
    "text": "column of the text, or a list of two for pairs",
    "label": "column of the label",
    "group": "column that divides the rows into groups",
    "classes": "names of the classes in order; by default those in `train`, sorted",
    "scores": "lowest and highest score, for scores in place of classes",
    "metrics": "accuracy, f1 (of the second of two classes), mcc; or pearson, spearman. The first is the headline",
    "directed": "true if swapping the two texts may change the label",
    "encoding": "of text files; by default utf-8",
    "delimiter": "between fields; by default a comma in .csv, a tab in .tsv",
    "quotes": "true or false: may fields stand in quotes; by default in .csv only",
    "header": 'false if the first row has no names; columns are then "0", "1", ...',
}
"""Key of a description -> its meaning."""
_SPLITS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
"""Split -> names of its file in a folder."""
_PAIRS = {
    ("sentence1", "sentence2"): False,
    ("text1", "text2"): False,
    ("text_a", "text_b"): False,
    ("question1", "question2"): False,
    ("premise", "hypothesis"): True,
    ("question", "sentence"): True,
    ("question", "answer"): True,
    ("query", "passage"): True,
}
"""Recognised columns of pairs -> whether their order matters."""
_TEXTS = ("text", "sentence", "review", "comment", "content", "tweet")
_LABELS = ("label", "class", "category", "score", "target", "rating", "stars", "gold_label", "sentiment", "similarity")
_MANY = 20
"""Number of different whole numbers above which labels are not taken for classes."""
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")


class _Columns(NamedTuple):
    texts: tuple[str, ...]
    label: str
    directed: bool


def is_own(spec: str) -> bool:
    """True for the path of a description or a folder, in place of the name of a task."""
    return spec.endswith(".toml") or "/" in spec or Path(spec).is_dir()


def load_task(place: Path) -> Task:
    """Load a task from its description, or from a folder with train.EXT, validation.EXT (or dev.EXT) and test.EXT.

    `hub:OWNER/NAME` in place of a path is a data set of the Hugging Face hub.

    Columns and classes that the description does not name are recognised in the first of the files.

    Raises:
        InputError: a file or a column is missing or damaged; a key is unknown or has a wrong value; what is not named
            cannot be recognised; all labels are of one class.
    """
    about, home = _describe(place)
    splits = _find_splits(about, home)
    form = Form(
        about.field("encoding", str, "utf-8"),
        about.field("delimiter", str, ""),
        about.field("quotes", bool, None),
        about.field("header", bool, True),
    )
    table = read_table(next(iter(splits.values())), form)
    columns = _find_columns(about, table)
    classes, scores = _find_labels(about, table, columns.label)
    evaluate, folds = _find_evaluation(about, splits)
    name = about.field("name", str, place.resolve().stem)
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"{about.path}: name {name!r} may have letters, digits, _ - and . only; write name = ...")
    return Task(
        name=name,
        title=about.field("title", str, name),
        texts=columns.texts,
        classes=classes,
        metrics=tuple(about.strings("metrics")) or (("accuracy",) if classes else ("pearson", "spearman")),
        evaluations=(f"{folds} folds" if folds else evaluate,),
        train="train" if "train" in splits else "",
        folds=folds,
        validation="validation" if evaluate == "test" and {"train", "validation"} <= set(splits) else "",
        directed=about.field("directed", bool, columns.directed),
        needs=about.field("needs", str, ""),
        suite=SUITE,
        files=OwnFiles(tuple(splits.items()), columns.label, about.field("group", str, ""), scores, form),
    )


def read_own(task: Task, split: str) -> Split:
    """Read one split of a task of one's own, in file order. Empty texts are counted in a warning.

    Returns:
        The rows; labels are None if the file has no such column, or no label in any row.

    Raises:
        InputError: there is no such split, a file or a column is missing or damaged, a text is no text, or a label is
            missing, is not one of the task's classes, or is not a number in the task's range.
    """
    assert task.files is not None, "a task of one's own has files"
    paths = dict(task.files.splits)
    if split not in paths:
        raise unknown(f"split of {task.title}", split, paths)
    table = read_table(paths[split], task.files.form)
    texts = [_texts(table, column) for column in task.texts]
    groups = [_label(value) for value in _column(table, task.files.group, "group")] if task.files.group else None
    if split != task.train and task.files.label not in table.columns:
        return Split(texts[0], texts[1] if len(texts) == 2 else None, None, groups)
    labels = _parse_labels(task, table, may_be_hidden=split != task.train)
    if labels is not None and split == task.train and task.classes and len(set(labels)) < 2:
        only = task.classes[labels[0]]
        raise InputError(f"{table.path}, column {task.files.label!r}: all labels are {only!r}; two classes are needed")
    return Split(texts[0], texts[1] if len(texts) == 2 else None, labels, groups)


def _describe(place: Path) -> tuple[JsonObject, Path]:
    """The description, and the folder that its files are named in."""
    if str(place).startswith(hub_data.PREFIX):
        return JsonObject(place, {}), hub_data.fetch(str(place).removeprefix(hub_data.PREFIX))
    if place.is_dir():
        inside = sorted(place.glob("*.toml"))
        if not inside:
            return JsonObject(place, {}), place
        if len(inside) > 1:
            raise InputError(f"{place}: several descriptions in it ({', '.join(p.name for p in inside)}); name one")
        place = inside[0]
    if not place.is_file():
        raise InputError(f"{place}: no such file or folder; name the description of a task, or the folder of its files")
    try:
        content = tomllib.loads(place.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{place}: not TOML ({error}); correct it") from None
    for key in content:
        if key not in KEYS:
            raise unknown(f"key in {place}", key, KEYS)
    about = JsonObject(place, content)
    hub = about.field("hub", str, "")
    return about, hub_data.fetch(hub) if hub else place.parent


def _find_splits(about: JsonObject, home: Path) -> dict[str, Path]:
    found = {name: home / about.field(name, str, "") for name in _SPLITS if name in about.content}
    if found:
        return found
    for name, stems in _SPLITS.items():
        files = [path for stem in stems for path in sorted(home.glob(f"{stem}.*")) if path.suffix.lower() in FORMATS]
        files += [home / stem for stem in stems if is_parts(home / stem)]
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise InputError(f"{home}: several files for {name} ({names}); say which in a description, NAME.toml")
        found |= dict.fromkeys([name] if files else [], *files)
    if not found:
        raise InputError(f"{about.path}: no file train.EXT, validation.EXT or test.EXT; EXT is one of {_formats()}")
    return found


def _formats() -> str:
    return ", ".join(ending[1:] for ending in FORMATS)


def _find_evaluation(about: JsonObject, splits: dict[str, Path]) -> tuple[str, int]:
    """The split to score, and the number of folds if it is the training split."""
    folds = about.field("folds", int, 0, least=2)
    if folds:
        if "train" not in splits or "evaluate" in about.content:
            raise InputError(f"{about.path}: folds divide `train`; give it, and leave `evaluate` out")
        return "", folds
    evaluate = about.field("evaluate", str, "validation" if "validation" in splits else "test")
    if evaluate not in ("validation", "test"):
        raise InputError(f"{about.path}: evaluate is {evaluate!r}; it must be validation or test")
    if evaluate not in splits:
        raise InputError(f"{about.path}: no {evaluate} file to score; give one, or folds = 10 for probes")
    return evaluate, 0


def _find_columns(about: JsonObject, table: Table) -> _Columns:
    names = {name.lower(): name for name in table.columns}
    given = about.content.get("text")
    texts = tuple([given] if isinstance(given, str) else about.strings("text"))
    if "text" in about.content and not 1 <= len(texts) <= 2:
        raise InputError(f"{about.path}: text names {len(texts)} columns; it must name one, or two for pairs")
    directed = False
    if not texts:
        pairs = [tuple(names[one] for one in pair) for pair in _PAIRS if set(pair) <= set(names)]
        directed = any(_PAIRS[pair] for pair in _PAIRS if set(pair) <= set(names))
        texts = _the_only(pairs or [(names[one],) for one in _TEXTS if one in names], "text", table)
    label = about.field("label", str, "")
    label = label or _the_only([(names[one],) for one in _LABELS if one in names], "label", table)[0]
    for key, column in [*(("text", text) for text in texts), ("label", label)]:
        _column(table, column, key)
    return _Columns(texts, label, directed and len(texts) == 2)


def _the_only(known: Sequence[tuple[str, ...]], key: str, table: Table) -> tuple[str, ...]:
    if len(known) == 1:
        return known[0]
    found = f"{len(known)} may be it" if known else "none of its columns is recognised"
    raise InputError(
        f"{table.path}: which column is the {key}? {found}; it has {', '.join(map(repr, table.columns))}. "
        f"Write {key} = ... in the description"
    )


def _column(table: Table, name: str, key: str) -> list[Value]:
    if name not in table.columns:
        raise InputError(
            f"{table.path}: no column {name!r}; it has {', '.join(map(repr, table.columns))}. Correct the file, or "
            f"{key} = ... in the description"
        )
    return table.columns[name]


def _texts(table: Table, name: str) -> list[str]:
    """The texts of a column, None as an empty one."""
    values = ["" if value is None else value for value in _column(table, name, "text")]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        row = next(row for row, value in enumerate(values) if not isinstance(value, str))
        raise InputError(f"{table.where(row, name)}: {values[row]!r:.40} is not a text; correct it")
    empty = [row for row, text in enumerate(texts) if not text.strip()]
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        warnings.warn(f"{table.where(empty[0], name)}: the text is empty{more}", stacklevel=3)
    return texts


def _label(value: Value) -> str:
    """The name of a class: 1.0 is 1, and a truth value is true or false, as in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    whole = isinstance(value, float) and value.is_integer()
    return "" if value is None or value != value else str(int(value) if whole else value).strip()  # type: ignore[call-overload]


def _find_labels(about: JsonObject, table: Table, column: str) -> tuple[tuple[str, ...], tuple[float, float]]:
    """The classes, or none and the range of the scores."""
    classes = tuple(map(_label, about.field("classes", list, None) or ()))
    scores = about.field("scores", list, None)
    if scores is not None:
        if classes or len(scores) != 2 or not all(type(x) in (int, float) for x in scores) or scores[0] >= scores[1]:
            raise InputError(f"{about.path}: scores is the lowest and the highest, such as [0, 5], without classes")
        return (), (float(scores[0]), float(scores[1]))
    if classes:
        if len(set(classes)) < max(2, len(classes)):
            raise InputError(f"{about.path}: classes has {len(set(classes))} different names; two or more are needed")
        return classes, (0.0, 0.0)
    found = [_label(value) for value in table.columns[column]]
    kinds = sorted(set(found) - {""})
    numbers = all(_NUMBER.fullmatch(kind) for kind in kinds)
    if numbers and any(not float(kind).is_integer() for kind in kinds):
        return (), (-np.inf, np.inf)
    if (numbers and len(kinds) > _MANY) or len(kinds) > max(2, len(found) / 2):
        raise InputError(
            f"{table.path}, column {column!r}: {len(kinds)} different labels in {len(found)} rows; write "
            "scores = [LOWEST, HIGHEST], or name the classes: classes = [...]"
        )
    if len(kinds) < 2:
        only = f"all labels are {kinds[0]!r}" if kinds else "no row has a label"
        raise InputError(f"{table.path}, column {column!r}: {only}; two classes are needed")
    return tuple(sorted(kinds, key=float) if numbers else kinds), (0.0, 0.0)


def _parse_labels(task: Task, table: Table, may_be_hidden: bool) -> np.ndarray | None:
    assert task.files is not None, "a task of one's own has files"
    column = task.files.label
    labels = [_label(value) for value in _column(table, column, "label")]
    if may_be_hidden and set(labels) <= {"", "-1"} and "-1" not in task.classes:
        return None
    codes = {name: code for code, name in enumerate(task.classes)}
    low, high = task.files.scores
    for row, label in enumerate(labels):
        if label in codes:
            continue
        if not label:
            raise InputError(f"{table.where(row, column)}: no label; add it, or remove the row")
        if task.classes:
            raise InputError(
                f"{table.where(row, column)}: {unknown('label', label, task.classes)}; correct the row, or name all "
                "classes in the description"
            )
        if not _NUMBER.fullmatch(label) or not low <= float(label) <= high:
            within = f"a number from {low:g} to {high:g}" if np.isfinite(low) else "a number"
            raise InputError(f"{table.where(row, column)}: score {label!r} is not {within}; correct it")
    if task.is_regression:
        return np.array([float(label) for label in labels], np.float32)
    return np.array([codes[label] for label in labels], np.int32)
