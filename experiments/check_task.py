"""Check the data of a task before anything is trained on it: `python -m experiments.check_task reviews.toml`.

Prints what was read: columns, rows, classes, lengths, empty and duplicate texts, and the scores of two baselines.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from bert_jax.checkpoints.sentence_transformers import encoder_folder
from bert_jax.data.batching import encode_texts
from bert_jax.errors import InputError
from bert_jax.evaluate import metrics
from bert_jax.evaluate.bag_of_words import bag_of_words
from bert_jax.study.sources import READERS, Source, TaskSplits, read_task
from bert_jax.tasks.suites import find_task
from bert_jax.tasks.task import Split, Task, count_duplicates
from bert_jax.tokenizers.tokenizer import Tokenizer, load_tokenizer
from experiments.cli import run
from experiments.encoders import find_encoder


@dataclass(frozen=True)
class CheckTask:
    """Report on a task of your own: rows, classes, lengths, duplicates, and the scores of two baselines."""

    task: tyro.conf.Positional[str]
    """Description of the task, NAME.toml, or a folder with train.EXT, validation.EXT and test.EXT."""
    encoder: str | None = None
    """Model directory or hub id whose tokens are counted; by default words are counted."""
    max_length: int = 128
    """Limit of tokens; by default that of fine-tuning."""

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise InputError(f"--max-length {self.max_length}: it must be at least 8")


def main(config: CheckTask) -> None:
    """Print the report."""
    task = find_task(config.task)
    tokenizer = None if config.encoder is None else load_tokenizer(encoder_folder(find_encoder(config.encoder)))
    splits = read_task(Source(Path()), task)
    print(describe(task))
    others = {"validation": splits.validation} | splits.evaluations
    read = {task.train: splits.train} | ({} if task.folds else others) | _unscored(task, others)
    for name, split in read.items():
        if split is not None:
            print(f"\n{name}: {len(split.a):,} rows")
            for line in describe_split(task, split, tokenizer, config.max_length):
                print(f"  {line}")
            if splits.train is not None and split is not splits.train:
                shared = count_duplicates(task, splits.train, split)
                print(f"  {shared:,} rows have the texts of a training row ({shared / len(split.a):.0%})")
    print()
    for line in baselines(splits):
        print(line)


def describe(task: Task) -> str:
    """The task in a line: its columns, labels and metrics."""
    assert task.files is not None, "the command takes tasks of one's own only"
    low, high = task.files.scores
    within = f" from {low:g} to {high:g}" if np.isfinite(low) else ""
    labels = f"{len(task.classes)} classes ({', '.join(task.classes)})" if task.classes else f"scores{within}"
    texts = " and ".join(map(repr, task.texts))
    order = "" if len(task.texts) == 1 else ", in this order," if task.directed else ", in any order,"
    group = f", groups in {task.files.group!r}" if task.files.group else ""
    return (
        f"{task.title}: text in {texts}{order} and {labels} in {task.files.label!r}{group}; "
        f"{' and '.join(task.metrics)} on {', '.join(task.evaluations)}"
    )


def describe_split(task: Task, split: Split, tokenizer: Tokenizer | None, limit: int) -> list[str]:
    """The labels, groups, lengths, and empty and duplicate texts of a split, a line each."""
    lines = [_labels(task, split)]
    if split.groups is not None:
        lines.append("groups: " + ", ".join(f"{name} {count:,}" for name, count in Counter(split.groups).most_common()))
    if tokenizer is None:
        lengths = np.array([len(text.split()) for text in split.a])
        lengths += 0 if split.b is None else np.array([len(text.split()) for text in split.b])
        unit, cut = "words", " (--encoder counts its tokens)"
    else:
        encodings = encode_texts(tokenizer, split.a, split.b, 10**6, task.title)
        lengths = np.array([len(one.ids) for one in encodings])
        longer = int(np.count_nonzero(lengths > limit))
        unit, cut = "tokens", f"; {longer:,} rows are cut at {limit} ({longer / len(lengths):.0%})"
    median, most, longest = np.percentile(lengths, [50, 95, 100])
    lines.append(f"lengths: median {median:.0f}, 95% up to {most:.0f}, longest {longest:.0f} {unit}{cut}")
    empty = sum(not text.strip() for texts in (split.a, split.b or []) for text in texts)
    lines.append(f"{empty:,} empty texts; {count_duplicates(task, split, split):,} rows share their texts with another")
    return lines


def baselines(splits: TaskSplits) -> list[str]:
    """The scores of the baselines on each evaluation, a line each."""
    lines = []
    for name, split in splits.evaluations.items():
        found = {"most frequent class or mean score": metrics.majority(splits.task, split.gold)}
        if splits.train is not None and split is not splits.train:
            found["bag of words"] = bag_of_words(splits.task, splits.train, split) or {}
        for title, scores in found.items():
            text = ", ".join(f"{metric} {100 * value:.1f}" for metric, value in scores.items())
            lines.append(f"baseline on {name}, {title}: {text or 'no row has a word'}")
    return lines


def _labels(task: Task, split: Split) -> str:
    if split.labels is None:
        return "no labels: it can be predicted, not scored"
    if task.is_regression:
        low, high = split.labels.min(), split.labels.max()
        return f"scores from {low:g} to {high:g}, mean {split.labels.mean():.2f}"
    counts = np.bincount(split.labels, minlength=len(task.classes))
    return "classes: " + ", ".join(f"{name} {count:,}" for name, count in zip(task.classes, counts, strict=True))


def _unscored(task: Task, known: dict[str, Split | None]) -> dict[str, Split]:
    """The splits with a file that no command reads."""
    assert task.files is not None, "the command takes tasks of one's own only"
    names = [name for name, _ in task.files.splits if name != task.train and known.get(name) is None]
    return {name: READERS[task.suite].read(Source(Path()), task, name)[""] for name in names}


if __name__ == "__main__":
    run(main, CheckTask)
