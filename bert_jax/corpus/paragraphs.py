"""Split paragraphs into sentences and tokenise them in one pass over their words.

A text has far fewer distinct words than occurrences of them. The tokens of a word and its role at a sentence boundary
are computed when it first occurs, and looked up afterwards.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from bert_jax.corpus.corpus import Document, starts, token_dtype, tokenize
from bert_jax.corpus.sentences import as_first, as_last, find_ends, split_sentences
from bert_jax.corpus.word_table import CAPACITY, NEWLINE, Words
from bert_jax.tokenizers.tokenizer import Tokenizer

_BATCH = 1 << 18
"""Characters looked up in one call: few enough that the intermediate arrays fit into a cache."""

Tokenized = tuple[bytes, Document]
"""The sentences of a document, one per line, and their tokens."""


class ParagraphTokenizer:
    """Tokenises documents, each a list of clean paragraphs.

    A `wordwise` tokenizer is applied to every word by itself, any other to every sentence. With a unigram model the
    two can differ if two segmentations of a word are equally likely: in a sentence, rounding of the scores before the
    word decides between them; for a single word the result is always the same.

    Args:
        tokenizer: the tokenizer to apply.
        split: split paragraphs into sentences; if false, every paragraph is a sentence.
    """

    def __init__(self, tokenizer: Tokenizer, split: bool) -> None:
        self._tokenizer, self._split = tokenizer, split
        self.unk = tokenizer.special.unk
        self._words = Words()
        # Indexed by word number:
        self._first = np.zeros(CAPACITY, np.uint8)
        self._last = np.zeros(CAPACITY, np.uint8)
        self._lengths = np.zeros(CAPACITY, np.int32)
        self._starts = np.zeros(CAPACITY, np.int32)
        self._tokens = np.zeros(1 << 16, token_dtype(tokenizer.vocab_size))
        self._filled = 0

    def __call__(self, documents: Iterable[Sequence[str]]) -> Iterator[Tokenized]:
        """Tokenise documents; sentences without tokens are left out of a document's lengths.

        Raises:
            ValueError: a paragraph contains a newline.
        """
        if not self._tokenizer.wordwise:
            yield from self._by_sentences(documents)
            return
        pending: list[Sequence[str]] = []
        size = 0
        for document in documents:
            length = sum(map(len, document))
            if not document or length > _BATCH:
                # Flush pending documents first, to keep the order.
                yield from self._by_words(pending)
                yield from self._by_sentences([document])
                pending, size = [], 0
                continue
            pending.append(document)
            size += length
            if size >= _BATCH:
                yield from self._by_words(pending)
                pending, size = [], 0
        yield from self._by_words(pending)

    def _by_sentences(self, documents: Iterable[Sequence[str]]) -> Iterator[Tokenized]:
        sentences = list(documents)
        if self._split:
            sentences = [
                list(itertools.chain.from_iterable(map(split_sentences, paragraphs))) for paragraphs in sentences
            ]
        for kept, tokens in zip(sentences, tokenize(self._tokenizer, sentences), strict=True):
            yield "\n".join(kept).encode(), tokens

    def _by_words(self, documents: Sequence[Sequence[str]]) -> Iterator[Tokenized]:
        if not documents:
            return
        content = bytearray("\n".join(itertools.chain.from_iterable(documents)).encode() + b"\n")
        text = np.frombuffer(content, np.uint8)
        numbers, word_ends = self._find(text)
        ends = text[word_ends] == NEWLINE
        counts = np.cumsum([len(document) for document in documents])
        if np.count_nonzero(ends) != counts[-1]:
            raise ValueError("a paragraph holds a new line")
        last_words = np.flatnonzero(ends)[counts - 1]
        if self._split:
            ends = find_ends(self._last[numbers], self._first[numbers], ends)
            text[word_ends[ends]] = NEWLINE
        lengths = self._lengths[numbers]
        behind = np.cumsum(lengths, dtype=np.int32)
        places = np.repeat(self._starts[numbers] - behind + lengths, lengths)
        places += np.arange(len(places), dtype=np.int32)
        tokens = self._tokens[places]
        of_sentences = np.diff(behind[ends], prepend=0).astype(np.uint32)
        marks = (of_words[last_words].tolist() for of_words in (word_ends, behind, np.cumsum(ends)))
        byte = token = sentence = 0
        for last_byte, last_token, last_sentence in zip(*marks, strict=True):
            inside = of_sentences[sentence:last_sentence]
            yield bytes(content[byte:last_byte]), Document(tokens[token:last_token], inside[inside > 0])
            byte, token, sentence = last_byte + 1, last_token, last_sentence

    def _find(self, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the number and the end of each word of a text; new words are added to the tables."""
        if self._words.count + len(text) > CAPACITY:
            self._words.clear()
            self._filled = 0
        known = self._words.count
        found = self._words.find(text)
        if len(found.new):
            content = text.tobytes()
            places = zip(found.starts[found.new].tolist(), found.ends[found.new].tolist(), strict=True)
            self._learn(known, [content[start:end].decode() for start, end in places])
        return found.numbers, found.ends

    def _learn(self, known: int, words: list[str]) -> None:
        """Add new words, whose numbers follow the known ones, to the tables."""
        new = slice(known, known + len(words))
        if self._split:
            self._first[new] = [as_first(word) for word in words]
            self._last[new] = [as_last(word) for word in words]
        pieces = self._tokenizer.pieces(words)
        bounds = starts([len(ids) for ids in pieces]) + self._filled
        self._starts[new], self._lengths[new] = bounds[:-1], np.diff(bounds)
        while bounds[-1] > len(self._tokens):
            self._tokens = np.concatenate([self._tokens, np.zeros_like(self._tokens)])
        self._tokens[self._filled : bounds[-1]] = np.fromiter(
            itertools.chain.from_iterable(pieces), self._tokens.dtype, int(bounds[-1]) - self._filled
        )
        self._filled = int(bounds[-1])
