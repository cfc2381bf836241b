"""The synthetic tasks as a TFDS builder, so that they share the code path of GLUE."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from bert_jax.files import Json
from bert_jax.tasks.synthetic.suite import ROWS, TASKS, read
from bert_jax.tasks.task import Task


@dataclasses.dataclass
class SyntheticConfig(tfds.core.BuilderConfig):  # type: ignore[misc]
    """One task of the suite, drawn with seed 0; `name` is the task's name."""

    task: Task | None = None


class SyntheticSuite(tfds.core.GeneratorBasedBuilder):  # type: ignore[misc]
    """The synthetic tasks with GLUE's features: the task's texts, `label` and `idx`.

    Needs no TensorFlow and no download:
    `SyntheticSuite(config="sentiment", data_dir=..., file_format="array_record")`, then
    `download_and_prepare()` and `as_data_source(split="train")`.
    """

    VERSION = tfds.core.Version("3.0.0")
    BUILDER_CONFIGS: ClassVar[list[SyntheticConfig]] = [
        SyntheticConfig(name=task.name, description=task.needs, task=task) for task in TASKS.values()
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        task = self.builder_config.task
        features: dict[str, object] = {text: tfds.features.Text() for text in task.texts}
        features["label"] = np.float32 if task.is_regression else tfds.features.ClassLabel(names=task.classes)
        features["idx"] = np.int32
        return tfds.core.DatasetInfo(
            builder=self, description=task.needs, features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[int, Json]]]:
        return {split: self._generate_examples(split) for split in ROWS}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, Json]]:
        task = self.builder_config.task
        rows = read(task, split)
        assert rows.labels is not None, "all of its splits have labels"
        texts = zip(rows.a, rows.b, strict=True) if rows.b is not None else zip(rows.a, strict=True)
        for index, (row, label) in enumerate(zip(texts, rows.labels, strict=True)):
            yield index, dict(zip(task.texts, row, strict=True)) | {"label": label.item(), "idx": index}


def prepared(task: Task, data_dir: Path) -> SyntheticSuite:
    """Return the builder of a task and, without any output, write its data to `data_dir` unless it exists."""
    builder = SyntheticSuite(config=task.name, data_dir=data_dir, file_format="array_record")
    tfds.disable_progress_bar()
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    tfds.enable_progress_bar()
    return builder
