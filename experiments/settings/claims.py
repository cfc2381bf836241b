"""Settings of `experiments.what_is_in_cls`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import OmitArgPrefixes

from bert_jax.config import FinetuneConfig, ProbeConfig, ReadoutConfig, StsConfig
from bert_jax.errors import InputError
from bert_jax.pretrain_config import PretrainConfig, VocabConfig
from bert_jax.tasks.suites import find_task
from bert_jax.tasks.task import Task
from experiments.settings.shared import (
    GlueFolder,
    Populations,
    Repeats,
    SentEvalFolder,
    SyntheticEncoder,
    check_together,
)

_SUITES = ("synthetic", "glue", "senteval")
PartName = Literal["layers", "attention", "knockout", "finetune", "cosine", "pairs"]
PretrainingKind = Literal["nsp", "nsp-mean", "none"]


@dataclass(frozen=True, kw_only=True)
class ClsRun(SyntheticEncoder, Repeats, Populations, SentEvalFolder, GlueFolder):
    """Test five claims of a question-and-answer thread about [CLS], each with a measurement and a figure.

    (a) [CLS] is the same token in every sentence, so its output must be gathered from the other tokens. (b) No other
    token's output would serve. (c) It works because of next-sentence prediction. (d) How can it then serve for single
    sentences? (e) An average of all tokens makes sense, too.
    """

    tasks: tuple[str, ...]
    """Tasks as SUITE/TASK: synthetic/keyword, glue/cola, senteval/trec, ...; or paths of your own."""
    out: Path
    """Run folder: a figure for each claim, claims.md, and below it the runs of each encoder."""
    encoders: tuple[str, ...] = ()
    """NAME=DIRECTORY_OR_HUB_ID of each encoder. NAME#0, NAME#1, ... are pretrainings of one kind; intervals are then
    over pretrainings. By default, encoders of the synthetic language are pretrained first."""
    pretrainings: tuple[PretrainingKind, ...] = ("none", "nsp")
    """Kinds of encoders to pretrain without --encoders. none: masked tokens only; nsp: also next-sentence prediction
    from [CLS]; nsp-mean: also next-sentence prediction from the mean. The first is the reference in (d)."""
    pretrain_seeds: int = 1
    """Number of pretrainings of each kind."""
    parts: tuple[PartName, ...] = ("layers", "attention", "knockout", "finetune", "cosine", "pairs")
    """Measurements. layers: probes of every layer and position (claims a, b, d, e); attention: tokens that [CLS]
    attends to (a); knockout: probes while [CLS] attends only to itself (a); finetune: fine-tuning from each position
    (b, d, e); cosine: similarity without training, on tasks of pairs with scores (e); pairs: next-sentence prediction
    (c)."""
    positions: tuple[str, ...] = (
        "cls",
        "mean",
        "last_token",
        "cls(special_tokens=False)",
        "random_token(special_tokens=False)",
    )
    """Poolings to compare. The first must be cls, the reference; by default also the mean, [SEP], the first word and a
    random word."""
    seeds: int = 3
    """Number of seeds of every fine-tuning: 0, 1, ..."""
    train_rows: int | None = None
    """Number of training rows to use: the first, or evenly spread ones of a task scored by folds; by default all."""
    corpus: Path | None = None
    """Folder written by prepare_corpus, whose held-out documents give the pairs; by default new documents of the
    synthetic language."""
    num_pairs: int = 1000
    """Number of pairs of texts to fit a probe on, and of other pairs to score it on."""
    words: int = 28
    """Words in a pair, both texts together."""
    texts: int = 500
    """Number of texts of each task over which attention is averaged."""
    probe: OmitArgPrefixes[ProbeConfig] = ProbeConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    pretrain: PretrainConfig = PretrainConfig()
    """Pretraining of encoders, apart from what pretrainings sets."""
    documents: int = 2000
    """Number of synthetic documents to pretrain them on."""
    vocab: VocabConfig = VocabConfig()
    """Vocabulary of these encoders."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_together(self.together)
        for field in ("seeds", "pretrain_seeds", "num_pairs", "texts"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} {getattr(self, field)}: it must be at least 1")
        for field in ("tasks", "parts", "positions", "pretrainings"):
            values = getattr(self, field)
            if not values or len(set(values)) < len(values):
                raise InputError(f"--{field} {'has duplicates' if values else 'is empty'}")
        if self.positions[0] != "cls" or "mean" not in self.positions:
            raise InputError("--positions must begin with cls, the reference, and include mean")
        for readout in self.readouts("last"):
            str(readout)
        if len({task.name for task in self.read_tasks()}) < len(self.tasks):
            raise InputError("--tasks has two tasks with the same name; give each suite an --out of its own")
        self.named_encoders()

    def read_tasks(self) -> list[Task]:
        """The tasks."""
        found = []
        for spec in self.tasks:
            suite, _, name = spec.partition("/")
            if suite not in _SUITES and not Path(spec).exists():
                suites = ", ".join(_SUITES)
                raise InputError(f"--tasks {spec}: write SUITE/TASK with one of the suites {suites}, or a path")
            found.append(find_task(name, suite) if suite in _SUITES else find_task(spec))
        return found

    def readouts(self, layers: str) -> list[ReadoutConfig]:
        """The readouts of all positions at given layers."""
        return [ReadoutConfig(layers, pooling) for pooling in self.positions]

    def named_encoders(self) -> dict[str, str]:
        """Name -> directory or hub id of the given encoders."""
        named = [spec.partition("=") for spec in self.encoders]
        for name, _, place in named:
            if not place or not name or "/" in name or name.startswith("."):
                raise InputError(f"--encoders {name}: write NAME=DIRECTORY_OR_HUB_ID, the name without a slash")
        if len({name for name, _, _ in named}) < len(named):
            raise InputError("--encoders has the same name twice")
        return {name: place for name, _, place in named}

    def own_encoders(self) -> list[str]:
        """Names of the encoders that are pretrained if none are given: NAME, or NAME#0, NAME#1, ..."""
        if self.pretrain_seeds == 1:
            return list(self.pretrainings)
        return [f"{kind}#{number}" for kind in self.pretrainings for number in range(self.pretrain_seeds)]

    def sts(self) -> StsConfig:
        """Settings of zero-shot similarity."""
        return StsConfig(max_length=self.probe.max_length, batch_size=self.probe.batch_size)
