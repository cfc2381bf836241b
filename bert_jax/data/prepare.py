"""From raw text to a corpus folder: a tokenizer, ArrayRecord shards and a manifest.

The input is cut into blocks of a fixed size in order, and block number n becomes shard number n, whichever process
works on it: the output is the same for any number of workers, and a run that was interrupted goes on with the blocks
that have no shard yet.
"""

import functools
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bert_jax.config import VocabConfig
from bert_jax.data import text
from bert_jax.data.corpus import Document, tokenize
from bert_jax.data.duplicates import Duplicates, finding_duplicates
from bert_jax.data.sentences import sentences_of
from bert_jax.data.shards import MANIFEST, VERSION, Split, read_json, write_json, write_shard
from bert_jax.data.tokenizer import TOKENIZER_FILES, Tokenizer, fingerprint, load_tokenizer, train_sentencepiece
from bert_jax.data.vocabulary import Paragraph, draw_paragraphs, fewest, train_vocabulary
from bert_jax.data.workers import Workers, start_workers
from bert_jax.errors import InputError

SETTINGS = "settings.json"
"""What a folder is being prepared with, until its manifest says so."""


@dataclass(frozen=True)
class TextConfig:
    """How raw text becomes documents of sentences."""

    text_field: str = "text"
    """The field of a JSON line, or the feature of a TFDS row, that holds the text."""
    sentences: Literal["split", "lines"] = "split"
    """split: a line is a paragraph, cut into sentences by rules; lines: a line is a sentence."""
    deduplicate: bool = False
    """Leave out every document whose text came before."""
    heldout: float = 0.005
    """Share of the documents that go to shards of their own, to evaluate on; a hash of the text decides."""
    on_bad_text: Literal["stop", "skip"] = "stop"
    """skip leaves out documents that are not valid UTF-8 and counts them."""
    block_megabytes: float = 8
    """Text that becomes one shard, and that a worker has in memory."""

    def __post_init__(self) -> None:
        if not 0 <= self.heldout < 1:
            raise InputError(f"--heldout {self.heldout}: a share of the documents, at least 0 and less than 1")
        if not 0 < self.block_megabytes <= 1024:
            raise InputError(f"--block-megabytes {self.block_megabytes}: more than 0 and at most 1024")

    @property
    def block_bytes(self) -> int:
        return max(int(self.block_megabytes * 1e6), 1)


class Progress(NamedTuple):
    """How far a stage has come, in bytes of the input files as they are stored."""

    stage: str
    done: int
    total: int


def prepare(
    inputs: Sequence[str], out: Path, config: TextConfig, vocab: VocabConfig | Path, workers: int
) -> Iterator[Progress]:
    """Prepare a corpus in `out`; the same call goes on after an interruption.

    Args:
        inputs: files and folders.
        out: the folder to write.
        config: how text is read.
        vocab: a vocabulary to train on the text, or a tokenizer that exists.
        workers: processes that clean and tokenise.

    Raises:
        InputError: something is wrong with the inputs or with `out`, or the text does not support the vocabulary.
    """
    files = text.find_files(inputs)
    total = sum(file.stat().st_size for file in files)
    claim(out, _describe(config, vocab, {"paths": list(inputs), "files": len(files), "bytes": total}))
    with start_workers(workers) as pool:
        if not has_tokenizer(out):
            for position in _make_tokenizer(pool, files, out, config, vocab):
                yield Progress("vocabulary", position, total)
        for position in _write_shards(pool, files, out, config):
            yield Progress("shards", position, total)
    _finish(out)


def prepare_documents(documents: Sequence[Sequence[str]], out: Path, vocab: VocabConfig, heldout: float = 0.0) -> None:
    """Prepare documents that are in memory, each a list of sentences, in this process; a finished folder is left as
    it is.

    Raises:
        InputError: `out` holds something else, or the text does not support the vocabulary.
    """
    digest = hashlib.sha256("\n\n".join("\n".join(document) for document in documents).encode()).hexdigest()
    config = TextConfig(sentences="lines", heldout=heldout)
    if claim(out, _describe(config, vocab, {"documents": len(documents), "sha256": digest}), again=True):
        return
    if not has_tokenizer(out):
        sentences = [sentence for document in documents for sentence in document]
        _save_tokenizer(train_sentencepiece(sentences, vocab.size, vocab.algorithm, vocab.lowercase), out)
    part = _write_part(0, list(map(list, documents)), load_tokenizer(out), out, heldout)
    write_json(out / _part(0), part | {"sha256": digest})
    _finish(out)


def _describe(config: TextConfig, vocab: VocabConfig | Path, inputs: dict[str, Any]) -> dict[str, Any]:
    """What decides a corpus: where two folders have the same here, they are the same in everything."""
    own = {"vocab": asdict(vocab)} if isinstance(vocab, VocabConfig) else {"vocab": {"sha256": fingerprint(vocab)}}
    return {"version": VERSION, "text": asdict(config), **own, "inputs": inputs}


def claim(out: Path, settings: dict[str, Any], again: bool = False) -> bool:
    """Make `out` the folder of a corpus, or find that it is this one's; true where it is finished.

    Raises:
        InputError: it holds another corpus or other files; or this one, finished, and not `again`.
    """
    finished = (out / MANIFEST).exists()
    if finished or (out / SETTINGS).exists():
        found = read_json(out / (MANIFEST if finished else SETTINGS))
        _require_same(out, {field: found.get(field) for field in settings}, settings)
    elif out.exists() and any(out.iterdir()):
        raise InputError(f"{out} is neither empty nor a corpus; use another --out")
    if finished and not again:
        raise InputError(f"{out} holds this corpus, finished; to prepare it again, remove the folder")
    if not finished:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / SETTINGS, settings)
    return finished


def _require_same(out: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    before, after = _flat(old), _flat(new)
    changes = [
        f"{field} was {before.get(field, 'absent')} and is {after.get(field, 'absent')}"
        for field in dict.fromkeys([*before, *after])
        if before.get(field) != after.get(field)
    ]
    if changes:
        raise InputError(f"{out} holds another corpus: {'; '.join(changes)}; use another --out")


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for name, value in settings.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: str(value)}
    return flat


def has_tokenizer(out: Path) -> bool:
    """Whether the tokenizer of a corpus is there."""
    return any((out / name).exists() for name in TOKENIZER_FILES)


def _save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out) as folder:
        tokenizer.save(Path(folder))
        # In this order the file that counts is the last to appear.
        for name in reversed(TOKENIZER_FILES):
            if (Path(folder) / name).exists():
                os.replace(Path(folder) / name, out / name)


def _make_tokenizer(
    pool: Workers, files: Sequence[Path], out: Path, config: TextConfig, vocab: VocabConfig | Path
) -> Iterator[int]:
    """Train or copy the tokenizer; yields the positions in the input that the sample has come to."""
    if isinstance(vocab, Path):
        _save_tokenizer(load_tokenizer(vocab), out)
        return
    drawn: list[Paragraph] = []
    held, below = 0, 1 << 32

    def calls() -> Iterator[tuple[Callable[..., tuple[int, list[Paragraph]]], tuple[Any, ...]]]:
        for block in text.read_blocks(files, config.block_bytes):
            yield _draw, (block, config, vocab.sentences, below)

    for position, paragraphs in pool.map(calls()):
        drawn = fewest([*drawn, *paragraphs], vocab.sentences)
        held = sum(len(sentences) for _, sentences in drawn)
        below = drawn[-1][0] if held >= vocab.sentences else below
        yield position
    if not drawn:
        raise InputError("found no text in the input")
    sentences = [sentence for _, paragraph in drawn for sentence in paragraph]
    _save_tokenizer(train_vocabulary(sentences, vocab), out)


def _draw(block: text.Block, config: TextConfig, wanted: int, below: int) -> tuple[int, list[Paragraph]]:
    found = (document for document in _documents(block, config) if document)
    return block.position, draw_paragraphs(found, config.sentences == "split", wanted, below)


def _write_shards(pool: Workers, files: Sequence[Path], out: Path, config: TextConfig) -> Iterator[int]:
    """Write the shards that are not there yet; yields the positions in the input that they have come to."""

    def calls(duplicates: Duplicates) -> Iterator[tuple[Callable[..., int], tuple[Any, ...]]]:
        for number, block in enumerate(text.read_blocks(files, config.block_bytes)):
            # Also of the blocks that are done: what stands in them is a duplicate later.
            repeated = duplicates.find(_documents(block, config)) if config.deduplicate else frozenset()
            if (out / _part(number)).exists():
                _require_same_text(out, number, block)
            else:
                yield _write_block, (number, block, repeated, config, out)

    with finding_duplicates(out) as duplicates:
        yield from pool.map(calls(duplicates))


def _documents(block: text.Block, config: TextConfig) -> Iterator[str | None]:
    return text.documents(block, config.text_field, config.on_bad_text)


def _require_same_text(out: Path, number: int, block: text.Block) -> None:
    if read_json(out / _part(number))["sha256"] != text.digest(block):
        raise InputError(
            f"{block.chunks[0].name}, byte {block.chunks[0].offset}: the text is not what shard {number} of {out} was "
            "made from; prepare the corpus again in another --out"
        )


def _write_block(number: int, block: text.Block, repeated: frozenset[int], config: TextConfig, out: Path) -> int:
    """What a worker does: all of a block, down to its files."""
    dropped: Counter[str] = Counter()
    kept: list[list[str]] = []
    for place, document in enumerate(_documents(block, config)):
        if document is None:
            dropped["invalid UTF-8"] += 1
        elif place in repeated:
            dropped["duplicate"] += 1
        elif sentences := list(sentences_of(document, config.sentences == "split")):
            kept.append(sentences)
        else:
            dropped["no text"] += 1
    part = _write_part(number, kept, _tokenizer(out), out, config.heldout)
    part["dropped"] = dict(dropped + Counter(part["dropped"]))
    write_json(out / _part(number), part | {"sha256": text.digest(block)})
    return block.position


@functools.cache
def _tokenizer(folder: Path) -> Tokenizer:
    return load_tokenizer(folder, num_threads=1)


def _write_part(
    number: int, documents: list[list[str]], tokenizer: Tokenizer, out: Path, heldout: float
) -> dict[str, Any]:
    """Write the shards of one part, one a split; the line of the manifest for each, and what was left out."""
    sides: dict[Split, list[Document]] = {"train": [], "heldout": []}
    empty = 0
    for sentences, document in zip(documents, tokenize(tokenizer, documents), strict=True):
        if len(document.tokens):
            sides["heldout" if _share(sentences) < heldout else "train"].append(document)
        else:
            empty += 1
    written = [
        write_shard(out, f"{split}-{number:05d}.arrayrecord", split, side)._asdict()
        for split, side in sides.items()
        if side
    ]
    return {"shards": written, "dropped": {"no tokens": empty} if empty else {}}


def _share(sentences: list[str]) -> float:
    """A number in [0, 1) that is a function of the text, uniform over texts."""
    digest = hashlib.blake2b("\n".join(sentences).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") / 2**64


def _part(number: int) -> str:
    return f"part-{number:05d}.json"


def _finish(out: Path) -> None:
    """Gather the parts into the manifest."""
    paths = sorted(out.glob("part-*.json"))
    parts = [read_json(path) for path in paths]
    rows = [row for part in parts for row in part["shards"]]
    if not rows:
        raise InputError("found no documents with text in the input")
    tokenizer = load_tokenizer(out)
    dropped: Counter[str] = Counter()
    for part in parts:
        dropped.update(part["dropped"])
    manifest = read_json(out / SETTINGS) | {
        "tokenizer": {"vocab_size": tokenizer.vocab_size, "sha256": fingerprint(out)},
        "totals": {split: _totals(rows, split) for split in ("train", "heldout")},
        "dropped": dict(sorted(dropped.items())),
        "shards": rows,
    }
    write_json(out / MANIFEST, manifest)
    for path in (*paths, out / SETTINGS):
        path.unlink()


def _totals(rows: list[dict[str, Any]], split: str) -> dict[str, int]:
    chosen = [row for row in rows if row["split"] == split]
    return {field: sum(row[field] for row in chosen) for field in ("documents", "sentences", "tokens")}
