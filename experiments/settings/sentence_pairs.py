"""Settings of `experiments.siamese`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bert_jax.config import SiameseConfig
from experiments.settings.shared import (
    GlueFolder,
    Populations,
    Readouts,
    Repeats,
    StsFolder,
    check_lists,
    check_together,
)


@dataclass(frozen=True, kw_only=True)
class SiameseRun(Repeats, Populations, Readouts, StsFolder, GlueFolder):
    """Train sentence vectors on pairs, one readout after the other, and score cosines on a similarity set."""

    objective: Literal["nli", "sts", "simcse"]
    """nli: classify from (u, v, |u - v|); sts: fit the cosine to score / 5 (both Sentence-BERT's); simcse: find a
    sentence among those of the batch, under other dropout."""
    train: tuple[str, ...]
    """Training data; several sources are joined. nli: files of JSON lines, SentEval's labels.SPLIT, mnli (GLUE's),
    synthetic; sts: stsb (the benchmark's), synthetic; simcse: any of these, or a text file with one sentence per
    line."""
    encoder: str
    """Model directory or hub id."""
    out: Path
    """Run folder: rows, predictions, tables and the figure; with --save also models."""
    sts_dir: Path | None = None
    """Folder with STSBenchmark/, whose development and test sets are scored; by default the synthetic task."""
    glue_dir: Path | None = None
    """Folder with the published GLUE folders, for --train mnli; by default TFDS downloads it."""
    seeds: int = 5
    """Number of seeds of each readout: 0, 1, ..."""
    save: bool = False
    """Save every trained encoder as a model directory under models."""
    siamese: SiameseConfig = SiameseConfig()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_together(self.together)
        check_lists(self, "train")
        self.readouts()
