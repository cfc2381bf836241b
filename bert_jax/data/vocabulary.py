"""A vocabulary from a sample of a corpus that is the same however the corpus is spread over workers."""

import zlib
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from bert_jax.config import VocabConfig
from bert_jax.data.sentences import clean, split_sentences
from bert_jax.data.tokenizer import SentencePiece, train_sentencepiece

COVERAGE = 0.9998
"""Of the characters of real text. All of them would be thousands of pieces that each stand in a handful of sentences:
of an English Wikipedia's vocabulary of 16,000 one in nine."""

Paragraph = tuple[int, tuple[str, ...]]
"""The checksum of a line of text, which decides whether it is drawn, and its sentences."""


def draw_paragraphs(documents: Iterable[str], split: bool, wanted: int, below: int) -> list[Paragraph]:
    """Of the lines with a checksum `below` a bound those with the least, as few as hold `wanted` sentences.

    A paragraph's place in the order is a hash of itself: any part of a corpus can be drawn from alone, and what
    `fewest` keeps of all the draws is what it would keep of one draw from the whole. Repeated lines are drawn once.
    """
    drawn: dict[int, tuple[str, ...]] = {}
    for document in documents:
        for line in document.split("\n"):
            key = zlib.crc32(line.encode())
            if key < below and key not in drawn and (cleaned := clean(line)):
                drawn[key] = tuple(split_sentences(cleaned)) if split else (cleaned,)
    return fewest(drawn.items(), wanted)


def fewest(paragraphs: Iterable[Paragraph], wanted: int) -> list[Paragraph]:
    """The paragraphs with the least checksums, in order, as few as hold `wanted` sentences (all, if they hold less)."""
    kept: dict[int, tuple[str, ...]] = {}
    held = 0
    for key, sentences in sorted(paragraphs):
        if held >= wanted:
            break
        if key not in kept:
            kept[key] = sentences
            held += len(sentences)
    return list(kept.items())


def train_vocabulary(sentences: list[str], config: VocabConfig) -> SentencePiece:
    """Train in a process of its own, whose memory the system has back afterwards.

    Raises:
        InputError: the text does not support a vocabulary of that size.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return SentencePiece(process.submit(_train, sentences, config).result())


def _train(sentences: list[str], config: VocabConfig) -> bytes:
    return train_sentencepiece(sentences, config.size, config.algorithm, config.lowercase, COVERAGE).model
