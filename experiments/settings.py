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
    """Pretrain a BERT, or go on with it where it was interrupted: the same command does both."""

    out: Path
    """Run folder: settings, checkpoints, metrics.jsonl, tensorboard, curves.png, and in the end model."""
    corpus: Path | None = None
    """Folder that prepare_corpus wrote. Without it, the embedded language is prepared under the run folder."""
    documents: int = 2000
    """Documents of the embedded language."""
    vocab: VocabConfig = VocabConfig()
    """Vocabulary of the embedded language; a prepared corpus has its own."""
    pretrain: PretrainConfig = PretrainConfig()
    log_every: int = 10
    """Steps between two lines of metrics."""
    eval_every: int = 500
    """Steps between two evaluations on held-out text; there is one more at the end."""
    eval_examples: int = 2000
    """Held-out examples to evaluate at most, spread over the text."""
    save_every: int = 500
    """Steps between two checkpoints; there is one more at the end, and one on SIGTERM or Ctrl-C."""
    keep_last: int = 3
    """Checkpoints to keep, newest first."""
    keep_every: int = 0
    """Keep also those whose step is a multiple of this; 0 for none."""
    spike: float = 3.0
    """Stop at a loss of so many times its running median; 0 to go on whatever happens."""
    wandb_project: str | None = None
    """Log to this project of Weights & Biases too; needs pip install wandb."""
    distributed: Literal["no", "auto"] = "no"
    """auto finds the other hosts by itself: on TPU pods, under SLURM or Open MPI."""
    coordinator: str | None = None
    """address:port of host 0, where --distributed auto does not find the hosts; the same on each."""
    num_hosts: int = 1
    """Processes that run this command together."""
    host: int = 0
    """The number of this one, from 0."""

    def __post_init__(self) -> None:
        for field in ("documents", "log_every", "eval_every", "eval_examples", "save_every", "keep_last", "num_hosts"):
            if getattr(self, field) < 1:
                flag = field.replace("_", "-")
                raise InputError(f"--{flag} {getattr(self, field)}: it must be at least 1")
        if self.keep_every < 0:
            raise InputError(f"--keep-every {self.keep_every}: it must be positive, or 0 for none")
        if self.spike and not 1 < self.spike < math.inf:
            raise InputError(f"--spike {self.spike}: it must be more than 1, or 0 to go on whatever happens")
        self._check_hosts()

    def _check_hosts(self) -> None:
        if not 0 <= self.host < self.num_hosts:
            raise InputError(f"--host {self.host}: with --num-hosts {self.num_hosts} it is 0 to {self.num_hosts - 1}")
        if self.num_hosts > 1 and self.coordinator is None:
            raise InputError("--num-hosts needs --coordinator, the address:port of host 0 (or use --distributed auto)")
        if self.coordinator is not None:
            if self.distributed == "auto":
                raise InputError("--coordinator and --distributed auto exclude each other")
            address, _, port = self.coordinator.rpartition(":")
            if not address or not port.isdecimal():
                raise InputError(f"--coordinator {self.coordinator}: it must be address:port, such as 10.0.0.1:8476")


@dataclass(frozen=True)
class PrepareCorpus:
    """Turn raw text into a tokenizer and token shards, or go on where an interrupted preparation was."""

    input: tuple[str, ...]
    """Files and folders of text, or tfds:NAME (tfds:wikipedia/20230601.en). Text is WikiExtractor's output, JSON lines,
    or plain with blank lines between documents; as it is or as .gz, .xz, .zst or .bz2, also inside .tar."""
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


@dataclass(frozen=True)
class FinetuneRun:
    """Fine-tune an encoder on one task, and keep the model as a directory that transformers or sentence-transformers
    opens."""

    encoder: str
    """Model directory or hub id."""
    task: str
    """cola, mrpc, stsb, ... of GLUE, or a task of the embedded suite."""
    out: Path
    """Run folder: model, the result as a row, predictions."""
    glue_dir: Path | None = None
    """Folder with the published GLUE folders (CoLA, MRPC, ...). Without it, TFDS fetches glue/*."""
    pooling: str = "cls"
    """Pooling spec."""
    layers: str = "last"
    """Layers spec."""
    projection: str = "tanh"
    """Projection spec; tanh is BERT's own pooler."""
    seed: int = 0
    """Decides the fresh weights, the order of the examples and the dropout."""
    train_rows: int | None = None
    """Train on the first rows only."""
    finetune: FinetuneConfig = FinetuneConfig()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: it must not be negative")
        known = {name for suite in SUITES.values() for name in suite}
        if self.task not in known:
            raise unknown("task", self.task, known)

    def ablation(self) -> "Ablation":
        """The ablation that this is one cell of."""
        return Ablation(
            suite="glue" if self.task in SUITES["glue"] else "embedded",
            tasks=(self.task,),
            out=self.out,
            encoder=self.encoder,
            glue_dir=self.glue_dir,
            poolings=(self.pooling,),
            layers=(self.layers,),
            projections=(self.projection,),
            seeds=1,
            train_rows=self.train_rows,
            save_models=True,
            finetune=self.finetune,
        )


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
    save_models: bool = False
    """Keep the model of every run, under models/ID, for transformers or, by its readout, for sentence-transformers."""
    finetune: FinetuneConfig = FinetuneConfig()
    pretrain: PretrainConfig = PretrainConfig()
    """How the embedded suite's own encoder is made."""
    documents: int = 2000
    """Documents of the embedded corpus to pretrain it on."""
    vocab: VocabConfig = VocabConfig()
    """The vocabulary of that encoder."""

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
