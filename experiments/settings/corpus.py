"""Settings of `experiments.prepare_corpus`."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from bert_jax.corpus.prepare import TextConfig
from bert_jax.errors import InputError
from bert_jax.pretrain_config import VocabConfig


@dataclass(frozen=True, kw_only=True)
class CheckCorpus:
    """Compare all files of a prepared corpus with their checksums, and convert a corpus of an older version."""

    corpus: Path
    """Folder written by prepare_corpus. Converting takes as much disk space again until it is done."""


@dataclass(frozen=True, kw_only=True)
class PrepareCorpus:
    """Turn raw text into a tokenizer and arrays of tokens; the same command continues an interrupted preparation."""

    input: tuple[str, ...]
    """Files and folders of text, or tfds:NAME (tfds:wikipedia/20230601.en). Text is WikiExtractor's output, JSON lines,
    an array of JSON objects, or plain text with blank lines between documents; uncompressed or as .gz, .xz, .zst or
    .bz2, also inside .tar."""
    out: str
    """Corpus folder to write; with --beam also gs://..., s3://... or hdfs://..."""
    vocab: Path | None = None
    """Tokenizer to use instead of training one: spiece.model, tokenizer.json, vocab.txt, or a folder with one."""
    vocab_size: int = 30_000
    """Number of pieces of the vocabulary to train; a small text cannot support a large number."""
    vocab_algorithm: Literal["unigram", "bpe"] = "unigram"
    """Algorithm of SentencePiece."""
    vocab_sentences: int = 200_000
    """Sentences to train the vocabulary on, spread over the corpus; memory use grows with their number."""
    lowercase: bool = True
    """Fold case, as in BERT's uncased models."""
    workers: int = os.cpu_count() or 1
    """Number of processes that clean and tokenise text; the output does not depend on it."""
    beam: str | None = None
    """Run on Apache Beam with these pipeline options: --beam="--runner=DataflowRunner --region=...".
    Needs pip install 'bert_jax[beam]'."""
    text: OmitArgPrefixes[TextConfig] = TextConfig()

    def __post_init__(self) -> None:
        if not self.input:
            raise InputError("--input is empty")
        for field in ("workers", "vocab_sentences"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} {getattr(self, field)}: at least 1 is needed")
        if self.vocab_size < 6:
            raise InputError(f"--vocab-size {self.vocab_size}: at least 6 are needed, as five are special tokens")

    def tokenizer(self) -> VocabConfig | Path:
        """The vocabulary to train, or the tokenizer that exists."""
        trained = VocabConfig(self.vocab_size, self.vocab_algorithm, self.vocab_sentences, self.lowercase)
        return self.vocab or trained
