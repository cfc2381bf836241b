"""Seeded damage to files of any kind: to their bytes, their text, their JSON, or what their container holds."""

import bz2
import gzip
import io
import json
import lzma
import random
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from checkpoints.tensor_bundles import table

from bert_jax.checkpoints import tensor_bundle

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Change = Callable[[random.Random, bytes], bytes]
HUGE = [2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 10**15, 0]
WORDS = [
    "",
    "-1",
    "0",
    "1e400",
    "NaN",
    "Infinity",
    "9" * 30,
    "9" * 5000,
    "0x10",
    "3_8",
    "1,5",
    "null",
    "True",
    "\ufeff",
]
TEXTS = [
    "\0",
    "\r",
    "\t",
    "\n\n",
    "\u2028",
    "\u3000",
    "\ufeff",
    '"',
    "\\",
    "\\ud800",
    "\U0001f600",
    "<doc ",
    "</doc>\n",
    "-",
]
VALUES = [
    None,
    True,
    False,
    -1,
    0,
    1,
    2,
    1.5,
    -0.0,
    10**9,
    10**30,
    "",
    "a",
    "x" * 3000,
    "\ud800",
    "../up",
    [],
    {},
    [None],
]
RAW = ["1e400", "NaN", "-Infinity", "9" * 5000, "[" * 5000, "[" * 5000 + "]" * 5000, '{"a":' * 5000 + "1" + "}" * 5000]


def mutate(rng: random.Random, folder: Path) -> list[str]:
    """Damage one to three files of a folder; returns what was done."""
    return [_mutate_one(rng, folder) for _ in range(rng.choice([1, 1, 1, 2, 3]))]


def _mutate_one(rng: random.Random, folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        return "nothing is left"
    path = rng.choice(files)
    if rng.random() < 0.04:
        change = rng.choice([Path.unlink, _to_folder])
        change(path)
        return f"{path.name}: {change.__name__}"
    content = path.read_bytes()
    if rng.random() < 0.04:
        path.write_bytes(rng.choice(files).read_bytes())
        return f"{path.name}: another file's content"
    ways = [way for way in (_in_container, _in_json, _in_text) if rng.random() < 0.6]
    for way in [*ways, _in_bytes]:
        changed = way(rng, path.name, content)
        if changed is not None:
            path.write_bytes(changed)
            return f"{path.name}: {way.__name__}"
    raise AssertionError("bytes can always be changed")


def _to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


# Bytes -------------------------------------------------------------------------------------------------------------


def _in_bytes(rng: random.Random, name: str, content: bytes) -> bytes:
    return rng.choice(BYTES)(rng, content)


def _flip(rng: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 3, 20]) if data else 0):
        data[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(data)


def _place(rng: random.Random, data: bytes | bytearray) -> int:
    """Any place, and often one near the start or the end, where headers and footers are."""
    near = min(len(data), 200)
    return rng.choice([rng.randrange(len(data)), rng.randrange(near), len(data) - 1 - rng.randrange(near)])


def _slice(rng: random.Random, content: bytes) -> slice:
    start = _place(rng, content) if content else 0
    return slice(start, start + rng.choice([1, 4, 20, 300]))


def _truncate(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _insert(rng: random.Random, content: bytes) -> bytes:
    start = _slice(rng, content).start
    return content[:start] + rng.randbytes(rng.choice([1, 4, 100])) + content[start:]


def _delete(rng: random.Random, content: bytes) -> bytes:
    part = _slice(rng, content)
    return content[: part.start] + content[part.stop :]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    part = _slice(rng, content)
    return content[: part.stop] + content[part] * rng.choice([1, 2, 50]) + content[part.stop :]


def _zero(rng: random.Random, content: bytes) -> bytes:
    part = _slice(rng, content)
    return content[: part.start] + bytes(len(content[part])) + content[part.stop :]


def _huge_number(rng: random.Random, content: bytes) -> bytes:
    start, size = _slice(rng, content).start, rng.choice([4, 8])
    number = rng.choice(HUGE) % 256**size
    return content[:start] + number.to_bytes(size, rng.choice(["little", "big"])) + content[start + size :]


def _append(rng: random.Random, content: bytes) -> bytes:
    return content + rng.choice([rng.randbytes(50), b"\0" * 1000, content])


BYTES: list[Change] = [_flip, _flip, _truncate, _insert, _delete, _repeat, _zero, _huge_number, _append]


# Text --------------------------------------------------------------------------------------------------------------


def _in_text(rng: random.Random, name: str, content: bytes) -> bytes | None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    lines = text.split("\n")
    at = rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            lines[at] = _with_word(rng, lines[at])
        case 1:
            cut = rng.randrange(len(lines[at]) + 1)
            lines[at] = lines[at][:cut] + rng.choice(TEXTS) + lines[at][cut:]
        case 2:
            lines[at:at] = [rng.choice(lines)] * rng.choice([1, 1000])
        case 3:
            del lines[at : at + rng.choice([1, 5])]
        case 4:
            lines[at] = rng.choice(["", " ", "x" * 100_000, "[" * 20_000, lines[at] * 3])
        case 5:
            return rng.choice(["\r", "\r\n", "\u2028", " "]).join(lines).encode()
        case _:
            old, new = rng.choice([("\t", " "), (" ", "\t"), ("0", "-"), ("1", "01"), ("e", "\u0301e"), ("\t", "\t\t")])
            lines[at] = lines[at].replace(old, new, rng.choice([1, 100]))
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def _with_word(rng: random.Random, line: str) -> str:
    """The line with one of its fields or words replaced."""
    separator = "\t" if "\t" in line else " "
    words = line.split(separator)
    words[rng.randrange(len(words))] = rng.choice(WORDS)
    return separator.join(words)


# JSON --------------------------------------------------------------------------------------------------------------

_RAW = "a place for raw text"


def _in_json(rng: random.Random, name: str, content: bytes) -> bytes | None:
    """Change a value of a JSON file, or of one line of JSON lines."""
    lines = content.split(b"\n") if name.endswith(".jsonl") else [content]
    at = rng.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except (ValueError, RecursionError):
        return None
    lines[at] = change_json(rng, value)
    return b"\n".join(lines)


def change_json(rng: random.Random, value: object) -> bytes:
    """Replace, remove, add or rename something in a JSON value."""
    holder = {"top": value}
    parents = [holder, *_containers(value)]
    parent = rng.choice([rng.choice(parents), rng.choice(parents[-3:])])
    keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
    key = rng.choice(keys) if keys else None
    new = rng.choice([*VALUES, _RAW, _RAW])
    if key is None:
        holder["top"] = new
    elif rng.random() < 0.15 and isinstance(parent, dict) and parent is not holder:
        parent[rng.choice(["", "x", "type", "\ud800", *map(str, keys)])] = parent.pop(key)
    elif rng.random() < 0.15 and parent is not holder:
        del parent[key]
    else:
        parent[key] = rng.choice([new, new, new, [parent[key]], {"a": parent[key]}, str(parent[key])[:50]])
    text = json.dumps(holder["top"])
    return text.replace(f'"{_RAW}"', rng.choice(RAW)).encode()


def _containers(value: object) -> list[dict | list]:
    """All objects and non-empty arrays of a JSON value, in order; of long arrays a few items."""
    if isinstance(value, dict):
        return [value, *(inner for item in list(value.values())[:100] for inner in _containers(item))]
    if isinstance(value, list) and value:
        return [value, *(inner for item in value[:10] for inner in _containers(item))]
    return []


# Containers ----------------------------------------------------------------------------------------------------------

_PACKED = {
    ".gz": (gzip.decompress, gzip.compress),
    ".xz": (lzma.decompress, lzma.compress),
    ".bz2": (bz2.decompress, bz2.compress),
    ".zst": (zstd.decompress, zstd.compress),
}


def _in_container(rng: random.Random, name: str, content: bytes) -> bytes | None:
    """Change what a container holds, so that its checksums are right and the damage is found later."""
    try:
        for end, (unpack, pack) in _PACKED.items():
            if name.endswith(end):
                return pack(_inner(rng, name.removesuffix(end), unpack(content)))
        if name.endswith(".safetensors"):
            return _in_safetensors(rng, content)
        if name.endswith(".bin"):
            return _in_zip(rng, content)
        if name.endswith(".index"):
            return _in_bundle(rng, content)
    except Exception:  # it was damaged before
        return None
    return None


def _inner(rng: random.Random, name: str, content: bytes) -> bytes:
    changed = [way(rng, name, content) for way in (_in_json, _in_text) if rng.random() < 0.5]
    return next((one for one in changed if one is not None), None) or _in_bytes(rng, name, content)


def _in_safetensors(rng: random.Random, content: bytes) -> bytes:
    size = int.from_bytes(content[:8], "little")
    header = change_json(rng, json.loads(content[8 : 8 + size]))
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _in_zip(rng: random.Random, content: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        names = old.namelist()
        target = rng.choice([*(name for name in names if name.endswith("data.pkl")), rng.choice(names)])
        for name in names:
            data = old.read(name)
            new.writestr(name, _in_bytes(rng, name, data) if name == target else data)
    return written.getvalue()


def _in_bundle(rng: random.Random, content: bytes) -> bytes:
    entries = list(tensor_bundle._table(content))
    at = rng.randrange(len(entries))
    key, value = entries[at]
    entries[at] = (key, _in_bytes(rng, "", value)) if rng.random() < 0.8 else (_in_bytes(rng, "", key), value)
    return table(entries, 7)


def copy(source: Path, target: Path) -> Path:
    """Copy a folder to a new place."""
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(source, target))
