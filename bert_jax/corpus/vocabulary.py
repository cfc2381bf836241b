"""Read a given vocabulary, or train one on a sample that does not depend on how the corpus is distributed."""

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from bert_jax.corpus.sentences import clean, split_sentences
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig
from bert_jax.tokenizers.template import Template
from bert_jax.tokenizers.tokenizer import Tokenizer, load_tokenizer, train_sentencepiece

COVERAGE = 0.9998
"""Share of the characters of a text that the vocabulary covers. Full coverage would add thousands of pieces that each
occur in a handful of sentences: one in nine of a vocabulary of 16,000 for the English Wikipedia."""

Paragraph = tuple[int, tuple[str, ...]]
"""The checksum of a line of text, which determines whether it is drawn, and its sentences."""
HIGHEST = (1 << 32) - 1
"""Highest possible checksum."""


def read_vocabulary(path: Path) -> Tokenizer:
    """Load the tokenizer of a pretraining, whose examples are `[CLS] A [SEP] B [SEP]`.

    Raises:
        InputError: see `load_tokenizer`; or the tokenizer puts other tokens around two texts.
    """
    tokenizer = load_tokenizer(path)
    if tokenizer.template != Template.of_bert(tokenizer.special):
        raise InputError(
            f"{path}: only a BERT can be pretrained here, on [CLS] A [SEP] B [SEP]; this tokenizer has other tokens "
            "around two texts: train a vocabulary (leave --vocab out), or name one of BERT"
        )
    return tokenizer


def draw_paragraphs(documents: Iterable[str], split: bool, wanted: int, highest: int) -> list[Paragraph]:
    """Draw the lowest-hashed lines with a checksum of at most `highest`, until they hold `wanted` sentences.

    The order of lines is that of their hashes, so every part of a corpus can be sampled separately: `least` of all
    samples equals one sample of the whole. A repeated line is drawn once.
    """
    drawn: dict[str, Paragraph] = {}
    for document in documents:
        for line in document.split("\n"):
            key = zlib.crc32(line.encode())
            if key <= highest and line not in drawn and (cleaned := clean(line)):
                drawn[line] = key, tuple(split_sentences(cleaned)) if split else (cleaned,)
    return least(drawn.values(), wanted)


def least(paragraphs: Iterable[Paragraph], wanted: int) -> list[Paragraph]:
    """Return the lowest-hashed paragraphs, each once, until they hold `wanted` sentences; all if they hold fewer.

    Ties of checksums, which occur in large corpora, are broken by the text, so that the result does not depend on the
    order of the input.
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
    """Count the sentences in paragraphs."""
    return sum(len(sentences) for _, sentences in paragraphs)


def write_sentences(paragraphs: Iterable[Paragraph], path: Path) -> None:
    """Write the sentences of a sample, one per line."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{sentence}\n" for _, sentences in paragraphs for sentence in sentences)


def train_on_file(path: Path, config: VocabConfig) -> bytes:
    """Train a SentencePiece model on a file with one sentence per line, which is read as a stream.

    SentencePiece itself needs 20 bytes of memory per character.

    Raises:
        InputError: the text does not support a vocabulary of that size.
    """

    def sentences() -> Iterator[str]:
        with open(path, encoding="utf-8", newline="\n") as file:
            yield from (line.removesuffix("\n") for line in file)

    return train_sentencepiece(sentences(), config.size, config.algorithm, config.lowercase, COVERAGE).model
