"""Prepare a corpus folder from raw text: a tokenizer, ArrayRecord shards and a manifest.

The input is split in order into blocks of a fixed size, and block number n becomes part number n of the corpus,
whichever process works on it. So the output is the same for any number of workers, and an interrupted run resumes
with the blocks that have no part yet.
"""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from bert_jax.corpus import readers, shards, vocabulary
from bert_jax.corpus.archives import reading
from bert_jax.corpus.corpus import Document
from bert_jax.corpus.dedup import Duplicates, finding_duplicates
from bert_jax.corpus.paragraphs import ParagraphTokenizer
from bert_jax.corpus.parts import TextBlock, TextSource
from bert_jax.corpus.sentences import paragraphs_of
from bert_jax.corpus.shards import SETTINGS_VERSION, CorpusPart, CorpusSplit
from bert_jax.corpus.text_kinds import Documents
from bert_jax.corpus.vocabulary import Paragraph
from bert_jax.corpus.workers import Call, Workers, start_workers
from bert_jax.errors import InputError
from bert_jax.files import PARTIAL, Json
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tokenizers.tokenizer import (
    TOKENIZER_FILES,
    SentencePiece,
    Tokenizer,
    fingerprint,
    load_tokenizer,
    train_sentencepiece,
)


@dataclass(frozen=True)
class TextConfig:
    """Settings that turn raw text into documents of sentences."""

    text_field: str = "text"
    """The field of a JSON line, or the feature of a TFDS row, that holds the text."""
    documents: Documents = "auto"
    """auto: by the kind of text, detected from the first bytes; blank-lines: plain text with blank lines between
    documents, without detection; file: each file is a document."""
    sentences: Literal["split", "lines"] = "split"
    """split: a line is a paragraph, split into sentences by rules; lines: a line is a sentence."""
    deduplicate: bool = False
    """Leave out documents whose text occurred before."""
    heldout: float = 0.005
    """Share of the documents held out for evaluation in separate shards, chosen by a hash of the text."""
    on_bad_text: Literal["stop", "skip"] = "stop"
    """stop: raise an error for a document that is not valid UTF-8; skip: leave it out and count it."""
    block_megabytes: float = 8
    """Megabytes of text in one part of the corpus, which a worker holds in memory."""

    def __post_init__(self) -> None:
        if not 0 <= self.heldout < 1:
            raise InputError(f"--heldout {self.heldout}: it is a share of the documents, at least 0 and less than 1")
        if not 0 < self.block_megabytes <= 1024:
            raise InputError(f"--block-megabytes {self.block_megabytes}: it must be more than 0 and at most 1024")

    @property
    def block_bytes(self) -> int:
        """Minimum size of a block in bytes of text."""
        return max(int(self.block_megabytes * 1e6), 1)


class Progress(NamedTuple):
    """Progress of a stage, in stored bytes of the sources."""

    stage: Literal["vocabulary", "shards"]
    done: int
    total: int


def prepare(
    inputs: Sequence[str], out: Path, config: TextConfig, vocab: VocabConfig | Path, workers: int
) -> Iterator[Progress]:
    """Prepare a corpus in `out`; after an interruption the same call resumes.

    Args:
        inputs: files, folders, and data sets as `tfds:NAME`.
        out: the output folder.
        config: settings for reading text.
        vocab: settings of a vocabulary to train on the text, or the file or folder of an existing tokenizer.
        workers: number of processes that clean and tokenise; the output does not depend on it.

    Raises:
        InputError: something is wrong with the inputs or with `out`, or the text does not support the vocabulary.
        OSError: `out` cannot be written.
    """
    readers.require_outside(str(out), inputs)
    sources = readers.find_sources(inputs)
    total = sum(source.size for source in sources)
    given = {"paths": list(inputs), "files": len(sources), "bytes": total}
    settings = describe(config, vocab, given)
    with shards.locked(out):
        if shards.claim(out, settings):
            raise InputError(
                f"{out} already holds this corpus, and it is finished; to prepare it again, remove the folder"
            )
        if not _has_tokenizer(out):
            for position in _make_tokenizer(sources, out, config, vocab, workers):
                yield Progress("vocabulary", position, total)
        for position in _write_parts(sources, out, config, workers):
            yield Progress("shards", position, total)
        shards.finish(out)


def prepare_documents(documents: Sequence[Sequence[str]], out: Path, vocab: VocabConfig, heldout: float = 0.0) -> None:
    """Prepare documents in memory, each a list of sentences; a finished folder is left unchanged.

    Raises:
        InputError: `out` holds other content, or the text does not support the vocabulary.
        ValueError: a sentence contains a newline.
        OSError: `out` cannot be written.
    """
    content = hashlib.sha256("\n\n".join("\n".join(document) for document in documents).encode()).hexdigest()
    config = TextConfig(sentences="lines", heldout=heldout)
    with shards.locked(out, wait=True):  # another process of the run may prepare the same folder
        if shards.claim(out, describe(config, vocab, {"documents": len(documents), "sha256": content})):
            return
        sentences = (sentence for document in documents for sentence in document)
        _save_tokenizer(train_sentencepiece(sentences, vocab.size, vocab.algorithm, vocab.lowercase), out)
        part = _tokenize_part(out, 0, documents, ParagraphTokenizer(load_tokenizer(out), split=False), heldout)
        shards.write_part(out, 0, part._replace(source=content))
        shards.finish(out)


def describe(config: TextConfig, vocab: VocabConfig | Path, inputs: Json) -> Json:
    """Return the settings that determine a corpus: two folders with equal settings have equal content."""
    chosen = asdict(vocab) if isinstance(vocab, VocabConfig) else {"sha256": fingerprint(vocab)}
    how = asdict(config)
    if config.documents == "auto":
        del how["documents"]  # folders started before this setting existed can be resumed
    return {"version": SETTINGS_VERSION, "text": how, "vocab": chosen, "inputs": inputs}


def _has_tokenizer(out: Path) -> bool:
    # A WordPiece also has vocab.txt, which is written first and is not sufficient.
    return any((out / name).exists() for name in TOKENIZER_FILES[:2])


def _save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    folder = out / f"tokenizer{PARTIAL}"
    folder.mkdir(exist_ok=True)
    tokenizer.save(folder)
    # The file that `_has_tokenizer` checks must appear last.
    names = {path.name for path in folder.iterdir()}
    for name in (*sorted(names - set(TOKENIZER_FILES)), *reversed(TOKENIZER_FILES)):
        if name in names:
            os.replace(folder / name, out / name)
    folder.rmdir()


def _make_tokenizer(
    sources: Sequence[TextSource], out: Path, config: TextConfig, vocab: VocabConfig | Path, workers: int
) -> Iterator[int]:
    """Train or copy the tokenizer; yields the position in the sources that the sample has reached."""
    if isinstance(vocab, Path):
        with reading(str(vocab)):
            tokenizer = vocabulary.read_vocabulary(vocab)
        _save_tokenizer(tokenizer, out)
        return
    path = out / f"sentences{PARTIAL}"
    with start_workers(workers) as pool:
        yield from _write_sample(pool, sources, path, config, vocab.sentences)
    # In a separate process, so that its memory is returned to the system.
    with start_workers(1) as pool:
        model = pool.pool.submit(vocabulary.train_on_file, path, vocab).result()
    path.unlink()
    _save_tokenizer(SentencePiece(model), out)


def _write_sample(
    pool: Workers, sources: Sequence[TextSource], path: Path, config: TextConfig, wanted: int
) -> Iterator[int]:
    drawn: list[Paragraph] = []
    highest = vocabulary.HIGHEST

    def calls() -> Iterator[tuple[int, Call[list[Paragraph]]]]:
        for block in readers.read_blocks(sources, config.block_bytes, config.documents):
            yield block.position, Call(draw_sample, (block, config, wanted, highest))

    for position, paragraphs in pool.map(calls()):
        drawn = vocabulary.least([*drawn, *(paragraphs or ())], wanted)
        # Lines above the last one needed are not even cleaned.
        if vocabulary.count_sentences(drawn) >= wanted:
            highest = drawn[-1][0]
        yield position
    if not drawn:
        raise InputError(f"found no documents with text in {', '.join(source.name for source in sources[:3])}")
    vocabulary.write_sentences(drawn, path)


def draw_sample(block: TextBlock, config: TextConfig, wanted: int, highest: int) -> list[Paragraph]:
    """Draw the candidate paragraphs of a block for the sample of the whole text that a vocabulary is trained on."""
    documents = (document for document in _documents(block, config) if document)
    return vocabulary.draw_paragraphs(documents, config.sentences == "split", wanted, highest)


def _documents(block: TextBlock, config: TextConfig) -> Iterator[str | None]:
    return readers.read_documents(block, config.text_field, config.on_bad_text)


def _write_parts(sources: Sequence[TextSource], out: Path, config: TextConfig, workers: int) -> Iterator[int]:
    """Write the missing parts; yields the position in the sources that they have reached."""

    def calls(duplicates: Duplicates) -> Iterator[tuple[int, Call[None] | None]]:
        for number, block in enumerate(readers.read_blocks(sources, config.block_bytes, config.documents)):
            # Finished blocks too, because their documents are duplicates in later ones.
            repeated = duplicates.find(_documents(block, config)) if config.deduplicate else frozenset()
            if shards.has_part(out, number):
                _require_same_text(out, number, block)
                yield block.position, None
            else:
                yield block.position, Call(_write_part, (out, number, block, repeated, config))

    with start_workers(workers) as pool, finding_duplicates(out / f"seen{PARTIAL}") as duplicates:
        for position, _ in pool.map(calls(duplicates)):
            yield position


def _require_same_text(out: Path, number: int, block: TextBlock) -> None:
    if shards.read_part(out, number).source != readers.digest(block):
        raise InputError(
            f"{block.parts[0].name}: the text has changed since part {number} of {out} was made from it; "
            "prepare it in another --out"
        )


def _write_part(out: Path, number: int, block: TextBlock, repeated: frozenset[int], config: TextConfig) -> None:
    """Clean, tokenise and write one block."""
    dropped: Counter[str] = Counter()
    documents: list[list[str]] = []
    for place, document in enumerate(_documents(block, config)):
        if document is None:
            dropped["invalid UTF-8"] += 1
        elif place in repeated:
            dropped["duplicate"] += 1
        elif paragraphs := paragraphs_of(document):
            documents.append(paragraphs)
        else:
            dropped["no text"] += 1
    part = _tokenize_part(out, number, documents, _tokenizer(out, config.sentences == "split"), config.heldout)
    shards.write_part(
        out, number, CorpusPart(readers.digest(block), part.shards, dict(dropped + Counter(part.dropped)))
    )


@functools.cache
def _tokenizer(folder: Path, split: bool) -> ParagraphTokenizer:
    return ParagraphTokenizer(load_tokenizer(folder, num_threads=1), split)


def _tokenize_part(
    out: Path, number: int, documents: Sequence[Sequence[str]], tokenizer: ParagraphTokenizer, heldout: float
) -> CorpusPart:
    """Write the shards of one part, one for each split that has documents."""
    sides: dict[CorpusSplit, list[Document]] = {"train": [], "heldout": []}
    for sentences, document in tokenizer(documents):
        if len(document.tokens):
            sides["heldout" if share(sentences) < heldout else "train"].append(document)
    written = [shards.write_shard(out, number, split, side, tokenizer.unk) for split, side in sides.items() if side]
    empty = len(documents) - sum(map(len, sides.values()))
    return CorpusPart("", tuple(written), {"no tokens": empty} if empty else {})


def share(sentences: bytes) -> float:
    """Hash a document's sentences, one per line, to a number in [0, 1) that is uniform over texts."""
    return int.from_bytes(hashlib.blake2b(sentences, digest_size=8).digest(), "little") / 2**64
