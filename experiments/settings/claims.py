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
Part = Literal["layers", "attention", "knockout", "finetune", "cosine", "pairs"]
Pretraining = Literal["nsp", "nsp-mean", "none"]


@dataclass(frozen=True, kw_only=True)
class ClsRun(SyntheticEncoder, Repeats, Populations, SentEvalFolder, GlueFolder):
    """What is in [CLS]? Five claims of a question-and-answer thread, each with a measurement and a figure.

    (a) [CLS] is the same word in every sentence, so what it ends up with is gathered from the others. (b) No other
    word's output would serve. (c) It works because of next-sentence prediction. (d) Then how can it serve for single
    sentences? (e) An average of all words makes sense, too.
    """

    tasks: tuple[str, ...]
    """Tasks as SUITE/TASK: synthetic/keyword, glue/cola, senteval/trec, ...; or paths of one's own."""
    out: Path
    """Run folder: a figure for each claim, claims.md, and below it the runs of each encoder."""
    encoders: tuple[str, ...] = ()
    """NAME=DIRECTORY_OR_HUB_ID of each encoder. NAME#0, NAME#1, ... are several pretrainings of one kind, over which
    intervals are then. Without any, the synthetic language's own are pretrained first."""
    pretrainings: tuple[Pretraining, ...] = ("none", "nsp")
    """Without --encoders, what to pretrain: none has only masked words; nsp reads next-sentence prediction from [CLS],
    nsp-mean from the mean. The first is what the others are compared with in (d)."""
    pretrain_seeds: int = 1
    """Pretrainings of each of these kinds."""
    parts: tuple[Part, ...] = ("layers", "attention", "knockout", "finetune", "cosine", "pairs")
    """layers: probes of every layer and position (claims a, b, d, e). attention: where [CLS] looks (a). knockout:
    probes with that attention taken away (a). finetune: all weights trained, read from each position (b, d, e).
    cosine: similarity without training, on tasks of pairs with scores (e). pairs: does B follow A (c)."""
    positions: tuple[str, ...] = (
        "cls",
        "mean",
        "last_token",
        "cls(special_tokens=False)",
        "random_token(special_tokens=False)",
    )
    """Poolings to compare, cls first: it is the reference. By default also the mean, [SEP], the first word and some
    word."""
    seeds: int = 3
    """Seeds of every fine-tuning: 0, 1, ..."""
    train_rows: int | None = None
    """Use the first training rows only; of a set that is scored by folds so many, evenly spread."""
    corpus: Path | None = None
    """Folder that prepare_corpus wrote, whose held-out documents the pairs are made of; by default new documents of the
    synthetic language."""
    num_pairs: int = 1000
    """Pairs of text to fit a probe on, and as many to score it on."""
    words: int = 28
    """Words in a pair of text."""
    texts: int = 500
    """Texts of each task over which attention is averaged."""
    probe: OmitArgPrefixes[ProbeConfig] = ProbeConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    pretrain: PretrainConfig = PretrainConfig()
    """How encoders are made, apart from what pretrainings says."""
    documents: int = 2000
    """Documents of the synthetic corpus to pretrain them on."""
    vocab: VocabConfig = VocabConfig()
    """Their vocabulary."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_together(self.together)
        for field in ("seeds", "pretrain_seeds", "num_pairs", "texts"):
            if getattr(self, field) < 1:
                raise InputError(f"--{field.replace('_', '-')} {getattr(self, field)}: it must be at least 1")
        for field in ("tasks", "parts", "positions", "pretrainings"):
            values = getattr(self, field)
            if not values or len(set(values)) < len(values):
                raise InputError(f"--{field} names {'something twice' if values else 'nothing'}")
        if self.positions[0] != "cls" or "mean" not in self.positions:
            raise InputError("--positions begins with cls, which all others are compared with, and has mean among them")
        for readout in self.readouts("last"):
            str(readout)
        if len({task.name for task in self.read_tasks()}) < len(self.tasks):
            raise InputError("--tasks has two tasks of one name; give each suite's its own --out")
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
            raise InputError("--encoders gives one name twice")
        return {name: place for name, _, place in named}

    def own_encoders(self) -> list[str]:
        """The names of the encoders that are pretrained where none were given: NAME, or NAME#0, NAME#1, ..."""
        if self.pretrain_seeds == 1:
            return list(self.pretrainings)
        return [f"{kind}#{number}" for kind in self.pretrainings for number in range(self.pretrain_seeds)]

    def sts(self) -> StsConfig:
        """Settings of zero-shot similarity."""
        return StsConfig(max_length=self.probe.max_length, batch_size=self.probe.batch_size)
