"""Read the texts of a TFDS data set, one document per row, without TensorFlow."""

import functools
import importlib
import shlex
from collections.abc import Iterator
from typing import Any

import tensorflow_datasets as tfds

from bert_jax.corpus.parts import Rows, TextSource
from bert_jax.errors import InputError, unknown
from bert_jax.tasks.tfds import prepare

_SPLIT = "train"
_AT_ONCE = 256
"""Rows fetched in one call, which is several times as fast as row by row."""


def find_rows(name: str) -> TextSource:
    """Find a data set by its TFDS name (`tfds:wikipedia/20230601.en`), prepared if needed; its split `train` is read.

    Raises:
        InputError: the data set does not exist, cannot be prepared here, or has no random access.
    """
    builder = _find_builder(name.removeprefix("tfds:"))
    try:
        prepare(builder)
    except InputError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(
            f"{reason}\nCheck the network, or set TFDS_DATA_DIR to the folder where it is prepared"
        ) from error
    except ImportError as error:
        raise InputError(f"{name}: TFDS needs more packages to prepare it: {error}") from error
    if _SPLIT not in builder.info.splits:
        raise unknown(f"split of {name}", _SPLIT, builder.info.splits)
    folder, split = builder.data_path, builder.info.splits[_SPLIT]
    _source(str(folder))
    return TextSource(name, folder, split.num_bytes, split.num_examples)


def _find_builder(name: str) -> tfds.core.DatasetBuilder:
    """Return a builder of already prepared data in any format, or else of a format with random access."""
    try:
        try:
            return tfds.builder(name, file_format="array_record")
        except tfds.core.DatasetNotFoundError:
            # TFDS finds its data sets by importing all of them, which fails without TensorFlow; importing one may work.
            importlib.import_module(f"tensorflow_datasets.text.{name.partition('/')[0]}")
            return tfds.builder(name, file_format="array_record")
    except ImportError as error:
        raise InputError(f"TFDS has no data set {name!r} that can be used without TensorFlow: {error}") from error
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"TFDS cannot use {name!r}: {reason:.300}") from error


@functools.cache
def _source(folder: str) -> Any:
    builder = tfds.builder_from_directory(folder)
    try:
        return builder.as_data_source(_SPLIT)
    except NotImplementedError as error:
        script = "tensorflow_datasets.scripts.convert_format"
        raise InputError(
            f"{folder} holds {builder.info.file_format.value}, which has no random access: convert it with "
            f"python -m {script} --out_file_format=array_record --dataset_dir={shlex.quote(str(folder))}"
        ) from error


def read_rows(rows: Rows, text_field: str) -> Iterator[bytes]:
    """Yield the texts of a range of rows, in order.

    Raises:
        InputError: the rows have no such feature, or it is not text.
    """
    source = _source(rows.folder)
    for first in range(rows.first, rows.last, _AT_ONCE):
        for row in source.__getitems__(range(first, min(first + _AT_ONCE, rows.last))):
            if not isinstance(row.get(text_field), bytes):
                raise InputError(
                    f"{rows.name}: no text in {text_field!r} of {', '.join(row)}; name it with --text-field"
                )
            yield row[text_field]
