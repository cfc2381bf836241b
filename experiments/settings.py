"""What can be set from a command line. Named ones stand in `configs/`."""

import itertools
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from bert_jax.config import FinetuneConfig, PretrainConfig, ReadoutConfig, VocabConfig
from bert_jax.data import controlled, glue
from bert_jax.data.prepare import TextConfig
from bert_jax.data.tasks import Task
from bert_jax.errors import InputError, unknown

SUITES: dict[str, dict[str, Task]] = {"embedded": controlled.TASKS, "glue": glue.TASKS}


@dataclass(frozen=True)
class PretrainRun:
    """Pretrain on the embedded corpus."""

    out: Path
    """Model directory to write."""
    documents: int = 2000
    """Documents of the embedded language to pretrain on."""
    pretrain: PretrainConfig = PretrainConfig()


@dataclass(frozen=True)
class PrepareCorpus:
    """Turn raw text into a tokenizer and token shards, or go on where an interrupted preparation was."""

    input: tuple[str, ...]
    """Files and folders of text, or tfds:NAME (tfds:wikipedia/20230601.en). Text is WikiExtractor's output, JSON lines,
    or plain with blank lines between documents; as it is or as .gz, .xz, .zst or .bz2, also inside .tar."""
    out: Path
    """Corpus folder to write."""
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
    text: OmitArgPrefixes[TextConfig] = TextConfig()

    def __post_init__(self) -> None:
        if not self.input:
            raise InputError("--input names nothing")
        for field in ("workers", "vocab_sentences"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} {getattr(self, field)}: at least 1 is needed")

    def tokenizer(self) -> VocabConfig | Path:
        """The vocabulary to train, or the tokenizer that exists."""
        trained = VocabConfig(self.vocab_size, self.vocab_algorithm, self.vocab_sentences, self.lowercase)
        return self.vocab or trained


@dataclass(frozen=True)
class Ablation:
    """A grid of fine-tuning runs: tasks x readouts x learning rates x seeds."""

    suite: Literal["embedded", "glue"]
    """Which tasks: the generated ones that come with the package, or GLUE."""
    tasks: tuple[str, ...]
    """Tasks of the suite."""
    out: Path
    """Run folder: rows, predictions, tables and the figure."""
    encoder: str | None = None
    """Model directory or hub id. Without it (embedded suite only) a tiny BERT is pretrained first."""
    glue_dir: Path | None = None
    """Folder with the published GLUE folders (CoLA, MRPC, ...). Without it, TFDS fetches glue/*."""
    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; the first is the reference that the others are compared with."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs."""
    seeds: int = 5
    """Seeds per cell: 0, 1, ..."""
    learning_rates: tuple[float, ...] = ()
    """Rates to try for every readout; the best on the evaluation set is reported, and the table says so.
    By default the one of finetune.optim."""
    train_rows: int | None = None
    """Train on the first rows only."""
    finetune: FinetuneConfig = FinetuneConfig()
    pretrain: PretrainConfig = PretrainConfig()
    """How the embedded suite's own encoder is made."""
    documents: int = 2000
    """Documents of the embedded corpus to pretrain it on."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"--seeds {self.seeds}: at least one seed is needed")
        if self.train_rows is not None and self.train_rows < 1:
            raise InputError(f"--train-rows {self.train_rows}: at least one row is needed")
        for rate in self.learning_rates:
            if not 0 < rate < math.inf:
                raise InputError(f"--learning-rates {rate}: a rate must be a positive number")
        for field in ("tasks", "poolings", "layers", "projections", "learning_rates"):
            values = getattr(self, field)
            if not values and field != "learning_rates":
                raise InputError(f"--{field} names nothing")
            if len(set(values)) < len(values):
                raise InputError(f"--{field.replace('_', '-')} names something twice: {' '.join(map(str, values))}")
        for task in self.tasks:
            if task not in SUITES[self.suite]:
                raise unknown("task", task, SUITES[self.suite])
        self.readouts()

    def readouts(self) -> list[ReadoutConfig]:
        """Every combination of layers, pooling and projection, poolings varying fastest."""
        grid = itertools.product(self.layers, self.projections, self.poolings)
        return [ReadoutConfig(layers, pooling, projection) for layers, projection, pooling in grid]
