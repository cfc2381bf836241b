"""Read any TFDS builder as a `Split`, without TensorFlow.

A builder prepared in a random-access format (ArrayRecord) is read through `as_data_source`. Features follow
GLUE's conventions: the texts named in `Task.texts`, `label`, and `idx`, the row's index in its file.
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.text.glue import Glue

from bert_jax.errors import InputError, unknown
from bert_jax.tasks import glue
from bert_jax.tasks.task import Split, Task

_RETRIES = 4
"""Download attempts. The ten of TFDS take three and a half minutes without a network; four take three seconds."""


def glue_builder(task: Task, data_dir: Path | None = None) -> tfds.core.GeneratorBasedBuilder:
    """Return the TFDS builder of a GLUE task, without downloading its data.

    Args:
        task: a row of `glue.TASKS`.
        data_dir: data folder of TFDS; None for its default, `~/tensorflow_datasets`.

    Raises:
        InputError: TFDS's GLUE has no such task, or its data is prepared in a format other than ArrayRecord.
    """
    if task.name not in glue.TASKS:
        raise unknown("task", task.name, glue.TASKS)
    try:
        return _Glue(config=task.name, file_format="array_record", data_dir=data_dir)
    except ValueError as error:
        raise InputError(
            f"TFDS cannot use the glue/{task.name} that is in {data_dir or 'its data folder'}: {error}\n"
            "Remove it, or name another folder (TFDS_DATA_DIR=DIR)"
        ) from error


def prepare(builder: tfds.core.DatasetBuilder) -> None:
    """Download and prepare a builder's data unless it is already prepared.

    Raises:
        InputError: a download fails, or the downloaded data fails the checks of TFDS.
    """
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with _few_retries():
            builder.download_and_prepare(download_config=config)
    except (OSError, zipfile.BadZipFile, tfds.download.DownloadError, NonMatchingChecksumError) as error:
        url = getattr(getattr(error, "request", None), "url", None) or "its source"
        reason = " ".join(str(error).split())
        raise InputError(
            f"TFDS cannot prepare {builder.info.full_name} from {url}: {type(error).__name__}: {reason:.200}\n"
            "Check the network, or read the published TSV folders with --glue-dir DIR"
        ) from error


def read(builder: tfds.core.DatasetBuilder, task: Task, split: str) -> Split:
    """Read one split of a builder, prepared if needed, sorted by `idx` if the builder has it.

    Args:
        builder: a builder whose features include `task.texts` and `label`.
        task: the task to read it as.
        split: a split of the builder.

    Returns:
        The rows; labels are None if all are -1, the mark of a hidden label in TFDS.

    Raises:
        InputError: as `prepare`; or the split is unknown or empty, a feature is missing, the classes are not the
            task's, a label is not one of them or not finite, or the data format has no random access.
    """
    prepare(builder)
    name = builder.info.full_name
    if split not in builder.info.splits:
        raise unknown(f"split of {name}", split, builder.info.splits)
    _check_features(builder, task)
    rows = _fetch(builder, split)
    if not rows:
        raise InputError(f"{name}: split {split!r} is empty; delete {builder.data_dir} and prepare it again")
    if "idx" in rows[0]:
        rows.sort(key=lambda row: int(row["idx"]))
    texts = [[row[text].decode() for row in rows] for text in task.texts]
    labels = _parse_labels(np.array([row["label"] for row in rows]), task, f"{name}, split {split!r}")
    return Split(texts[0], texts[1] if len(texts) == 2 else None, labels)


def _check_features(builder: tfds.core.DatasetBuilder, task: Task) -> None:
    features = builder.info.features
    for feature in (*task.texts, "label"):
        if feature not in features:
            raise InputError(
                f"{builder.info.full_name}: no feature {feature!r}; it has {', '.join(sorted(features))}; "
                f"read it as a task with these features, not as {task.title}"
            )
    names = getattr(features["label"], "names", None)
    if names is not None and tuple(names) != task.classes:
        raise InputError(
            f"{builder.info.full_name}: feature 'label' has the classes {', '.join(names)} where {task.title} has "
            f"{', '.join(task.classes) or 'scores'}; read it as a task with the same classes in the same order"
        )


def _fetch(builder: tfds.core.DatasetBuilder, split: str) -> list[dict[str, Any]]:
    try:
        source = builder.as_data_source(split)
    except NotImplementedError as error:
        raise InputError(
            f"{builder.data_dir}: holds {builder.info.file_format.value}, which has no random access; "
            "remove it, or name another folder"
        ) from error
    # One call is seven times as fast as row by row.
    rows: list[dict[str, Any]] = source.__getitems__(range(len(source)))
    return rows


def _parse_labels(labels: np.ndarray, task: Task, where: str) -> np.ndarray | None:
    if np.all(labels == -1):
        return None
    good = np.isfinite(labels) if task.is_regression else (labels >= 0) & (labels < len(task.classes))
    if not good.all():
        row = int(np.argmin(good))
        wanted = "a finite score" if task.is_regression else f"a class from 0 to {len(task.classes) - 1}"
        raise InputError(f"{where}, row {row} (from 0): label {labels[row]} is not {wanted}; correct the builder")
    return labels.astype(np.float32 if task.is_regression else np.int32)


class _Glue(Glue, skip_registration=True):  # type: ignore[call-arg, misc]
    """TFDS's GLUE, unpacked with `zipfile` because TFDS's own extraction imports TensorFlow."""

    name = "glue"
    # TFDS looks for checksums beside the class, but they are beside the parent class.
    _checksums_path = Glue._checksums_path

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> list[tfds.core.SplitGenerator]:
        splits: list[tfds.core.SplitGenerator] = super()._split_generators(_Unzipping(dl_manager))
        return splits


class _Unzipping:
    """A download manager that unpacks zip files into `unzipped/` in the download folder."""

    def __init__(self, manager: tfds.download.DownloadManager):
        self.download = manager.download
        self._folder = Path(manager.download_dir) / "unzipped"

    def download_and_extract(self, url: str) -> str:
        archive = Path(self.download(url))
        with zipfile.ZipFile(archive) as file:
            file.extractall(self._folder / archive.stem)
        return str(self._folder / archive.stem)


@contextmanager
def _few_retries() -> Iterator[None]:
    usual = downloader.MAX_RETRIES
    downloader.MAX_RETRIES = _RETRIES
    try:
        yield
    finally:
        downloader.MAX_RETRIES = usual
