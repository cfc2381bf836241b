"""A corpus on disk: for each split the arrays of its text, their tokenizer and a manifest.

During preparation a folder holds `settings.json` and all finished files: the tokenizer, and for each part of the input
its ArrayRecord shards and then `part-N.json`. At the end the shards are joined into arrays and removed, and the parts
are merged into one `manifest.json`. A corpus of version 1 has stopped before the arrays, and is converted by `convert`.

A shard has a record per document, little-endian: the number of sentences S as uint32, S lengths in tokens as uint32,
then the ids of all sentences, as uint16 for a vocabulary of at most 65,536 ids and as int32 for a larger one.
"""

import errno
import hashlib
import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from bert_jax import files as run_folder
from bert_jax.corpus.arrays import ArrayFile, array_files, check_file, open_arrays, write_arrays
from bert_jax.corpus.corpus import Corpus, Counts, Document, token_dtype
from bert_jax.errors import InputError
from bert_jax.files import LOCK, PARTIAL, Json, read_json
from bert_jax.json_object import Shape, require_shape
from bert_jax.tokenizers.tokenizer import fingerprint, load_tokenizer

SETTINGS, MANIFEST = "settings.json", "manifest.json"
VERSION, SETTINGS_VERSION = 2, 1
"""Version of a finished corpus, and of the settings that determine its text."""
CorpusSplit = Literal["train", "heldout"]
SPLITS: tuple[CorpusSplit, ...] = ("train", "heldout")

# Groups are faster than single records. Compression would save at most a third of the space at a fifth of the speed.
_OPTIONS = "group_size:64,uncompressed"


class Shard(NamedTuple):
    """An entry of the manifest: a file of one split, its counts and its checksum."""

    file: str
    split: CorpusSplit
    documents: int
    sentences: int
    tokens: int
    sha256: str
    paired_tokens: int | None = None
    """Tokens in documents of two sentences or more; absent from older manifests."""
    unknown_tokens: int | None = None
    """Tokens that are [UNK]; absent from older manifests."""


_ROW: dict[str, Shape] = {"file": str, "split": str, "sha256": str}
_SIZES: dict[str, Shape] = {"documents": int, "sentences": int, "tokens": int}
_SHAPE: Shape = {
    "tokenizer": {"vocab_size": int, "sha256": str},
    "totals": dict.fromkeys(SPLITS, _SIZES),
    "shards": (_ROW | _SIZES,),
}
"""Fields of every manifest."""
_ARRAYS: Shape = {"arrays": (_ROW | {"array": str, "bytes": int},), "counts": dict}
"""Fields of a manifest of the present version besides."""


class CorpusPart(NamedTuple):
    """The result of one block of the input."""

    source: str
    """SHA-256 of the block."""
    shards: tuple[Shard, ...]
    dropped: dict[str, int]
    """Reason -> number of documents left out."""


@contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[None]:
    """Hold the lock on a folder for the duration of a `with` block; creates the folder, removes half-written files.

    Raises:
        InputError: another process holds the lock and `wait` is false.
        OSError: the folder cannot be written.
    """
    with run_folder.locked(folder, wait):
        for path in folder.glob(f"*{PARTIAL}"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield


def claim(folder: Path, settings: Json) -> bool:
    """Start a corpus in a folder, or check that the folder belongs to this corpus; returns True if it is finished.

    Raises:
        InputError: the folder holds another corpus (each difference is listed) or other files.
        OSError: the folder cannot be written.
    """
    found = {path.name for path in folder.iterdir()} - {LOCK} if folder.is_dir() else set()
    if found and SETTINGS not in found:
        raise InputError(f"{folder} holds files that are not a corpus; use another --out")
    if found == {SETTINGS}:
        # The run that started here did not get as far as a tokenizer.
        (folder / SETTINGS).unlink()
    run_folder.claim(folder / SETTINGS, settings)
    if MANIFEST in found:
        # The run that finished it may have been killed before it removed them.
        _remove_parts(folder, _read_json(folder / MANIFEST))
    return MANIFEST in found


def write_shard(
    folder: Path, number: int, split: CorpusSplit, documents: Iterable[Document], unk: int | None = None
) -> Shard:
    """Write documents to a shard atomically.

    Args:
        folder: the corpus.
        number: number of the part.
        split: the split that the shard belongs to.
        documents: tokenised documents.
        unk: id of [UNK], to count it in the entry of the manifest.

    Raises:
        OSError: the file cannot be written.
    """
    file = f"{split}-{number:05d}.arrayrecord"
    partial = folder / f"{file}{PARTIAL}"
    counts = np.zeros(5, np.int64)
    try:
        writer = ArrayRecordWriter(str(partial), _OPTIONS)
        for document in documents:
            writer.write(_to_record(document))
            tokens = len(document.tokens)
            paired = tokens if len(document.lengths) > 1 else 0
            counts += 1, len(document.lengths), tokens, paired, int(np.count_nonzero(document.tokens == unk))
        writer.close()
    except RuntimeError as error:
        partial.unlink(missing_ok=True)
        raise OSError(errno.EIO, " ".join(str(error).split())) from error
    count, sentences, tokens, paired, unknown = counts.tolist()
    shard = Shard(file, split, count, sentences, tokens, _checksum(partial), paired, None if unk is None else unknown)
    os.replace(partial, folder / file)
    return shard


def _to_record(document: Document) -> bytes:
    count = len(document.lengths).to_bytes(4, "little")
    return count + document.lengths.astype("<u4", copy=False).tobytes() + _little(document.tokens).tobytes()


def _little(tokens: np.ndarray) -> np.ndarray:
    return tokens.astype(tokens.dtype.newbyteorder("<"), copy=False)


def _from_record(record: bytes, dtype: np.dtype) -> Document:
    count = int.from_bytes(record[:4], "little")
    return Document(np.frombuffer(record, dtype, -1, 4 + 4 * count), np.frombuffer(record, "<u4", count, 4))


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part_path(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.json"


def has_part(folder: Path, number: int) -> bool:
    """Return True if a part is finished."""
    return _part_path(folder, number).exists()


def write_part(folder: Path, number: int, part: CorpusPart) -> None:
    """Mark a part as finished; its shards must exist."""
    rows = [shard._asdict() for shard in part.shards]
    _write_json(_part_path(folder, number), part._asdict() | {"shards": rows})


def read_part(folder: Path, number: int) -> CorpusPart:
    """Read a finished part."""
    content = _read_json(_part_path(folder, number))
    return CorpusPart(content["source"], tuple(Shard(**row) for row in content["shards"]), content["dropped"])


def finish(folder: Path) -> None:
    """Merge all parts into the manifest.

    Raises:
        InputError: no part has documents, or all documents are held out.
    """
    number_of_parts = sum(1 for _ in folder.glob("part-*.json"))
    parts = [read_part(folder, number) for number in range(number_of_parts)]
    shards = [shard for part in parts for shard in part.shards]
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(part.dropped)
    tokenizer = {"vocab_size": load_tokenizer(folder).vocab_size, "sha256": fingerprint(folder)}
    manifest = make_manifest(_read_json(folder / SETTINGS), tokenizer, shards, dropped)
    _complete(folder, manifest)


def _complete(folder: Path, manifest: Json) -> None:
    """Join the shards of a manifest, write it, and then remove what it replaces."""
    unk = load_tokenizer(folder).special.unk
    manifest = join_shards(
        manifest, unk, lambda shard: _records(folder, shard), lambda file: run_folder.created(folder / file)
    )
    _write_json(folder / MANIFEST, manifest)
    _remove_parts(folder, manifest)


def _remove_parts(folder: Path, manifest: Json) -> None:
    for path in folder.glob("part-*.json"):
        path.unlink()
    if manifest.get("version") == VERSION:
        for row in manifest["shards"]:
            (folder / row["file"]).unlink(missing_ok=True)


def make_manifest(settings: Json, tokenizer: Json, shards: Sequence[Shard], dropped: Mapping[str, int]) -> Json:
    """Build the manifest of a corpus: its settings, the size and checksum of its tokenizer, and all shards.

    The `paired_share` of a split is the share of its tokens in documents of two or more sentences, the only ones that
    give examples for next-sentence prediction with a true next sentence; its `unknown_share` that of [UNK].

    Raises:
        InputError: no document is left, or none to train on.
    """
    if not shards:
        reasons = ", ".join(f"{count} {why}" for why, count in dropped.items()) or "it is empty"
        raise InputError(f"found no documents with text in the input ({reasons})")
    if all(shard.split == "heldout" for shard in shards):
        share, count = settings["text"]["heldout"], sum(shard.documents for shard in shards)
        raise InputError(
            f"--heldout {share} leaves no text to train on: it holds out all {count:,} documents; "
            "give a smaller share, in another --out"
        )
    return settings | {
        "version": SETTINGS_VERSION,
        "tokenizer": tokenizer,
        "totals": {split: _totals(shards, split) for split in SPLITS},
        "paired_share": {split: _share(shards, split, "paired_tokens") for split in SPLITS},
        "unknown_share": {split: _share(shards, split, "unknown_tokens") for split in SPLITS},
        "dropped": dict(sorted(dropped.items())),
        "shards": [shard._asdict() for shard in shards],
    }


def _totals(shards: Sequence[Shard], split: CorpusSplit) -> dict[str, int]:
    chosen = [shard for shard in shards if shard.split == split]
    return {field: sum(getattr(shard, field) for shard in chosen) for field in ("documents", "sentences", "tokens")}


def _share(shards: Sequence[Shard], split: CorpusSplit, field: str) -> float | None:
    """Share of a split's tokens that a field of its shards counts; None without documents, or if a shard lacks it."""
    chosen = [shard for shard in shards if shard.split == split]
    counts = [count for shard in chosen if (count := getattr(shard, field)) is not None]
    if not chosen or len(counts) < len(chosen):
        return None
    return float(round(sum(counts) / sum(shard.tokens for shard in chosen), 4))


def _write_json(path: Path, content: Json) -> None:
    run_folder.write_whole(path, lambda file: file.write(to_json(content)))


def to_json(content: Json) -> bytes:
    """Encode a JSON file with one value per line."""
    return (json.dumps(content, indent=1) + "\n").encode()


def _read_json(path: Path) -> Json:
    content: Json = read_json(path, remedy="prepare the corpus again")
    return content


def read_manifest(folder: Path) -> Json:
    """Read the manifest of a prepared corpus, and check that the tokenizer is the one it was prepared with.

    Raises:
        InputError: the manifest is missing or of another version, or the tokenizer is a different one.
    """
    manifest = _read_any_manifest(folder)
    if manifest.get("version") == SETTINGS_VERSION:
        raise InputError(
            f"{folder}: the corpus is of version 1, which has to be read whole; convert it once: "
            f"python -m experiments.check_corpus --corpus {shlex.quote(str(folder))}"
        )
    if manifest.get("version") != VERSION:
        raise InputError(f"{folder}: the corpus has version {manifest.get('version')}, not {VERSION}; prepare it again")
    return manifest


def _read_any_manifest(folder: Path) -> Json:
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is not a prepared corpus: it has no {MANIFEST}; make it with prepare_corpus")
    manifest = _read_json(folder / MANIFEST)
    require_shape(manifest, _SHAPE, str(folder / MANIFEST))
    if manifest.get("version") == VERSION:
        require_shape(manifest, _ARRAYS, str(folder / MANIFEST))
    found, expected = fingerprint(folder), manifest["tokenizer"]["sha256"]
    if found != expected:
        raise InputError(
            f"{folder}: the tokenizer is not the one that the shards were made with (sha256 {found[:12]} and not "
            f"{expected[:12]} as in {MANIFEST}); put it back, or prepare the corpus again"
        )
    return manifest


def read_corpus(folder: Path, split: CorpusSplit) -> Corpus:
    """The documents of one split, in the order of the input, mapped into memory; see `arrays.open_arrays`.

    Raises:
        InputError: as `read_manifest`; or a file is missing or differs from the manifest, or the split is empty.
    """
    manifest = read_manifest(folder)
    rows = [ArrayFile(**row) for row in manifest["arrays"] if row["split"] == split]
    if not rows:
        raise InputError(f"{folder} has no {split} documents; prepare it with another --heldout")
    require_shape(manifest["counts"], {split: dict.fromkeys(Counts._fields, int)}, f"{folder / MANIFEST}, counts")
    return open_arrays(folder, rows, _sizes(manifest["totals"][split]), Counts(**manifest["counts"][split]))


def check_corpus(folder: Path) -> bool:
    """Compare every file of a corpus with its checksum, and convert a corpus of version 1; returns True if it was one.

    Converting needs the lock of the folder, and space for the text once more.

    Raises:
        InputError: as `read_manifest`, or a file is missing or differs from the manifest.
        OSError: the folder cannot be written.
    """
    manifest = _read_any_manifest(folder)
    old = bool(manifest.get("version") == SETTINGS_VERSION)
    if old:
        with locked(folder):
            _complete(folder, manifest)
        manifest = read_manifest(folder)
    for row in read_manifest(folder)["arrays"]:
        check_file(folder, ArrayFile(**row))
    return old


def join_shards(
    manifest: Json,
    unk: int,
    records: Callable[[Shard], list[bytes]],
    create: Callable[[str], AbstractContextManager[BinaryIO]],
) -> Json:
    """Write the arrays of every split from its shards, and return the manifest of the finished corpus.

    Args:
        manifest: from `make_manifest`.
        unk: id of [UNK].
        records: reads all records of a shard.
        create: opens a file of the corpus to write; it must appear whole, when the context ends.

    Raises:
        InputError: a shard is missing or differs from the manifest.
        OSError: a file cannot be written.
    """
    shards = [Shard(**row) for row in manifest["shards"]]
    dtype = np.dtype(token_dtype(manifest["tokenizer"]["vocab_size"])).newbyteorder("<")
    rows, counts = list[ArrayFile](), {}
    for split in dict.fromkeys(shard.split for shard in shards):
        own = [shard for shard in shards if shard.split == split]
        groups = ([_from_record(record, dtype) for record in records(shard)] for shard in own)
        with ExitStack() as stack:
            files = {array: stack.enter_context(create(file)) for array, file in array_files(split).items()}
            written, counted = write_arrays(split, groups, _sizes(manifest["totals"][split]), unk, files)
        rows += written
        counts[split] = counted._asdict()
    return manifest | {"version": VERSION, "counts": counts, "arrays": [row._asdict() for row in rows]}


def _sizes(totals: Json) -> tuple[int, int, int]:
    return totals["tokens"], totals["sentences"], totals["documents"]


def _records(folder: Path, shard: Shard) -> list[bytes]:
    path = folder / shard.file
    if not path.is_file():
        raise InputError(f"{folder}: shard {shard.file} of {MANIFEST} is missing; put it back or prepare again")
    if _checksum(path) != shard.sha256:
        raise InputError(f"{path} differs from its checksum in {MANIFEST}; put the original back or prepare again")
    return read_records(path)


def read_records(path: Path) -> list[bytes]:
    """All records of a shard."""
    reader = ArrayRecordReader(str(path))
    records: list[bytes] = reader.read_all()
    reader.close()
    return records
