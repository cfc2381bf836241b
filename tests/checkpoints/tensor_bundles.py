"""Writes TensorFlow's checkpoint format, independently of what reads it.

Made after LevelDB's `table_format.md` and TensorFlow's `tensor_bundle.proto`. Checked once against TensorFlow 2.21
itself, which reads these files.
"""

from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "bfloat16": 14, "float16": 19}
assert ml_dtypes.bfloat16  # registers the name with NumPy


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]], interval: int, compression: int = 0) -> bytes:
    """Entries, of whose keys each `interval`-th is whole; restart points; compression and checksum."""
    body, restarts, before = b"", [], b""
    for n, (key, value) in enumerate(entries):
        shared = 0
        if n % interval == 0:
            restarts.append(len(body))
        else:
            while shared < min(len(before), len(key)) and before[shared] == key[shared]:
                shared += 1
        body += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    for number in [*(restarts or [0]), len(restarts or [0])]:
        body += number.to_bytes(4, "little")
    body += bytes([compression])
    return body + masked(body)


def table(entries: list[tuple[bytes, bytes]], per_block: int, compression: int = 0) -> bytes:
    """An SSTable."""
    out, index = b"", []
    for start in range(0, len(entries), per_block):
        rows = entries[start : start + per_block]
        data = block(rows, 3, compression)
        index.append((rows[-1][0] + b"\0", varint(len(out)) + varint(len(data) - 5)))
        out += data
    footer = b""
    for data in (block([], 1), block(index, 1)):
        footer += varint(len(out)) + varint(len(data) - 5)
        out += data
    return out + footer.ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def write_bundle(
    prefix: Path,
    variables: Mapping[str, np.ndarray],
    num_shards: int = 1,
    per_block: int = 7,
    compression: int = 0,
    extra: Mapping[str, bytes] = {},
) -> None:
    """Write `prefix.index` and `prefix.data-*`, the variables dealt out over the shards in turn.

    extra: index entries to add as they are.
    """
    shards = [b""] * num_shards
    entries = {b"": field(1, num_shards) + field(3, field(1, 1))}
    for n, (name, value) in enumerate(variables.items()):
        shard, data = n % num_shards, np.ascontiguousarray(value).tobytes()
        shape = b"".join(field(2, field(1, size)) for size in value.shape)
        # As protocol buffers are written, a field that is zero is left out.
        numbers = [(1, DTYPES[str(value.dtype)]), (2, shape), (3, shard), (4, len(shards[shard])), (5, len(data))]
        entries[name.encode()] = b"".join(field(*pair) for pair in numbers if pair[1] or pair[0] == 2)
        entries[name.encode()] += varint(6 << 3 | 5) + masked(data)
        shards[shard] += data
    entries |= {name.encode(): value for name, value in extra.items()}
    prefix.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{prefix}.index").write_bytes(table(sorted(entries.items()), per_block, compression))
    for n, data in enumerate(shards):
        Path(f"{prefix}.data-{n:05d}-of-{num_shards:05d}").write_bytes(data)
