"""Runs: one regime, task, readout and seed on one encoder, with an id from everything that decides the result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bert_jax.checkpoints.directory import fingerprint
from bert_jax.checkpoints.provenance import tunings
from bert_jax.checkpoints.sentence_transformers import encoder_folder
from bert_jax.config import ReadoutConfig
from bert_jax.files import Json, Settings, digest, plain
from bert_jax.study.store import LABELS, without_labels
from bert_jax.tasks.task import Task
from bert_jax.tokenizers.tokenizer import fingerprint as tokenizer_fingerprint

MODEL = "model"
"""Name of the model directory in the folder of a pretraining or a single fine-tuning."""


class Blind(NamedTuple):
    """Blocks `first` to `last`, counted from 1, in which [CLS] attends only to itself."""

    first: int
    last: int

    def mask(self, num_layers: int) -> np.ndarray:
        """[N] True for those blocks."""
        block = np.arange(1, num_layers + 1)
        return (self.first <= block) & (block <= self.last)


class EncoderId(NamedTuple):
    """The identity of an encoder in results.

    name: name in tables. weights, tokenizer: digests of their files. tuned_before: trainings after its pretraining.
    """

    name: str
    weights: str
    tokenizer: str = ""
    tuned_before: tuple[str, ...] = ()


def name_encoder(encoder: str | Path) -> str:
    """Name of an encoder in tables: its hub id or its folder's name; for the model of a run, the run folder's."""
    place = Path(encoder)
    if not place.exists():
        return str(encoder)
    place = place.resolve()
    return place.parent.name if place.name == MODEL else place.name


def identify_encoder(folder: Path, name: str | None = None) -> EncoderId:
    """Identify a model directory; its name is `name_encoder`'s by default.

    Raises:
        InputError: the directory has no weights.
    """
    tokenizer = tokenizer_fingerprint(encoder_folder(folder))[:12]
    return EncoderId(name or name_encoder(folder), fingerprint(folder), tokenizer, tuple(tunings(folder)))


@dataclass(frozen=True)
class Run:
    """A cell of a grid with a seed. Equal ids mean equal results, up to rounding, whichever script makes the run."""

    regime: str
    """Name in `bert_jax.study.regimes.REGIMES`."""
    task: Task
    readout: ReadoutConfig
    seed: int
    settings: Any
    """Settings of the regime, a dataclass, with the learning rate of this run."""
    encoder: EncoderId
    data: Mapping[str, str]
    """Split -> digest of its texts and labels, see `Split.digest`."""
    section: str = ""
    """Name of the settings in `config`; by default the regime's."""
    learning_rate: float | None = None
    """Peak learning rate; None if nothing is trained by steps."""
    blind: Blind | None = None
    """Blocks in which [CLS] attends only to itself; by default none."""
    held_out: bool = False
    """True if a tenth of the training rows is not trained on but chooses the learning rate."""
    labels: Settings = field(default_factory=dict)
    """Entries of `LABELS` for the row."""

    @property
    def config(self) -> Json:
        """Everything that decides the run, and its labels, as plain JSON values."""
        decides = {
            "encoder_weights": self.encoder.weights,
            "tokenizer": self.encoder.tokenizer,
            "data": dict(self.data),
            self.section or self.regime: self.settings,
            "regime": self.regime,
            "task": self.task.name,
            "readout": self.readout,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "blind": self.blind,
            **({"held_out": True} if self.held_out else {}),
        }
        describes = {"encoder": self.encoder.name, "tuned_before": self.encoder.tuned_before, **self.labels}
        assert set(describes) <= set(LABELS), describes
        config: Json = plain(describes | decides)
        return config

    @property
    def id(self) -> str:
        """Digest of the config without its labels."""
        return config_id(self.config)

    @property
    def name(self) -> str:
        """Readout and seed, as in progress bars."""
        return f"{self.readout} seed {self.seed}"


def config_id(config: Settings) -> str:
    """The run id of a config."""
    return digest(without_labels(config))
