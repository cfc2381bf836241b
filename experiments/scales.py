"""Scales of a published table: a laptop with generated text, one machine with real text, or the published size."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from tyro.conf import Suppress

from bert_jax.config import FinetuneConfig, OptimConfig, ProbeConfig, SiameseConfig, StsConfig, Together, preset
from bert_jax.data.objectives import make_objectives
from bert_jax.errors import InputError
from bert_jax.pretrain_config import LongPhase, PretrainConfig, VocabConfig
from bert_jax.train.throughput import flops_per_sequence
from experiments.settings.shared import (
    GlueFolder,
    SentEvalFolder,
    StsFolder,
    check_counts,
    check_lists,
    check_together,
)
from experiments.tables.table import SEED, Encoder, Table

Config = TypeVar("Config")

STAND_INS = {
    "cola": "acceptability",
    "sst2": "sentiment",
    "mrpc": "paraphrase",
    "stsb": "similarity",
    "mnli": "entailment",
    "trec": "keyword",
    "bigram_shift": "acceptability",
}
"""Task -> the synthetic task that replaces it at scale tiny."""


@dataclass(frozen=True, kw_only=True)
class Reproduce(StsFolder, SentEvalFolder, GlueFolder):
    """Reproduce a published table: pretrain its encoders, run every cell, and print published and measured numbers."""

    table: Suppress[str]
    scale: Literal["tiny", "mini", "base"] = "tiny"
    """tiny: synthetic text and tasks, on a laptop; mini: a small BERT, real text and tasks; base: the source's size."""
    out: Path = Path("runs")
    """Run folder."""
    pretrained: Path | None = None
    """Folder of pretrained encoders, which tables can share; by default pretrained/ in --out."""
    encoder: tuple[str, ...] = ()
    """Model directory or hub id to use as the table's encoder; NAME=DIR if it has several (see reproduce list). {seed}
    in it stands for the number of the pretraining."""
    same_encoder: bool = False
    """Treat --encoder as a copy of the source's checkpoint, so that differences to its numbers are shown."""
    corpus: Path | None = None
    """Folder written by prepare_corpus, to pretrain on; needed at all scales but tiny."""
    nli: tuple[str, ...] = ()
    """Inference pairs to train Sentence-BERT on: files, or mnli; see experiments.siamese."""
    sentences: tuple[str, ...] = ()
    """Text files with one sentence per line to train SimCSE on; see experiments.siamese."""
    rows: tuple[str, ...] = ()
    """Titles of the rows to make; by default all."""
    columns: tuple[str, ...] = ()
    """Titles of the columns to make; by default all."""
    seeds: int = 5
    """Number of seeds of each cell: 0, 1, ..."""
    pretrain_seeds: int = 1
    """Number of pretrainings of each encoder. With several, seed s starts from pretraining s modulo this number, and
    intervals are over pretrainings too."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try in fine-tuning; one of them is reported."""
    select: Literal["heldout", "evaluation"] = "heldout"
    """Rows that choose among several learning rates: a tenth of the training rows, or those scored, as in papers."""
    together: Together = "auto"
    """Number of runs of a cell, which differ in seed and learning rate, to train as one program. auto: as many as fit
    into memory, and 1 on a CPU, where it gains nothing."""
    train_rows: int | None = None
    """Number of training rows to use: the first, or evenly spread ones of a task scored by folds; by default all."""
    finetune: FinetuneConfig = FinetuneConfig()
    probe: ProbeConfig = ProbeConfig()
    sts: StsConfig = StsConfig()
    siamese: SiameseConfig = SiameseConfig()
    pretrain: PretrainConfig = PretrainConfig()
    documents: int = 2000
    """Number of documents of the synthetic language, at scale tiny."""
    vocab: VocabConfig = VocabConfig()
    """Vocabulary of the synthetic language."""

    def __post_init__(self) -> None:
        check_counts(self.seeds, self.train_rows)
        check_together(self.together)
        check_lists(self, "learning_rates", "rows", "columns", may_be_empty=True)
        if not 1 <= self.pretrain_seeds <= self.seeds:
            raise InputError(f"--pretrain-seeds {self.pretrain_seeds}: it must be from 1 to the number of seeds")

    def given(self) -> dict[str, str]:
        """The user's encoders: name in the table -> directory or hub id; the name is empty if none was given."""
        split = [one.partition("=") if "=" in one else ("", "=", one) for one in self.encoder]
        return {name: place for name, _, place in split}

    def given_for(self, encoder: str) -> str:
        """The user's encoder in place of one of the table's, or an empty string."""
        return self.given().get(encoder) or self.given().get("", "")


class Scale(NamedTuple):
    """A scale. settings: dotted settings that differ from the defaults."""

    title: str
    pretrain: PretrainConfig
    settings: Mapping[str, Any]


SCALES = {
    "tiny": Scale(
        "a BERT of a few layers, pretrained for minutes on generated text, on the synthetic tasks",
        PretrainConfig(
            preset="2/128/2",
            max_length=40,
            steps=800,
            batch_size=64,
            dropout=0.0,
            attention_dropout=0.0,
            optim=OptimConfig(learning_rate=2e-3),
        ),
        {
            "seeds": 2,
            "documents": 2000,
            "vocab.size": 600,
            "vocab.algorithm": "bpe",
            "finetune.max_length": 64,
            "finetune.num_buckets": 2,
            "finetune.optim.learning_rate": 5e-4,
            "siamese.epochs": 3,
            "siamese.batch_size": 32,
            "siamese.max_length": 64,
            "siamese.num_buckets": 2,
            "siamese.dropout": 0.1,
            "siamese.optim.learning_rate": 5e-4,
        },
    ),
    "mini": Scale(
        "a small BERT, pretrained on a corpus of yours, on the published tasks",
        PretrainConfig(preset="mini", max_length=128, steps=50_000, batch_size=256, optim=OptimConfig(warmup=0.05)),
        {"seeds": 5},
    ),
    "base": Scale(
        "the source's own size",
        PretrainConfig(
            preset="base",
            steps=1_000_000,
            batch_size=256,
            long=LongPhase(steps=100_000, max_length=512, batch_size=256),
            optim=OptimConfig(learning_rate=1e-4, warmup=0.01),
        ),
        {"seeds": 5},
    ),
}

HARDWARE = {"1 H100": 495e12, "8 A100": 8 * 115e12, "2 CPU cores": 60e9}
"""Approximate operations per second that training reaches: 50% of an H100's peak, 37% of an A100's."""


def defaults(table: Table, scale: str) -> Reproduce:
    """Default settings of a table at a scale, before the user's overrides.

    Raises:
        InputError: the table's file names a setting that does not exist.
    """
    found = SCALES[scale]
    config = Reproduce(table=table.name, scale=scale, pretrain=found.pretrain)  # type: ignore[arg-type]
    recipe = dict(table.paper)
    if scale == "tiny":  # nothing of the recipe but that there are several pretrainings
        recipe = {"pretrain_seeds": min(table.paper.get("pretrain_seeds", 1), found.settings["seeds"])}
    return change(config, {"out": config.out / f"{table.name}-{scale}", **found.settings, **recipe})


def change(config: Config, changes: Mapping[str, Any]) -> Config:
    """Replace fields of settings, given by dotted names.

    >>> change(PretrainConfig(), {"objective.pairs": "none", "steps": 5}).objective.pairs
    'none'
    """
    values: dict[str, Any] = {}
    for name in changes:
        first, _, rest = name.partition(".")
        if not hasattr(config, first):
            raise InputError(f"there is no setting {name} in {type(config).__name__}")
        # Changed together, because some fields are validated against each other.
        inner = {key.partition(".")[2]: value for key, value in changes.items() if key.startswith(f"{first}.")}
        values[first] = change(getattr(config, first), inner) if rest else changes[name]
    return dataclasses.replace(config, **values)  # type: ignore[type-var]


def pretraining(encoder: Encoder, config: Reproduce, seed: int = 0) -> PretrainConfig:
    """Pretraining settings of an encoder of a table."""
    size = encoder.sizes.get(config.scale)
    sized = {"preset": size} if size else {}
    return change(config.pretrain, sized | dict(encoder.pretrain or {}) | {"seed": config.pretrain.seed + seed})


def is_pretrained_here(encoder: Encoder, config: Reproduce) -> bool:
    """True if the encoder is pretrained here; False if the source's checkpoint or one of the user's is used."""
    if config.given_for(encoder.name) or encoder.pretrain is None:
        return False
    return not (encoder.published and config.scale == "base")


def place(encoder: Encoder, config: Reproduce, seed: int = 0) -> str:
    """Model directory or hub id of an encoder that is not pretrained here; empty if there is none at this scale."""
    published = encoder.published if config.scale == "base" else ""
    return (config.given_for(encoder.name) or published).replace(SEED, str(seed))


def _slots(settings: PretrainConfig, length: int) -> int:
    """Number of predicted tokens in a sequence."""
    return round(make_objectives(settings.objective)[0].share() * length)


def hours(table: Table, config: Reproduce) -> float:
    """Operations of all pretrainings of a table, divided by 3600: hours at one operation per second."""
    total = 0.0
    for settings in {pretraining(encoder, config) for encoder in table.encoders if is_pretrained_here(encoder, config)}:
        bert = preset(settings.preset, vocab_size=config.vocab.size if config.scale == "tiny" else 30_000)
        long = settings.long
        for steps, size, length in (
            (settings.steps - long.steps, settings.batch_size, settings.max_length),
            (long.steps, long.batch_size, long.max_length),
        ):
            total += steps * size * flops_per_sequence(bert, length, _slots(settings, length))
    return total * config.pretrain_seeds / 3600
