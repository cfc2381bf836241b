"""Read the tensor bundle of a TensorFlow checkpoint (`.index`, `.data-00000-of-00001`) without TensorFlow.

The index is an SSTable in the format of LevelDB: a footer points to an index block, which points to data blocks, whose
keys share prefixes; a block ends with its compression type and checksum. Keys are variable names, values are protocol
buffers with the location of the numbers in the data shards. Sources: LevelDB's `table_format.md`, TensorFlow's
`tensor_bundle.proto`.
"""

import math
import re
import struct
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

import google_crc32c
import ml_dtypes
import numpy as np

from bert_jax.errors import InputError

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48
_DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 14: ml_dtypes.bfloat16, 19: np.float16}


class _Entry(NamedTuple):
    """Location of a tensor (BundleEntryProto)."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    is_sliced: bool


def find_checkpoint(folder: Path) -> Path | None:
    """Find the prefix of a folder's checkpoint (`bert_model.ckpt`); None if there is none.

    Among several, the one that TensorFlow's file `checkpoint` names as the latest is used.

    Raises:
        InputError: there are several, and no file `checkpoint` names one of them.
    """
    prefixes = sorted(path.with_suffix("") for path in folder.glob("*.index"))
    if len(prefixes) < 2:
        return prefixes[0] if prefixes else None
    latest = _latest(folder / "checkpoint")
    if latest is not None and folder / latest in prefixes:
        return folder / latest
    names = ", ".join(prefix.name for prefix in prefixes)
    named = f", and `checkpoint` names {latest}, which is not there" if latest is not None else ""
    raise InputError(
        f"{folder} has several TensorFlow checkpoints ({names}){named}; put the one to load in its own folder, "
        'or name it in a file `checkpoint`: model_checkpoint_path: "NAME"'
    )


def _latest(path: Path) -> str | None:
    """Read the checkpoint name in a TensorFlow CheckpointState, without its folder, which may be on another machine."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(r'^\s*model_checkpoint_path:\s*"(.+)"\s*$', text, re.MULTILINE)
    return found and re.split(r"[/\\]", found[1])[-1]


def checkpoint_files(prefix: Path) -> list[Path]:
    """List the files of a checkpoint: its index, then its data shards."""
    return [prefix.with_name(f"{prefix.name}.index"), *sorted(prefix.parent.glob(f"{prefix.name}.data-*"))]


def read_bundle(prefix: Path, wanted: Callable[[list[str]], Collection[str]]) -> dict[str, np.ndarray]:
    """Read the variables that `wanted` selects from all names, and verify their checksums; others are not read.

    Raises:
        InputError: a file is missing, truncated or damaged, or a variable is not stored as plain numbers.
    """
    index = prefix.with_name(f"{prefix.name}.index")
    try:
        table = dict(_table(index.read_bytes()))
        num_shards = _header(table.pop(b"", None))
        names = {name.decode(): value for name, value in table.items()}
        entries = {name: _entry(names[name]) for name in wanted(list(names))}
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise InputError(f"{index} is damaged or no checkpoint index ({error}); fetch or copy it again") from error
    return {name: _tensor(prefix, name, entry, num_shards) for name, entry in entries.items()}


def _tensor(prefix: Path, name: str, entry: _Entry, num_shards: int) -> np.ndarray:
    if entry.is_sliced or entry.dtype not in _DTYPES:
        reason = "is stored in slices" if entry.is_sliced else f"is of TensorFlow's type {entry.dtype}"
        raise InputError(f"{prefix}: {name} {reason}, which is not supported")
    path = prefix.with_name(f"{prefix.name}.data-{entry.shard:05d}-of-{num_shards:05d}")
    dtype = np.dtype(_DTYPES[entry.dtype])
    try:
        with path.open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; the checkpoint has {num_shards} such files"
        ) from error
    if len(data) != math.prod(entry.shape) * dtype.itemsize or _masked_crc(data) != entry.checksum:
        raise InputError(f"{path} is damaged or truncated: {name} fails its checksum; fetch or copy it again")
    return np.frombuffer(data, dtype).reshape(entry.shape)


def _table(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of an SSTable, in order."""
    footer = file[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("it does not end with the magic number of an index")
    _, _, at = _handle(footer, 0)  # the metaindex, which bundles leave empty
    for _, handle in _block(file, *_handle(footer, at)[:2]):
        yield from _block(file, *_handle(handle, 0)[:2])


def _block(file: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block: length of the prefix shared with the previous key, own key bytes, value bytes."""
    block, trailer = file[offset : offset + size], file[offset + size : offset + size + 5]
    compression, checksum = struct.unpack("<BI", trailer)
    if _masked_crc(file[offset : offset + size + 1]) != checksum:
        raise ValueError("a block fails its checksum")
    if compression:
        raise ValueError(f"its blocks are compressed (type {compression}), which TensorFlow does not do")
    at, key = 0, b""
    end = size - 4 * (1 + struct.unpack("<I", block[-4:])[0])
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    """Decode offset and size of a block; returns the end of the encoding, too."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return offset, size, at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode an integer of seven bits per byte, lowest first; returns its end, too."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _masked_crc(data: bytes) -> int:
    """Compute LevelDB's masked CRC-32C, which is safe for data that contains checksums."""
    crc: int = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the numbers and values of a protocol buffer's fields."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                value, at = _varint(message, at)
                yield tag >> 3, value
            case 2:
                length, at = _varint(message, at)
                yield tag >> 3, message[at : at + length]
                at += length
            case 5:
                yield tag >> 3, struct.unpack_from("<I", message, at)[0]
                at += 4
            case kind:
                raise ValueError(f"a field is of the unexpected kind {kind}")


def _header(message: bytes | None) -> int:
    """Decode the number of shards from a BundleHeaderProto: num_shards 1, endianness 2."""
    if message is None:
        raise ValueError("it has no header")
    fields = dict(_fields(message))
    if fields.get(2, 0):
        raise ValueError("it was written on a big-endian machine")
    return int(fields.get(1, 1))


def _entry(message: bytes) -> _Entry:
    """Decode a BundleEntryProto: dtype 1, shape 2, shard_id 3, offset 4, size 5, crc32c 6, slices 7."""
    fields = dict(_fields(message))
    dimensions = [_message(value) for field, value in _fields(_message(fields.get(2, b""))) if field == 2]
    shape = tuple(_number(dict(_fields(dimension)).get(1, 0)) for dimension in dimensions)
    dtype, shard, offset, size, checksum = (_number(fields.get(field, 0)) for field in (1, 3, 4, 5, 6))
    return _Entry(dtype, shape, shard, offset, size, checksum, 7 in fields)


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a field holds bytes in place of a number")
    return value


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a field holds a number in place of bytes")
    return value
