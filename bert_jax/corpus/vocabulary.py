"""A vocabulary from a sample of a corpus that is the same however the corpus is spread over processes."""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from bert_jax.config import VocabConfig
from bert_jax.corpus.sentences import clean, split_sentences
from bert_jax.tokenizers.tokenizer import train_sentencepiece

COVERAGE = 0.9998
"""Of the characters of real text. All of them would be thousands of pieces that each stand in a handful of sentences:
of an English Wikipedia's vocabulary of 16,000 one in nine."""

Paragraph = tuple[int, tuple[str, ...]]
"""The checksum of a line of text, which decides whether it is drawn, and its sentences."""
HIGHEST = (1 << 32) - 1
"""Of the checksums."""


def draw_paragraphs(documents: Iterable[str], split: bool, wanted: int, highest: int) -> list[Paragraph]:
    """Of the lines with a checksum of at most `highest` the first in order, as few as hold `wanted` sentences.

    A line's place in the order is a hash of itself, so any part of a corpus can be drawn from alone: what `least`
    keeps of all the draws is what one draw from the whole would be. A line that comes again is drawn once.
    """
    drawn: dict[str, Paragraph] = {}
    for document in documents:
        for line in document.split("\n"):
            key = zlib.crc32(line.encode())
            if key <= highest and line not in drawn and (cleaned := clean(line)):
                drawn[line] = key, tuple(split_sentences(cleaned)) if split else (cleaned,)
    return least(drawn.values(), wanted)


def least(paragraphs: Iterable[Paragraph], wanted: int) -> list[Paragraph]:
    """The first paragraphs in order, each once, as few as hold `wanted` sentences; all if they hold less.

    Of lines with the same checksum, of which large corpora have some, the text decides: which of them are kept
    must not depend on who came first.
    """
    kept: list[Paragraph] = []
    held = 0
    for paragraph in sorted(paragraphs):
        if held >= wanted:
            break
        if not kept or paragraph != kept[-1]:
            kept.append(paragraph)
            held += len(paragraph[1])
    return kept


def count_sentences(paragraphs: Iterable[Paragraph]) -> int:
    """Sentences in some paragraphs."""
    return sum(len(sentences) for _, sentences in paragraphs)


def write_sentences(paragraphs: Iterable[Paragraph], path: Path) -> None:
    """Write the sentences of a sample, one a line."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{sentence}\n" for _, sentences in paragraphs for sentence in sentences)


def train_on_file(path: Path, config: VocabConfig) -> bytes:
    """The SentencePiece model of a file with a sentence a line, which is never in memory as a whole.

    SentencePiece itself needs 20 bytes a character.

    Raises:
        InputError: the text does not support a vocabulary of that size.
    """

    def sentences() -> Iterator[str]:
        with open(path, encoding="utf-8", newline="\n") as file:
            yield from (line.removesuffix("\n") for line in file)

    return train_sentencepiece(sentences(), config.size, config.algorithm, config.lowercase, COVERAGE).model
