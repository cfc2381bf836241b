"""A copy on the local disk of a corpus at an address, such as a bucket."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from bert_jax.corpus.shards import MANIFEST, VERSION, read_manifest
from bert_jax.errors import InputError
from bert_jax.files import LOCK, PARTIAL, locked, parse_json, write_whole, writing
from bert_jax.remote import Entry, Remote, read_entries


def local_corpus(place: str) -> Path:
    """Return the copy of the corpus at an address; what is missing of it is brought, and every checksum compared.

    Copies are in the user's cache (XDG_CACHE_HOME, by default ~/.cache), each in a folder named by its content. An
    interrupted call goes on where it was. Processes that share the disk wait for the first of them.

    Raises:
        InputError: there is no corpus of this version, or it cannot be read, is damaged or cannot be written here.
    """
    remote = Remote(place, "--corpus")
    content = remote.read(MANIFEST)
    if content is None:
        raise InputError(f"--corpus {place} is not a prepared corpus: it has no {MANIFEST}")
    manifest = parse_json(content, f"{place}/{MANIFEST}")
    if manifest.get("version") != VERSION:
        raise InputError(
            f"--corpus {place}: the corpus has version {manifest.get('version')}, not {VERSION}; convert it with "
            "experiments.check_corpus and copy it there again"
        )
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    folder = cache / "bert_jax" / "corpora" / hashlib.sha256(content).hexdigest()[:16]
    with writing(folder, "make room, or set XDG_CACHE_HOME to a folder of another disk"), locked(folder, wait=True):
        if not (folder / MANIFEST).exists():
            _bring(remote, read_entries(manifest.get("arrays"), f"--corpus {place}/{MANIFEST}, arrays"), folder)
            write_whole(folder / MANIFEST, lambda file: file.write(content))
        try:
            read_manifest(folder)
        except InputError:
            (folder / MANIFEST).unlink()  # so that what differs is brought again
            raise
    return folder


def _bring(remote: Remote, rows: Sequence[Entry], folder: Path) -> None:
    """Bring the arrays, and the small files beside them: the settings and the tokenizer."""
    for row in rows:
        if not (folder / row.file).exists():
            remote.bring(row, folder / row.file)
    for name in set(remote.names()) - {row.file for row in rows} - {MANIFEST, LOCK}:
        if "/" not in name and not name.endswith((PARTIAL, ".arrayrecord")):
            (folder / name).write_bytes(remote.read(name) or b"")
