"""A corpus on disk: ArrayRecord shards with a record per document, beside their tokenizer and a manifest.

A record is little-endian: the number of sentences S as uint32, S lengths in tokens as uint32, then the ids of all
sentences, as uint16 where the vocabulary has at most 65,536 ids and as int32 where it has more.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from bert_jax.data.corpus import Corpus, Document, starts, token_dtype
from bert_jax.data.tokenizer import fingerprint
from bert_jax.errors import InputError

MANIFEST = "manifest.json"
VERSION = 1
Split = Literal["train", "heldout"]

# Groups are read and written faster than single records. Ids compress by a third at most, at a fifth of the speed.
_OPTIONS = "group_size:64,uncompressed"


class Shard(NamedTuple):
    """A line of the manifest: a file of one split, what it holds, and its checksum."""

    file: str
    split: Split
    documents: int
    sentences: int
    tokens: int
    sha256: str


def write_shard(folder: Path, file: str, split: Split, documents: Iterable[Document]) -> Shard:
    """Write documents to a file that appears only when it is complete."""
    partial = folder / f"{file}.partial"
    counts = [0, 0, 0]
    writer = ArrayRecordWriter(str(partial), _OPTIONS)
    for document in documents:
        writer.write(_to_record(document))
        counts = [a + b for a, b in zip(counts, (1, len(document.lengths), len(document.tokens)), strict=True)]
    writer.close()
    shard = Shard(file, split, *counts, sha256=_checksum(partial))
    os.replace(partial, folder / file)
    return shard


def _to_record(document: Document) -> bytes:
    head = np.array([len(document.lengths), *document.lengths], "<u4")
    return head.tobytes() + document.tokens.astype(document.tokens.dtype.newbyteorder("<")).tobytes()


def _from_record(record: bytes, dtype: np.dtype) -> Document:
    count = int.from_bytes(record[:4], "little")
    return Document(np.frombuffer(record, dtype, -1, 4 + 4 * count), np.frombuffer(record, "<u4", count, 4))


def _checksum(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write a file that appears only when it is complete."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, path)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared corpus, after checking that the tokenizer is the one it was prepared with.

    Raises:
        InputError: there is none, or of another version, or the tokenizer is another.
    """
    if not (folder / MANIFEST).is_file():
        raise InputError(f"{folder} is not a prepared corpus: it has no {MANIFEST}; make it with prepare_corpus")
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    if manifest.get("version") != VERSION:
        raise InputError(f"{folder}: the corpus has version {manifest.get('version')}, not {VERSION}; prepare it again")
    found, expected = fingerprint(folder), manifest["tokenizer"]["sha256"]
    if found != expected:
        raise InputError(
            f"{folder}: the tokenizer is not the one that the shards were made with (sha256 {found[:12]} and not "
            f"{expected[:12]} as in {MANIFEST}); put it back, or prepare the corpus again"
        )
    return manifest


def read_corpus(folder: Path, split: Split) -> Corpus:
    """The documents of one split, in the order of the input, each shard checked against the manifest.

    Raises:
        InputError: as `read_manifest`; or a shard is missing or differs from the manifest, or the split is empty.
    """
    manifest = read_manifest(folder)
    shards = [Shard(**row) for row in manifest["shards"] if row["split"] == split]
    if not shards:
        raise InputError(f"{folder} has no {split} documents; prepare it with another --heldout")
    dtype = np.dtype(token_dtype(manifest["tokenizer"]["vocab_size"])).newbyteorder("<")
    tokens = np.empty(sum(shard.tokens for shard in shards), dtype.newbyteorder("="))
    lengths = np.empty(sum(shard.sentences for shard in shards), np.uint32)
    sizes = np.empty(sum(shard.documents for shard in shards), np.int64)
    token = sentence = number = 0
    for shard in shards:
        for record in _records(folder, shard):
            document = _from_record(record, dtype)
            tokens[token : token + len(document.tokens)] = document.tokens
            lengths[sentence : sentence + len(document.lengths)] = document.lengths
            sizes[number] = len(document.lengths)
            token, sentence, number = token + len(document.tokens), sentence + len(document.lengths), number + 1
    return Corpus(tokens, starts(lengths), starts(sizes))


def _records(folder: Path, shard: Shard) -> list[bytes]:
    path = folder / shard.file
    if not path.is_file():
        raise InputError(f"{folder}: shard {shard.file} of {MANIFEST} is missing; put it back or prepare again")
    if _checksum(path) != shard.sha256:
        raise InputError(f"{path} differs from its checksum in {MANIFEST}; put the original back or prepare again")
    reader = ArrayRecordReader(str(path))
    records: list[bytes] = reader.read_all()
    reader.close()
    return records
