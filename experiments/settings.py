"""What can be set from a command line. Named ones stand in `configs/`."""

import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from bert_jax.config import (
    FinetuneConfig,
    PretrainConfig,
    ProbeConfig,
    ReadoutConfig,
    SiameseConfig,
    StsConfig,
    VocabConfig,
)
from bert_jax.corpus.prepare import TextConfig
from bert_jax.errors import InputError, unknown
from bert_jax.tasks import glue, senteval, sts, synthetic
from bert_jax.tasks.task import Task

MODEL = "model"
"""Where a run folder has the model directory that it ends with."""
SUITES: dict[str, dict[str, Task]] = {"synthetic": synthetic.TASKS, "glue": glue.TASKS, "senteval": senteval.TASKS}
Regime = Literal["finetune", "probe", "sts"]


@dataclass(frozen=True)
class PretrainRun:
    """Pretrain a BERT, or go on with it where it was interrupted: the same command does both."""

    out: Path
    """Run folder: settings, checkpoints, metrics.jsonl, tensorboard, curves.png, and in the end model."""
    corpus: Path | None = None
    """Folder that prepare_corpus wrote. Without it, the synthetic language is prepared under the run folder."""
    documents: int = 2000
    """Documents of the synthetic language."""
    vocab: VocabConfig = VocabConfig()
    """Vocabulary of the synthetic language; a prepared corpus has its own."""
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


@dataclass(frozen=True)
class FinetuneRun:
    """Fine-tune an encoder on one task, and keep the model as a directory that transformers or sentence-transformers
    opens."""

    encoder: str
    """Model directory or hub id."""
    task: str
    """cola, mrpc, stsb, ... of GLUE, or a task of the synthetic suite."""
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
        known = [*SUITES["glue"], *SUITES["synthetic"]]
        if self.task not in known:
            raise unknown("task", self.task, known)

    def ablation(self) -> "Ablation":
        """The ablation that this is one cell of."""
        return Ablation(
            suite="glue" if self.task in SUITES["glue"] else "synthetic",
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
    """A grid of runs: regimes x tasks x readouts x seeds, and learning rates where something is fine-tuned."""

    suite: Literal["synthetic", "glue"]
    """Which tasks: the generated ones that come with the package, or GLUE."""
    tasks: tuple[str, ...]
    """Tasks of the suite."""
    out: Path
    """Run folder: rows, predictions, tables and the figure."""
    encoder: str | None = None
    """Model directory or hub id. Without it (synthetic suite only) a tiny BERT is pretrained first."""
    glue_dir: Path | None = None
    """Folder with the published GLUE folders (CoLA, MRPC, ...). Without it, TFDS fetches glue/*."""
    regimes: tuple[Regime, ...] = ("finetune",)
    """How the readouts are compared: finetune trains all weights; probe fits a linear head on frozen vectors; sts takes
    the cosine of two of them, on tasks of pairs with scores. Several stand side by side in the report."""
    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; the first is the reference that the others are compared with."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs. With several layers and several poolings, poolings are compared at the same layers."""
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
    probe: ProbeConfig = ProbeConfig()
    sts: StsConfig = StsConfig()
    pretrain: PretrainConfig = PretrainConfig()
    """How the synthetic suite's own encoder is made."""
    documents: int = 2000
    """Documents of the synthetic corpus to pretrain it on."""
    vocab: VocabConfig = VocabConfig()
    """The vocabulary of that encoder."""

    def __post_init__(self) -> None:
        check_counts(self.seeds, self.train_rows)
        for rate in self.learning_rates:
            if not 0 < rate < math.inf:
                raise InputError(f"--learning-rates {rate}: a rate must be a positive number")
        check_lists(self, "regimes", "tasks", "poolings", "layers", "projections")
        check_lists(self, "learning_rates", may_be_empty=True)
        _check_tasks(self.tasks, SUITES[self.suite])
        self.readouts()

    def readouts(self) -> list[ReadoutConfig]:
        """Every combination of layers, pooling and projection, poolings varying fastest."""
        return make_grid(self.layers, self.poolings, self.projections)


@dataclass(frozen=True)
class ProbeRun:
    """A linear probe on every layer and pooling of a frozen encoder, which reads every text once for all of them."""

    suite: Literal["senteval", "glue", "synthetic"]
    """Which tasks: SentEval's transfer sets, GLUE, or the generated ones that come with the package."""
    tasks: tuple[str, ...]
    """Tasks of the suite. Those of SentEval that are not in the folder are marked absent."""
    out: Path
    """Run folder: rows, predictions, tables and the heat map."""
    encoder: str | None = None
    """Model directory or hub id."""
    senteval_dir: Path | None = None
    """Folder with MR/, CR/, SST/ ...: SentEval's data/downstream."""
    glue_dir: Path | None = None
    """Folder with the published GLUE folders (CoLA, MRPC, ...). Without it, TFDS fetches glue/*."""
    layers: tuple[str, ...] = ("all",)
    """Layers specs; all is every layer by itself, from 0, the embeddings."""
    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; at each layer the first is the reference that the others are compared with."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs: none, or tanh for the checkpoint's own pooler."""
    seeds: int = 1
    """Seeds per cell: 0, 1, ... They decide the folds; nothing else is random."""
    train_rows: int | None = None
    """Use the first training rows only; of a set that is scored by folds so many, evenly spread."""
    probe: OmitArgPrefixes[ProbeConfig] = ProbeConfig()

    def __post_init__(self) -> None:
        check_counts(self.seeds, self.train_rows)
        check_lists(self, "tasks", "poolings", "layers", "projections")
        _check_tasks(self.tasks, SUITES[self.suite])
        make_grid(self.layers, self.poolings, self.projections)


@dataclass(frozen=True)
class StsRun:
    """Semantic similarity without any training: the cosine of two sentence vectors against a human score."""

    sets: tuple[str, ...]
    """Sets: sts12 to sts16, stsb, sickr. Those that are not in the folder are marked absent."""
    out: Path
    """Run folder: rows, predictions, tables and figures."""
    encoder: str | None = None
    """Model directory or hub id."""
    sts_dir: Path | None = None
    """Folder with STS12-en-test/, ..., STSBenchmark/ and SICK/; or SentEval's data/downstream."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs; all is every layer by itself, from 0, the embeddings."""
    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; the first is the reference that the others are compared with."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs: none; tanh for the checkpoint's own pooler; whiten or whiten(size=256), which is fitted on the
    texts of each set without their scores (arXiv 2103.15316)."""
    sts: OmitArgPrefixes[StsConfig] = StsConfig()

    def __post_init__(self) -> None:
        check_lists(self, "sets", "poolings", "layers", "projections")
        _check_tasks(self.sets, sts.SETS)
        make_grid(self.layers, self.poolings, self.projections)


@dataclass(frozen=True)
class SiameseRun:
    """Train sentence vectors on pairs, one readout after the other, and score cosines on a similarity set."""

    objective: Literal["nli", "sts", "simcse"]
    """nli: classes from (u, v, |u - v|); sts: the cosine is to be score / 5 (both Sentence-BERT's); simcse: find a
    sentence again, under other dropout, among those of the batch."""
    train: tuple[str, ...]
    """What to train on, joined. nli: files of JSON lines, SentEval's labels.SPLIT, mnli (GLUE's), synthetic.
    sts: stsb (the benchmark's), synthetic. simcse: any of these, or a text file with a sentence a line."""
    encoder: str
    """Model directory or hub id."""
    out: Path
    """Run folder: rows, predictions, tables and the figure; with --save also models."""
    sts_dir: Path | None = None
    """Folder with STSBenchmark/, whose development and test sets are scored. Without it, the synthetic similarity is."""
    glue_dir: Path | None = None
    """Folder with the published GLUE folders, for --train mnli. Without it, TFDS fetches it."""
    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; the first is the reference that the others are compared with."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs."""
    seeds: int = 5
    """Seeds per readout: 0, 1, ..."""
    train_rows: int | None = None
    """Train on the first rows only."""
    save: bool = False
    """Write every trained encoder as a model directory under models."""
    siamese: SiameseConfig = SiameseConfig()

    def __post_init__(self) -> None:
        check_counts(self.seeds, self.train_rows)
        check_lists(self, "train", "poolings", "layers", "projections")
        self.readouts()

    def readouts(self) -> list[ReadoutConfig]:
        """Every combination of layers, pooling and projection, poolings varying fastest."""
        return make_grid(self.layers, self.poolings, self.projections)


def make_grid(layers: Sequence[str], poolings: Sequence[str], projections: Sequence[str]) -> list[ReadoutConfig]:
    """Every combination of layers, projection and pooling, poolings varying fastest."""
    grid = itertools.product(layers, projections, poolings)
    return [ReadoutConfig(layer, pooling, projection) for layer, projection, pooling in grid]


def expand_layers(layers: Sequence[str], num_layers: int) -> list[str]:
    """Layers specs with `all` as every layer of an encoder by itself, from 0, the embeddings."""
    every = map(str, range(num_layers + 1))
    return list(dict.fromkeys(one for spec in layers for one in (every if spec == "all" else [spec])))


def check_counts(seeds: int, train_rows: int | None) -> None:
    """Refuse numbers of seeds and rows that cannot be."""
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: at least one seed is needed")
    if train_rows is not None and train_rows < 1:
        raise InputError(f"--train-rows {train_rows}: at least one row is needed")


def check_lists(settings: object, *fields: str, may_be_empty: bool = False) -> None:
    """Refuse lists that name nothing, or something twice."""
    for field in fields:
        values = getattr(settings, field)
        if not values and not may_be_empty:
            raise InputError(f"--{field.replace('_', '-')} names nothing")
        if len(set(values)) < len(values):
            raise InputError(f"--{field.replace('_', '-')} names something twice: {' '.join(map(str, values))}")


def _check_tasks(tasks: Sequence[str], known: dict[str, Task]) -> None:
    for task in tasks:
        if task not in known:
            raise unknown("task", task, known)
