"""Text to token ids: WordPiece for published vocabularies, SentencePiece for our own, behind one protocol."""

import functools
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np
import sentencepiece
import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from bert_jax.errors import InputError
from bert_jax.tokenizers.long_sentences import cut_long

SPACE = "\u2581"
"""What SentencePiece writes for a space."""
SENTENCEPIECE_FILE = "spiece.model"
TOKENIZER_FILES = (SENTENCEPIECE_FILE, "tokenizer.json", "vocab.txt")
"""What a model directory may hold; the first that is there counts."""


class SpecialIds(NamedTuple):
    """Ids of the tokens that no text contains."""

    pad: int
    unk: int
    cls: int
    sep: int
    mask: int


SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
"""BERT's, in the order of `SpecialIds`."""


class Encoding(NamedTuple):
    """One input with its special tokens: ids, and segments (0 up to the first [SEP], then 1)."""

    ids: list[int]
    segments: list[int]


class Tokenizer(Protocol):
    """What the rest of the code needs of a tokenizer."""

    vocab_size: int
    special: SpecialIds

    @property
    def wordwise(self) -> bool:
        """Are the ids of a text those of what stands between its spaces, one after the other?"""
        ...

    @property
    def starts_word(self) -> np.ndarray:
        """Of each id [V] bool: does it begin a word, and not continue one?"""
        ...

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens and without truncation."""
        ...

    def texts(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        """The text that some ids stand for, as far as the tokenizer has kept it."""
        ...

    def encode(self, text: str, pair: str | None = None, max_length: int | None = None) -> list[int]:
        """Ids of `[CLS] text [SEP]` or `[CLS] text [SEP] pair [SEP]`."""
        ...

    def save(self, folder: Path) -> None:
        """Write the files from which `load_tokenizer` makes the same tokenizer."""
        ...


class _Assembling:
    """The part of the protocol that follows from `pieces` and `special`."""

    special: SpecialIds

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        raise AssertionError("each tokenizer has its own")

    def encode(self, text: str, pair: str | None = None, max_length: int | None = None) -> list[int]:
        first = self.pieces([text])[0]
        second = None if pair is None else self.pieces([pair])[0]
        return assemble(self.special, first, second, max_length).ids


def assemble(special: SpecialIds, a: list[int], b: list[int] | None = None, max_length: int | None = None) -> Encoding:
    """Put one or two texts between special tokens, the longer one cut first until they fit `max_length`."""
    if b is None:
        a = a if max_length is None else a[: max(max_length - 2, 0)]
        ids = [special.cls, *a, special.sep]
        return Encoding(ids, [0] * len(ids))
    if max_length is not None:
        keep_a, keep_b = longest_first(len(a), len(b), max(max_length - 3, 0))
        a, b = a[:keep_a], b[:keep_b]
    ids = [special.cls, *a, special.sep, *b, special.sep]
    return Encoding(ids, [0] * (len(a) + 2) + [1] * (len(b) + 1))


def longest_first(a: int, b: int, budget: int) -> tuple[int, int]:
    """Lengths after cutting tokens from the longer of two texts, one at a time, until both fit.

    >>> longest_first(10, 3, 8), longest_first(10, 9, 7), longest_first(2, 1, 8)
    ((5, 3), (4, 3), (2, 1))
    """
    if a + b <= budget:
        return a, b
    if min(a, b) <= budget // 2:
        return (a, budget - a) if a < b else (budget - b, b)
    # What cannot be halved goes to the longer text, and to the second of equals, as in the Rust tokenizers.
    half = budget // 2
    return (budget - half, half) if a > b else (half, budget - half)


class WordPiece(_Assembling):
    """BERT's own tokenizer, from `tokenizer.json` or `vocab.txt`; the `tokenizers` library does the work."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.vocab_size = tokenizer.get_vocab_size()
        ids = {name: tokenizer.token_to_id(name) for name in SPECIAL_TOKENS}
        if missing := [name for name, id_ in ids.items() if id_ is None]:
            raise InputError(f"the vocabulary has no {', '.join(missing)}: a BERT tokenizer needs them")
        self.special = SpecialIds(*(id_ for id_ in ids.values() if id_ is not None))

    @functools.cached_property
    def wordwise(self) -> bool:
        # Any other part might look over a space. Of its own, BERT's normaliser goes by characters.
        of_bert = isinstance(self.tokenizer.normalizer, BertNormalizer) and isinstance(
            self.tokenizer.pre_tokenizer, BertPreTokenizer
        )
        return of_bert and not any(" " in token.content for token in self.tokenizer.get_added_tokens_decoder().values())

    @property
    def starts_word(self) -> np.ndarray:
        names = (self.tokenizer.id_to_token(i) or "" for i in range(self.vocab_size))
        return np.array([not name.startswith("##") for name in names])

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def texts(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        return self.tokenizer.decode_batch([list(ids) for ids in pieces])

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / "tokenizer.json"))
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        (folder / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocabulary), encoding="utf-8")

    @classmethod
    def from_vocabulary(cls, path: Path, lowercase: bool = True) -> "WordPiece":
        """From a `vocab.txt`, a token a line."""
        if not path.is_file():
            raise InputError(f"there is no vocabulary {path}")
        try:
            tokenizer = BertWordPieceTokenizer(str(path), lowercase=lowercase)._tokenizer
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path} is not a usable vocabulary: {error}") from error
        return cls(tokenizer)


class SentencePiece(_Assembling):
    """A SentencePiece model whose control symbols are [PAD], [UNK], [CLS], [SEP], [MASK] at ids 0 to 4."""

    def __init__(self, model: bytes, num_threads: int = -1) -> None:
        self.model = model
        self.num_threads = num_threads  # -1 is one for each core
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.load_from_serialized_proto(model)
        except RuntimeError as error:
            raise InputError("not a SentencePiece model: it cannot be parsed") from error
        self.vocab_size = self.processor.get_piece_size()
        ids = [self.processor.piece_to_id(name) for name in SPECIAL_TOKENS]
        if ids != list(range(5)):
            raise InputError("this SentencePiece model has no [PAD], [UNK], [CLS], [SEP], [MASK] as its ids 0 to 4")
        self.special = SpecialIds(*ids)

    @functools.cached_property
    def wordwise(self) -> bool:
        names = self.processor.id_to_piece(list(range(self.vocab_size)))
        # Without a piece of its own, a space would be part of an unknown one, which may go over it.
        within = SPACE in names and not any(SPACE in name[1:] or " " in name for name in names)
        together, first, second = self.pieces(["  a  b ", "a", "b"])
        return within and together == first + second

    @property
    def starts_word(self) -> np.ndarray:
        names = self.processor.id_to_piece(list(range(self.vocab_size)))
        return np.array([name.startswith(SPACE) for name in names])

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return self.processor.encode(list(texts), num_threads=self.num_threads)

    def texts(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        return self.processor.decode([list(map(int, ids)) for ids in pieces])

    def save(self, folder: Path) -> None:
        (folder / SENTENCEPIECE_FILE).write_bytes(self.model)


_LONGEST_SENTENCE = 4192
"""Bytes of a sentence that SentencePiece trains on; it passes over longer ones without a word."""


def train_sentencepiece(
    sentences: Iterable[str],
    vocab_size: int,
    algorithm: Literal["unigram", "bpe"] = "unigram",
    lowercase: bool = False,
    coverage: float = 1.0,
) -> SentencePiece:
    """Train a model in memory; the same sentences give the same model.

    Text is normalised as NFKC, and with `lowercase` its case is folded too; the model does so to all that it encodes.

    Args:
        sentences: the text.
        vocab_size: number of pieces.
        algorithm: how they are made.
        lowercase: fold case.
        coverage: share of the text's characters that must be in the vocabulary, the most frequent ones; the others
            become [UNK].

    Raises:
        InputError: the text does not support a vocabulary of that size.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=cut_long(sentences, _LONGEST_SENTENCE),
            model_writer=model,
            vocab_size=vocab_size,
            model_type=algorithm,
            normalization_rule_name="nmt_nfkc_cf" if lowercase else "nmt_nfkc",
            character_coverage=coverage,
            num_threads=1,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            pad_piece="[PAD]",
            unk_piece="[UNK]",
            bos_piece="[CLS]",
            eos_piece="[SEP]",
            control_symbols=["[MASK]"],
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = _last_sentence(error)
        raise InputError(
            f"a vocabulary of {vocab_size} (vocab_size) cannot be trained on this text: {reason}"
        ) from error
    return SentencePiece(model.getvalue())


def _last_sentence(error: Exception) -> str:
    """What the trainer says to a user, without the line of its source code that it begins with."""
    return str(error).rpartition("] ")[2].strip() or "there is too little of it"


def load_tokenizer(path: Path, num_threads: int = -1) -> Tokenizer:
    """The tokenizer of a file, or of a model directory: `spiece.model`, `tokenizer.json` or `vocab.txt`, in this order.

    Args:
        path: the file (`*.model`, `*.json` or a vocabulary with a token a line) or the directory.
        num_threads: of SentencePiece for many texts, -1 for one a core. WordPiece goes by TOKENIZERS_PARALLELISM.

    Raises:
        InputError: there is none of them, or it cannot be read.
    """
    file = tokenizer_file(path)
    if file.suffix == ".model":
        return SentencePiece(file.read_bytes(), num_threads)
    if file.suffix != ".json":
        return WordPiece.from_vocabulary(file, _lowercases(file.with_name("tokenizer_config.json"), file))
    try:
        return WordPiece(tokenizers.Tokenizer.from_file(str(file)))
    except InputError:
        raise
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{file} is not a readable tokenizer: {error}") from error


def tokenizer_file(path: Path) -> Path:
    """The file that `load_tokenizer` reads: the path itself, or the one in a model directory.

    Raises:
        InputError: there is none.
    """
    found = [file for file in (path, *(path / name for name in TOKENIZER_FILES)) if file.is_file()]
    if not found:
        raise InputError(f"{path} has no tokenizer: one of {', '.join(TOKENIZER_FILES)} is needed")
    return found[0]


def fingerprint(path: Path) -> str:
    """SHA-256 of the file that `load_tokenizer` reads."""
    return hashlib.sha256(tokenizer_file(path).read_bytes()).hexdigest()


def _lowercases(path: Path, vocabulary: Path) -> bool:
    """Whether a vocabulary is of lowercased text: as tokenizer_config.json says; without it, if no word has a capital.

    BERT's original checkpoints say it nowhere but in their names.
    """
    if path.is_file():
        try:
            stated = json.loads(path.read_text(encoding="utf-8")).get("do_lower_case")
            if stated is not None:
                return bool(stated)
        except (ValueError, AttributeError) as error:
            raise InputError(f"{path} is not a readable JSON object: {error}") from error
    words = vocabulary.read_text(encoding="utf-8", errors="replace").split("\n")
    return not any(word != word.lower() for word in words if word.isascii() and not word.startswith("["))
