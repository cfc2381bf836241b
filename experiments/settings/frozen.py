"""Settings of the commands that read a frozen encoder: `experiments.probe` and `experiments.sts`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from bert_jax.config import ProbeConfig, StsConfig
from bert_jax.errors import InputError
from experiments.settings.shared import (
    GlueFolder,
    Readouts,
    Repeats,
    SentEvalFolder,
    StsFolder,
    check_lists,
    check_tasks,
)


@dataclass(frozen=True, kw_only=True)
class ProbeRun(Repeats, Readouts, SentEvalFolder, GlueFolder):
    """Fit a linear probe on every layer and pooling of a frozen encoder, in one pass over the texts."""

    suite: Literal["senteval", "glue", "synthetic"]
    """Suite of tasks: senteval (its transfer and probing tasks), glue, or synthetic, which the package generates."""
    tasks: tuple[str, ...]
    """Tasks of the suite, or paths of your own: NAME.toml, or a folder (docs/own-tasks.md). Tasks of SentEval that are
    not in the folder are marked absent."""
    out: Path
    """Run folder: rows, predictions, tables and the heat map."""
    encoder: str | None = None
    """Model directory or hub id."""
    layers: tuple[str, ...] = ("all",)
    """Layers specs; all means each layer on its own, from 0, the embeddings."""
    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; at each layer the others are compared with the first."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs: none, or tanh for the checkpoint's own pooler."""
    seeds: int = 1
    """Number of seeds of each cell: 0, 1, ... Only the folds depend on the seed."""
    train_rows: int | None = None
    """Number of training rows to use: the first, or evenly spread ones of a task scored by folds; by default all."""
    probe: OmitArgPrefixes[ProbeConfig] = ProbeConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lists(self, "tasks")
        check_tasks(self.tasks, self.suite)
        self.readouts()


@dataclass(frozen=True, kw_only=True)
class StsRun(Readouts, StsFolder, GlueFolder):
    """Measure similarity without training: the rank correlation of cosines with human scores."""

    sets: Annotated[tuple[str, ...], arg(aliases=("--tasks",))]
    """Similarity sets: sts12 to sts16, stsb, sickr, or paths of your own pairs with scores. Sets that are not in the
    folder are marked absent."""
    out: Path
    """Run folder: rows, predictions, tables and figures."""
    encoder: str | None = None
    """Model directory or hub id."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs; all means each layer on its own, from 0, the embeddings."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs: none; tanh for the checkpoint's own pooler; whiten or whiten(size=256) (arXiv 2103.15316),
    see --whitening."""
    train: tuple[str, ...] = ()
    """Texts for --whitening train: mnli (GLUE's), files of inference pairs, or text files of one sentence per line."""
    sts: OmitArgPrefixes[StsConfig] = StsConfig()

    def __post_init__(self) -> None:
        check_lists(self, "sets")
        check_tasks(self.sets, "sts")
        self.readouts()
        if bool(self.train) != (self.sts.whitening == "train"):
            raise InputError("--whitening train and --train need each other: which texts, and that they are used")
