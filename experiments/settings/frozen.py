"""Settings of the commands that read a frozen encoder: `experiments.probe` and `experiments.sts`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, arg

from bert_jax.config import ProbeConfig, StsConfig
from experiments.settings.shared import GlueFolder, Readouts, Repeats, SentEvalFolder, check_lists, check_tasks


@dataclass(frozen=True, kw_only=True)
class ProbeRun(Repeats, Readouts, SentEvalFolder, GlueFolder):
    """A linear probe on every layer and pooling of a frozen encoder, which reads every text once for all of them."""

    suite: Literal["senteval", "glue", "synthetic"]
    """Which tasks: SentEval's transfer sets, GLUE, or the generated ones that come with the package."""
    tasks: tuple[str, ...]
    """Tasks of the suite, or paths of one's own: NAME.toml, or a folder (docs/own-tasks.md). Those of SentEval that are
    not in the folder are marked absent."""
    out: Path
    """Run folder: rows, predictions, tables and the heat map."""
    encoder: str | None = None
    """Model directory or hub id."""
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
        super().__post_init__()
        check_lists(self, "tasks")
        check_tasks(self.tasks, self.suite)
        self.readouts()


@dataclass(frozen=True, kw_only=True)
class StsRun(Readouts):
    """Semantic similarity without any training: the cosine of two sentence vectors against a human score."""

    sets: Annotated[tuple[str, ...], arg(aliases=("--tasks",))]
    """Sets: sts12 to sts16, stsb, sickr, or paths of one's own pairs with scores. Those that are not in the folder are
    marked absent."""
    out: Path
    """Run folder: rows, predictions, tables and figures."""
    encoder: str | None = None
    """Model directory or hub id."""
    sts_dir: Path | None = None
    """Folder with STS12-en-test/, ..., STSBenchmark/ and SICK/; or SentEval's data/downstream."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs; all is every layer by itself, from 0, the embeddings."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs: none; tanh for the checkpoint's own pooler; whiten or whiten(size=256), which is fitted on the
    texts of each set without their scores (arXiv 2103.15316)."""
    sts: OmitArgPrefixes[StsConfig] = StsConfig()

    def __post_init__(self) -> None:
        check_lists(self, "sets")
        check_tasks(self.sets, "sts")
        self.readouts()
