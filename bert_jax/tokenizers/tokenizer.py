"""Text to token ids: WordPiece for published vocabularies and SentencePiece for our own, behind one protocol."""

import functools
import hashlib
import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import sentencepiece
import tokenizers
from tokenizers import models
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from bert_jax.errors import InputError, within
from bert_jax.files import Json
from bert_jax.tokenizers.added_tokens import NAMES, SPECIAL_TOKENS, read_added
from bert_jax.tokenizers.long_sentences import cut_long
from bert_jax.tokenizers.subword_files import CONFIG, MERGES
from bert_jax.tokenizers.template import SpecialIds, Template, assemble
from bert_jax.tokenizers.wordpiece_files import differences, is_foreign, read_parts, write_vocabulary

SPACE = "\u2581"
"""The character that stands for a space in SentencePiece."""
SENTENCEPIECE_FILE = "spiece.model"
TOKENIZER_FILES = (SENTENCEPIECE_FILE, "tokenizer.json", "vocab.txt", "vocab.json")
"""Tokenizer files of a model directory; the first that exists is read, and merges.txt beside vocab.json."""
_BYTE_OF_SPACE = "\u0120"
"""The character that stands for a space in byte-level BPE."""
SETTINGS_FILES = (CONFIG, "added_tokens.json", "special_tokens_map.json")
"""Files beside a WordPiece tokenizer that also affect its ids."""


class Tokenizer(Protocol):
    """The tokenizer interface that the other modules use."""

    vocab_size: int
    """The highest id plus one."""
    special: SpecialIds
    template: Template
    casing: str
    """Case handling and its reason, in words: `cased (as asked)`."""

    @property
    def wordwise(self) -> bool:
        """True if the ids of a text are the concatenated ids of its space-separated words."""
        ...

    @property
    def starts_word(self) -> np.ndarray:
        """Mask [V] bool of the ids that begin a word; the others continue one."""
        ...

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        """Tokenise each text, without special tokens and without truncation."""
        ...

    def texts(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        """Decode each list of ids to text, as far as the tokenizer preserves it."""
        ...

    def encode(self, text: str, pair: str | None = None, max_length: int | None = None) -> list[int]:
        """Return the ids of a text or a pair between special tokens: `[CLS] text [SEP] pair [SEP]` in BERT's."""
        ...

    def save(self, folder: Path) -> None:
        """Write the files from which `load_tokenizer` restores the same tokenizer."""
        ...


class _Assembling:
    """Implementation of `encode` on top of `pieces` and `template`."""

    template: Template

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        raise AssertionError("each tokenizer has its own")

    def encode(self, text: str, pair: str | None = None, max_length: int | None = None) -> list[int]:
        first = self.pieces([text])[0]
        second = None if pair is None else self.pieces([pair])[0]
        return assemble(self.template, first, second, max_length).ids


class LibraryTokenizer(_Assembling):
    """A tokenizer of the `tokenizers` library.

    Args:
        tokenizer: a tokenizer of the library.
        names: its special tokens, in the order of `SpecialIds`.
        casing: case handling and its reason, in words.
        template: what it puts around texts; by default BERT's.
    """

    def __init__(
        self,
        tokenizer: tokenizers.Tokenizer,
        names: Sequence[str] = SPECIAL_TOKENS,
        casing: str = "case as its tokenizer.json says",
        template: Template | None = None,
    ) -> None:
        ids = {name: tokenizer.token_to_id(name) for name in names}
        if missing := [name for name, id_ in ids.items() if id_ is None]:
            raise InputError(f"the vocabulary has no {', '.join(missing)}: a BERT tokenizer needs them")
        self.special = SpecialIds(*(ids[name] or 0 for name in names))
        self.template = template or Template.of_bert(self.special)
        self.tokenizer, self.names, self.casing = tokenizer, tuple(names), casing
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        if template is None:
            _, _, cls, sep, _ = names
            self.tokenizer.post_processor = TemplateProcessing(
                single=f"{cls}:0 $A:0 {sep}:0",
                pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
                special_tokens=[(cls, self.special.cls), (sep, self.special.sep)],
            )
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1

    @functools.cached_property
    def wordwise(self) -> bool:
        # Other components might match across spaces; BERT's normaliser works on single characters.
        of_bert = isinstance(self.tokenizer.normalizer, BertNormalizer) and isinstance(
            self.tokenizer.pre_tokenizer, BertPreTokenizer
        )
        added = self.tokenizer.get_added_tokens_decoder().values()
        return of_bert and not any(letter.isspace() for token in added for letter in token.content)

    @property
    def starts_word(self) -> np.ndarray:
        names = [self.tokenizer.id_to_token(i) or "" for i in range(self.vocab_size)]
        if isinstance(self.tokenizer.model, models.WordPiece):
            return np.array([not name.startswith("##") for name in names])
        return np.array([name.startswith((SPACE, _BYTE_OF_SPACE)) for name in names])

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        return [e.ids for e in self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    def texts(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        return self.tokenizer.decode_batch([list(ids) for ids in pieces])

    def settings(self) -> Json:
        """Return the tokenizer_config.json from which `transformers` builds the same tokenizer."""
        described = json.loads(self.tokenizer.to_str())
        flags = {row.pop("id"): row for row in described["added_tokens"]}
        added = {row["content"] for row in flags.values()}
        # Naming a special token would add it to the tokenizer, which then matches it inside texts.
        named = {name: token for name, token in zip(NAMES, self.names, strict=True) if token in added}
        settings: Json = {"tokenizer_class": "PreTrainedTokenizerFast"}
        if len(named) == len(NAMES) and not differences(described):
            settings = {
                "tokenizer_class": "BertTokenizer",
                "do_lower_case": described["normalizer"]["lowercase"],
                "strip_accents": described["normalizer"]["strip_accents"],
                "tokenize_chinese_chars": described["normalizer"]["handle_chinese_chars"],
            }
        return settings | named | {"added_tokens_decoder": {str(id_): row for id_, row in flags.items()}}

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / "tokenizer.json"))
        text = json.dumps(self.settings(), indent=2, ensure_ascii=False) + "\n"
        (folder / CONFIG).write_text(text, encoding="utf-8")


class WordPiece(LibraryTokenizer):
    """BERT's own tokenizer, from `tokenizer.json` or `vocab.txt`."""

    def save(self, folder: Path) -> None:
        super().save(folder)
        write_vocabulary(folder / "vocab.txt", self.tokenizer.get_vocab(with_added_tokens=False))

    @classmethod
    def from_vocabulary(cls, path: Path, lowercase: bool = True) -> "WordPiece":
        """Load a vocabulary with one token per line; the settings beside it apply, except for case.

        Raises:
            InputError: as `read_parts`.
        """
        return cls(*read_parts(path, cased=not lowercase))


class SentencePiece(_Assembling):
    """A SentencePiece model whose control symbols are [PAD], [UNK], [CLS], [SEP], [MASK] at ids 0 to 4."""

    casing = "case as its model says"

    def __init__(self, model: bytes, num_threads: int = -1) -> None:
        self.model = model
        self.num_threads = num_threads  # -1: one per core
        self.processor = sentencepiece.SentencePieceProcessor()
        try:
            self.processor.load_from_serialized_proto(model)
        except RuntimeError as error:
            raise InputError("not a SentencePiece model: it cannot be parsed") from error
        self.vocab_size = self.processor.get_piece_size()
        try:
            self._names: list[str] = self.processor.id_to_piece(list(range(self.vocab_size)))
        except UnicodeDecodeError as error:
            raise InputError(f"this SentencePiece model is damaged: a piece is not UTF-8 ({error})") from error
        ids = [self.processor.piece_to_id(name) for name in SPECIAL_TOKENS]
        if ids != list(range(5)):
            raise InputError("this SentencePiece model has no [PAD], [UNK], [CLS], [SEP], [MASK] as its ids 0 to 4")
        self.special = SpecialIds(*ids)
        self.template = Template.of_bert(self.special)

    @functools.cached_property
    def wordwise(self) -> bool:
        # Unless a space is a piece, it is part of an unknown piece, which may extend across it.
        within = SPACE in self._names and not any(SPACE in name[1:] or " " in name for name in self._names)
        together, first, second = self.pieces(["  a  b ", "a", "b"])
        return within and together == first + second

    @property
    def starts_word(self) -> np.ndarray:
        return np.array([name.startswith(SPACE) for name in self._names])

    def pieces(self, texts: Sequence[str]) -> list[list[int]]:
        pieces: list[list[int]] = self.processor.encode(list(texts), num_threads=self.num_threads)
        return pieces

    def texts(self, pieces: Sequence[Sequence[int]]) -> list[str]:
        texts: list[str] = self.processor.decode([list(map(int, ids)) for ids in pieces])
        return texts

    def save(self, folder: Path) -> None:
        (folder / SENTENCEPIECE_FILE).write_bytes(self.model)


_LONGEST_SENTENCE = 4192
"""Longest sentence in bytes that SentencePiece trains on; it skips longer ones silently."""


def train_sentencepiece(
    sentences: Iterable[str],
    vocab_size: int,
    algorithm: Literal["unigram", "bpe"] = "unigram",
    lowercase: bool = False,
    coverage: float = 1.0,
) -> SentencePiece:
    """Train a model in memory; the same sentences give the same model.

    The model normalises all text, in training and encoding, by NFKC, and with `lowercase` also folds case.

    Args:
        sentences: the training text.
        vocab_size: number of pieces.
        algorithm: training algorithm of the pieces.
        lowercase: fold case.
        coverage: share of the text's characters that the vocabulary must cover, the most frequent ones first; the
            others become [UNK].

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
        raise InputError(
            f"a vocabulary of {vocab_size} (vocab_size) cannot be trained on this text: {_reason(error, vocab_size)}"
        ) from error
    return SentencePiece(model.getvalue())


def _reason(error: Exception, size: int) -> str:
    """Say why a trainer failed: its message has a source code location in front, and advice for another program."""
    message = str(error).rpartition("] ")[2].strip()
    if size <= len(SPECIAL_TOKENS):
        return f"the special tokens alone are {len(SPECIAL_TOKENS)}"
    if few := re.search(r"required_chars\. \d+ vs (\d+)", message):
        return f"with its characters and the special tokens it has at least {few[1]} pieces"
    if many := re.search(r"too high \(\d+\)\. .* <= (\d+)", message):
        return f"it supports {many[1]} at most"
    return message or "there is too little of it"


def load_tokenizer(path: Path, num_threads: int = -1, cased: bool | None = None) -> Tokenizer:
    """Load a tokenizer from a file, or from a directory with `spiece.model`, `tokenizer.json` or `vocab.txt`.

    Args:
        path: the file (`*.model`, `*.json` or a vocabulary with one token per line) or the model directory, whose
            first of these files is read.
        num_threads: threads of SentencePiece for many texts, -1 for one per core. WordPiece follows
            TOKENIZERS_PARALLELISM.
        cased: True to keep capitals, False to lowercase, None to follow the files.

    Raises:
        InputError: no such file exists, it cannot be read, or a setting beside it is not supported.
    """
    file = tokenizer_file(path)
    if file.suffix == ".model":
        if cased is not None:
            raise InputError(f"{file}: a SentencePiece model treats case as it was trained to; leave the setting out")
        _refuse_added(file)
        with within(file):
            return SentencePiece(file.read_bytes(), num_threads)
    parts = read_parts(file, cased)
    make = WordPiece if isinstance(parts.tokenizer.model, models.WordPiece) else LibraryTokenizer
    with within(file):
        tokenizer = make(*parts)
    if file.suffix != ".json" and tokenizer.starts_word.all():
        warnings.warn(
            f"{file}: no piece continues a word (##), so a word that is not in it whole becomes [UNK]; if it belongs "
            "to another kind of tokenizer, put its tokenizer.json beside it",
            stacklevel=2,
        )
    return tokenizer


def _refuse_added(file: Path) -> None:
    """Refuse tokens added to a SentencePiece model, which only `transformers` supports."""
    added = read_added(file, {})
    tokens = (*added.stated.values(), *added.named.values(), *added.extra)
    contents = [str(getattr(token, "content", token)) for token in tokens]
    if more := sorted(set(contents) - set(SPECIAL_TOKENS)):
        raise InputError(
            f"{file}: the files beside it add {', '.join(map(repr, more[:3]))}, and no token can be added to a "
            "SentencePiece model here"
        )


def tokenizer_file(path: Path) -> Path:
    """Find the file that `load_tokenizer` reads: the path itself, or a file in a model directory.

    Raises:
        InputError: there is no such file.
    """
    found = [file for file in (path, *(path / name for name in TOKENIZER_FILES)) if file.is_file()]
    if not found:
        raise InputError(f"{path} has no tokenizer: one of {', '.join(TOKENIZER_FILES)} is needed")
    is_foreign_model = len(found) > 1 and found[0].name == SENTENCEPIECE_FILE and is_foreign(found[0])
    return found[is_foreign_model]


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of the file that `load_tokenizer` reads, for a WordPiece including the settings beside it."""
    file = tokenizer_file(path)
    found = [file, *(other for other in map(file.with_name, (*SETTINGS_FILES, MERGES)) if other.is_file())]
    return digest_files({one.name: one.read_bytes() for one in found}, file.name)


def digest_files(files: Mapping[str, bytes], first: str | None = None) -> str:
    """Return the fingerprint of a tokenizer from the contents of its files.

    Args:
        files: name -> content.
        first: name of the file that `load_tokenizer` reads; by default the first of `TOKENIZER_FILES`.
    """
    first = first or next(name for name in TOKENIZER_FILES if name in files)
    digest = hashlib.sha256(files[first])
    merges = (MERGES,) if first.endswith("vocab.json") else ()
    for name in (*SETTINGS_FILES, *merges) if not first.endswith(".model") else ():
        if name in files:
            digest.update(name.encode() + files[name])
    return digest.hexdigest()
