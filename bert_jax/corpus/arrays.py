"""The text of one split of a corpus as three `.npy` files, the arrays of `Corpus`, which are read by mapping memory."""

import hashlib
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from bert_jax.corpus.corpus import Corpus, Counts, Document
from bert_jax.corpus.search import coarse
from bert_jax.errors import InputError

ARRAYS = ("tokens", "sentences", "documents")
"""Fields of `Corpus`."""
CHECKED_BYTES = 1 << 28
"""Files up to this size are compared with their checksums whenever they are opened: at most 0.3 s each."""
_REMEDY = "put the original back or prepare again"


class ArrayFile(NamedTuple):
    """An entry of the manifest: the file of one array of a split, its size and its checksum."""

    file: str
    split: str
    array: str
    bytes: int
    sha256: str


def array_files(split: str) -> dict[str, str]:
    """The files of a split: array -> name."""
    return {array: f"{split}-{array}.npy" for array in ARRAYS}


def write_arrays(
    split: str, groups: Iterable[list[Document]], sizes: tuple[int, int, int], unk: int, files: Mapping[str, BinaryIO]
) -> tuple[list[ArrayFile], Counts]:
    """Write documents in order, holding only one group of them in memory.

    Args:
        split: name of the split.
        groups: the documents, all of one dtype.
        sizes: number of tokens, sentences and documents in all groups.
        unk: id of [UNK].
        files: array -> file to write to.

    Returns:
        The entries of the manifest, and what else is known of the text.

    Raises:
        OSError: a file cannot be written.
    """
    outputs = {array: _Output(files[array]) for array in ARRAYS}
    num_tokens, num_sentences, num_documents = sizes
    for array, number in (("sentences", num_sentences + 1), ("documents", num_documents + 1)):
        outputs[array].begin(np.dtype("<i8"), number)
        outputs[array].write(np.zeros(1, "<i8"))
    token = sentence = highest = paired = unknown = 0
    for documents in groups:
        tokens = np.concatenate([document.tokens for document in documents])
        lengths = np.concatenate([document.lengths for document in documents]).astype("<i8")
        counts = np.array([len(document.lengths) for document in documents], "<i8")
        if not token:
            outputs["tokens"].begin(tokens.dtype.newbyteorder("<"), num_tokens)
        outputs["tokens"].write(tokens)
        outputs["sentences"].write(token + np.cumsum(lengths))
        outputs["documents"].write(sentence + np.cumsum(counts))
        token, sentence = token + len(tokens), sentence + len(lengths)
        highest = max(highest, int(tokens.max()))
        unknown += int(np.count_nonzero(tokens == unk))
        paired += sum(len(document.tokens) for document in documents if len(document.lengths) > 1)
    rows = [
        ArrayFile(file, split, array, outputs[array].size, outputs[array].hash.hexdigest())
        for array, file in array_files(split).items()
    ]
    return rows, Counts(token, highest, paired, unk, unknown)


class _Output:
    """A file of one array that is written piece by piece."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.hash, self.size = file, hashlib.sha256(), 0

    def begin(self, dtype: np.dtype, number: int) -> None:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (number,)}
        np.lib.format.write_array_header_1_0(self, header)

    def write(self, content: bytes | np.ndarray) -> None:
        if isinstance(content, np.ndarray):
            content = content.astype(content.dtype.newbyteorder("<"), copy=False).tobytes()
        self._file.write(content)
        self.hash.update(content)
        self.size += len(content)


def open_arrays(folder: Path, rows: Iterable[ArrayFile], sizes: tuple[int, int, int], counts: Counts) -> Corpus:
    """Map the arrays of a split into memory; nothing is read but small files, whose checksums are compared.

    Args:
        folder: the corpus.
        rows: the split's entries of the manifest.
        sizes: its number of tokens, sentences and documents.
        counts: what else the manifest knows of it.

    Raises:
        InputError: a file is missing, or is not what the manifest says.
    """
    rows, found = tuple(rows), dict[str, np.ndarray]()
    for row in rows:
        check_file(folder, row, whole=row.bytes <= CHECKED_BYTES)
        try:
            found[row.array] = _map(folder / row.file, row.array == "tokens" and row.bytes > CHECKED_BYTES)
        except (ValueError, EOFError) as error:
            raise InputError(f"{folder / row.file} is not an array ({error}); {_REMEDY}") from None
    expected = {"tokens": sizes[0], "sentences": sizes[1] + 1, "documents": sizes[2] + 1}
    if {array: len(values) for array, values in found.items()} != expected:
        raise InputError(f"{folder}: its arrays have not the sizes that its manifest says; {_REMEDY}")
    paths = {row.array: folder / row.file for row in rows}
    # From mappings that end here: the pages that they touch would count as memory of the process.
    known = coarse(_map(paths["sentences"], True)), coarse(_map(paths["documents"], True))
    return Corpus(**found, counts=counts, coarse=known)


def _map(path: Path, scattered: bool) -> np.ndarray:
    """A file of `numpy.save` as a plain array of one axis: indexing a `numpy.memmap` costs several times as much.

    `scattered`: read no more than the places that are looked at, rather than 128 kB around each. For tokens, most of
    those are never looked at while they are in memory; the indices are small enough to stay there.
    """
    with open(path, "rb") as file:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if scattered and hasattr(mmap, "MADV_RANDOM"):
            content.madvise(mmap.MADV_RANDOM)
        return np.frombuffer(content, dtype, shape[0], file.tell())


def check_file(folder: Path, row: ArrayFile, whole: bool = True) -> None:
    """Compare the size of a file with the manifest, and its checksum if `whole`.

    Raises:
        InputError: the file is missing or differs.
    """
    path = folder / row.file
    if not path.is_file():
        raise InputError(f"{folder}: {row.file} of its manifest is missing; {_REMEDY}")
    if path.stat().st_size != row.bytes:
        raise InputError(
            f"{path} has {path.stat().st_size:,} bytes and not {row.bytes:,} as its manifest says; {_REMEDY}"
        )
    if whole:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != row.sha256:
                raise InputError(f"{path} differs from its checksum in the manifest; {_REMEDY}")
