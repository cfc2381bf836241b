"""Run folders of a task of one's own, with texts and any predictions, as an ablation leaves them."""

import json

import numpy as np

from bert_jax.evaluate import metrics
from bert_jax.files import digest
from bert_jax.study.evaluation_rows import hash_texts
from bert_jax.study.store import ResultStore, Row
from bert_jax.tasks.task import Task

REVIEWS = Task("reviews", "Reviews", ("text",), ("bad", "good"), ("accuracy",))
CLOSENESS = Task("closeness", "Closeness", ("a", "b"), (), ("pearson",))


def write_folder(folder, task, texts, labels, sides, groups=None, encoder="my_tiny", digest_of_data="0123456789ab"):
    """A folder with a row for each (readout, seed) of `sides`: readout -> predictions [K N]; texts: (a, b) or None."""
    store = ResultStore(folder, {"encoder": encoder, "suite": "own"})
    labels = np.asarray(labels)
    if texts is not None:
        lines = [
            {"row": i, "hash": hash_texts(a, b), "a": a, "b": b, "label": name_of(task, labels[i])}
            | {"group": None if groups is None else groups[i]}
            for i, (a, b) in enumerate(texts)
        ]
        path = folder / "predictions" / f"{task.name}-{digest_of_data}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for readout, predictions in sides.items():
        for seed, found in enumerate(predictions):
            config = {"data": {"validation": digest_of_data}, "readout": readout, "seed": seed, "task": task.name}
            row = Row(
                id=digest([config, encoder]),
                task=task.name,
                title=task.title,
                metric=task.metrics[0],
                is_regression=task.is_regression,
                readout=readout,
                learning_rate=1e-4,
                seed=seed,
                status="ok",
                failed_step=None,
                seconds=1.0,
                train_examples=100,
                evaluation_examples={"validation": len(labels)},
                metrics={"validation": metrics.score(task, found, labels)},
                majority={"validation": metrics.majority(task, labels)},
                config=config,
            )
            store.append(row, {"validation": (found, labels)})
    return folder


def name_of(task, label):
    return task.classes[label] if task.classes else float(label)


def flipped(labels, share, seed):
    """Two-class predictions of which about `share` are wrong."""
    wrong = np.random.default_rng(seed).random(len(labels)) < share
    return np.where(wrong, 1 - np.asarray(labels), labels).astype(np.int32)
