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
class PrepareCorpus:
    """Turn raw text into a tokenizer and token shards, or go on where an interrupted preparation was."""

    input: tuple[str, ...]
    """Files and folders of text, or tfds:NAME (tfds:wikipedia/20230601.en). Text is WikiExtractor's output, JSON lines
    or an array of JSON objects, or plain with blank lines between documents; as it is or as .gz, .xz, .zst or .bz2,
    also inside .tar."""
    out: str
    """Corpus folder to write; with --beam also gs://..., s3://... or hdfs://..."""
    vocab: Path | None = None
    """A tokenizer to use instead of training one: spiece.model, tokenizer.json, vocab.txt, or a folder with one."""
    vocab_size: int = 30_000
    """Number of pieces of the vocabulary to train; the text must support it."""
    vocab_algorithm: Literal["unigram", "bpe"] = "unigram"
    """How SentencePiece makes them."""
    vocab_sentences: int = 200_000
    """Sentences to train it on, spread over the corpus; memory grows with them."""
    lowercase: bool = True
    """Fold case, as in BERT's uncased models."""
    workers: int = os.cpu_count() or 1
    """Processes that clean and tokenise. The output is the same for any number."""
    beam: str | None = None
    """Run on Apache Beam instead, with these options of its own: --beam="--runner=DataflowRunner --region=...".
    Needs pip install 'bert_jax[beam]'."""
    text: OmitArgPrefixes[TextConfig] = TextConfig()

    def __post_init__(self) -> None:
        if not self.input:
            raise InputError("--input names nothing")
        for field in ("workers", "vocab_sentences"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} {getattr(self, field)}: at least 1 is needed")
        if self.vocab_size < 6:
            raise InputError(f"--vocab-size {self.vocab_size}: at least 6 is needed, five of them being special")

    def tokenizer(self) -> VocabConfig | Path:
        """The vocabulary to train, or the tokenizer that exists."""
        trained = VocabConfig(self.vocab_size, self.vocab_algorithm, self.vocab_sentences, self.lowercase)
        return self.vocab or trained
