"""Embed a large file with one text per line as an array with one row per line.

python -m experiments.embed --encoder all-MiniLM-L6-v2 --input sentences.txt --pooling mean --out vectors.npy

The file and the array are streamed, so neither needs to fit in memory. An incomplete array has a name that ends in
.partial and a file beside it that notes its progress, from which the same command continues.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import OmitArgPrefixes

from bert_jax.checkpoints.directory import fingerprint, resolve
from bert_jax.corpus.lines import blocks, read_lines
from bert_jax.errors import InputError
from bert_jax.files import plain, read_json, write_whole, writing
from bert_jax.parallel.devices import prepare_process
from bert_jax.pretrained import Embedder
from bert_jax.study.progress import progress_bar
from bert_jax.train.prefetch import Prefetch
from experiments.cli import run
from experiments.encoders import Case, load_encoder

_ROWS, _CHARACTERS = 8192, 8 << 20
"""Largest number of lines in memory at a time, and approximate number of their characters."""


@dataclass(frozen=True)
class EmbedConfig:
    """Embed every line of a file; the same command continues an interrupted run."""

    encoder: str
    """Model directory or hub id."""
    input: Path
    """UTF-8 file with one text per line, uncompressed or as .gz, .xz, .zst or .bz2; an empty line is a text, too."""
    out: Path
    """Array to write, float32 [lines, width], such as vectors.npy."""
    pooling: str | None = None
    """Pooling spec; mean by default. If none of pooling, layers, projection and normalize is given, the readout of a
    sentence-transformers directory is used."""
    layers: str | None = None
    """Layers spec; by default last."""
    projection: str | None = None
    """none, the default, or tanh for the checkpoint's own pooler."""
    normalize: bool | None = None
    """Divide each vector by its length."""
    max_length: int | None = None
    """Tokens, special ones included, that longer lines are truncated to; by default the limit of the model's directory,
    and at most the encoder's."""
    batch_size: int | None = None
    """Lines in a step; by default few long lines or many short ones."""
    field: str | None = None
    """Name of the field that holds the text, if each line is a JSON object (.jsonl)."""
    case: OmitArgPrefixes[Case] = Case()

    def __post_init__(self) -> None:
        if self.out.suffix != ".npy":
            raise InputError(f"--out {self.out}: it is a NumPy array, so its name must end in .npy")


def main(config: EmbedConfig) -> None:
    """Embed a file."""
    prepare_process()
    if config.out.exists():
        raise InputError(f"{config.out} exists; name another --out, or remove it")
    folder = resolve(config.encoder)
    pretrained = load_encoder(folder, encoder_only=False, case=config.case)
    spec, normalize = pretrained.choose(config.pooling, config.layers, config.projection, config.normalize)
    embedder = Embedder(pretrained, spec, config.batch_size, config.max_length, normalize)
    vectors = {"weights": fingerprint(folder), "readout": spec, "normalize": normalize, "limit": embedder.limit}
    if config.case.asked is not None:
        vectors["cased"] = config.case.asked
    settings = plain(vectors | {"field": config.field})
    with progress_bar() as bar:
        task = bar.add_task("reading", total=None, note="")
        # The whole file is read first, so that errors in its lines are raised before anything is computed.
        total = sum(1 for _ in read_lines(config.input, config.field))
        bar.update(task, total=total, description="embedding")
        output = Output(config.out, settings | {"input": _identity(config.input)}, total, embedder.width)
        bar.update(task, completed=output.done, note=f"going on from line {output.done + 1}" if output.done else "")
        with Prefetch(_tokenized(config, embedder, output.done), depth=1) as parts:
            for encodings in parts:
                output.append(embedder.vectors(encodings, output.done))
                bar.update(task, completed=output.done)
    output.finish()
    print(f"wrote {config.out}: {total:,} vectors of {embedder.width}")


def _tokenized(config: EmbedConfig, embedder: Embedder, skip: int) -> Iterator[Any]:
    """Tokenize the lines block by block; `Prefetch` runs this on a thread while vectors are computed."""
    for block in blocks(read_lines(config.input, config.field, skip), _ROWS, _CHARACTERS):
        yield embedder.tokenize(block, str(config.input))


def _identity(path: Path) -> dict[str, Any]:
    """Identify a file by path, size and modification time, without reading it."""
    found = path.stat()
    return {"path": str(path.resolve()), "size": found.st_size, "modified": found.st_mtime_ns}


class Output:
    """An array written to disk row by row, under a temporary name until it is complete.

    Args:
        path: path of the finished array.
        settings: everything that decides its rows, as plain JSON; a partial array with other settings is discarded.
        rows: number of rows of the finished array.
        width: width of a row.

    Raises:
        InputError: the path cannot be written, or the partial array is damaged.
    """

    def __init__(self, path: Path, settings: dict[str, Any], rows: int, width: int) -> None:
        self.path, self._settings, self.done = path, settings, 0
        self._partial, self._note = (path.with_name(f"{path.name}{end}") for end in (".partial", ".partial.json"))
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._partial.exists() and self._note.exists():
                self.done = self._found(rows, width)
            if not self.done:
                self._create(rows, width)
            # An array without rows cannot be memory-mapped.
            self._array = np.load(self._partial, mmap_mode="r+" if rows else None, allow_pickle=False)

    def append(self, vectors: np.ndarray) -> None:
        """Write the next rows, then record the progress."""
        with writing(self.path):
            self._array[self.done : self.done + len(vectors)] = vectors
            self._array.flush()
            self.done += len(vectors)
            self._write_note()

    def finish(self) -> None:
        """Rename the complete array to its final path."""
        assert self.done == len(self._array), "rows are missing"
        with writing(self.path):
            self._partial.replace(self.path)
            self._note.unlink(missing_ok=True)

    def _found(self, rows: int, width: int) -> int:
        """Number of rows that an earlier run with the same settings has written."""
        note = read_json(self._note, remedy="remove it to begin anew")
        try:
            shape = np.load(self._partial, mmap_mode="r", allow_pickle=False).shape if rows else (0, width)
        except ValueError as error:
            raise InputError(f"{self._partial} is damaged ({error}); remove it to begin anew") from None
        return int(note["done"]) if note["settings"] == self._settings and shape == (rows, width) else 0

    def _create(self, rows: int, width: int) -> None:
        self._note.unlink(missing_ok=True)
        if rows:
            np.lib.format.open_memmap(self._partial, "w+", np.float32, (rows, width)).flush()
            with open(self._partial, "r+b") as file:  # writing to a map on a full disk would kill the process (SIGBUS)
                os.posix_fallocate(file.fileno(), 0, self._partial.stat().st_size)
        else:
            with open(self._partial, "wb") as file:
                np.save(file, np.zeros((0, width), np.float32))
        self._write_note()

    def _write_note(self) -> None:
        text = json.dumps({"done": self.done, "settings": self._settings})
        write_whole(self._note, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    run(main, EmbedConfig)
