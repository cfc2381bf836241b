"""Settings of `experiments.ablate_pooling` and `experiments.finetune`, a single run of an ablation."""

import math
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Any, Literal

from bert_jax.config import FinetuneConfig
from bert_jax.errors import InputError
from bert_jax.study.regimes import REGIMES
from bert_jax.tasks.own import is_own
from bert_jax.tasks.submission import files_of
from bert_jax.tasks.suites import SUITES, check_name
from experiments.settings.shared import (
    GlueFolder,
    Populations,
    Readouts,
    Repeats,
    SyntheticEncoder,
    check_lists,
    check_tasks,
    check_together,
)

_OFFERED = [regime for regime in REGIMES.values() if regime.offered]
RegimeName: Any = Literal[tuple(regime.name for regime in _OFFERED)]
"""A regime that an ablation offers."""
RegimeSettings: Any = make_dataclass(
    "RegimeSettings",
    [(regime.name, regime.config, regime.config()) for regime in _OFFERED],
    frozen=True,
    kw_only=True,
)
"""One field of settings, named after the regime, for each regime that an ablation offers."""


@dataclass(frozen=True, kw_only=True)
class _Usual:
    """Settings of nearly every ablation; the rightmost base class comes first in --help."""

    tasks: tuple[str, ...]
    """Tasks of the suite, or paths of your own: NAME.toml, or a folder (docs/own-tasks.md)."""
    encoder: str | None = None
    """Model directory or hub id."""
    out: Path
    """Run folder: rows, predictions, tables and the figure."""


@dataclass(frozen=True, kw_only=True)
class Ablation(RegimeSettings, Populations, Repeats, Readouts, GlueFolder, _Usual):  # type: ignore[misc]
    """A grid of runs: regimes x tasks x readouts x seeds, and learning rates for regimes that train."""

    suite: Literal["synthetic", "glue"]
    """Suite of tasks: synthetic, which the package generates, or glue."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs. With several layers and several poolings, poolings are compared at the same layers."""
    regimes: tuple[RegimeName, ...] = ("finetune",)
    """Ways to compare the readouts, reported side by side. finetune: train all weights; probe: fit a linear head on
    frozen vectors; sts: take the cosine of two frozen vectors, on tasks of pairs with scores."""
    learning_rates: tuple[float, ...] = ()
    """Learning rates to try for every readout; one of them is reported. By default the one of finetune.optim."""
    select: Literal["heldout", "evaluation"] = "heldout"
    """Rows that choose among several learning rates. heldout: a tenth of the training rows, which is then not trained
    on; evaluation: the rows that are scored, as in papers, and the table says so."""
    save_models: bool = False
    """Keep the model of every run under models/ID, for transformers or, by its readout, sentence-transformers."""
    test: bool = False
    """Also predict GLUE's test sets, for experiments.submit."""
    scores: bool = False
    """Keep the logits of every example, for experiments.report RUN --calibration."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for rate in self.learning_rates:
            if not 0 < rate < math.inf:
                raise InputError(f"--learning-rates {rate}: a rate must be a positive number")
        check_together(self.together)
        check_lists(self, "regimes", "tasks")
        check_lists(self, "learning_rates", may_be_empty=True)
        check_tasks(self.tasks, self.suite)
        own = [task for task in self.tasks if is_own(task)]
        if self.suite == "synthetic" and own:
            raise InputError(f"--tasks {own[0]}: the settings of synthetic are for its own encoder; begin with glue")
        if self.test and not any(files_of(task) for task in self.tasks):
            raise InputError(f"--test: none of {', '.join(self.tasks)} has a test set in a GLUE submission")
        self.readouts()

    def regime_settings(self) -> dict[str, Any]:
        """Regime -> its settings, for the requested regimes."""
        return {name: getattr(self, name) for name in self.regimes}


@dataclass(frozen=True, kw_only=True)
class SyntheticAblation(SyntheticEncoder, Ablation):
    """An ablation on the synthetic suite, which can pretrain an encoder of its own."""

    encoder: str | None = None
    """Model directory or hub id. Without it a tiny BERT is pretrained first."""


@dataclass(frozen=True, kw_only=True)
class FinetuneRun(GlueFolder):
    """Fine-tune an encoder on one task, and save the model for transformers or sentence-transformers."""

    encoder: str
    """Model directory or hub id."""
    task: str
    """cola, mrpc, stsb, ... of GLUE, a task of the synthetic suite, or the path of your own."""
    out: Path
    """Run folder: model, the result as a row, predictions."""
    pooling: str = "cls"
    """Pooling spec."""
    layers: str = "last"
    """Layers spec."""
    projection: str = "tanh"
    """Projection spec; tanh is BERT's own pooler."""
    seed: int = 0
    """Seed of the fresh weights, the order of the examples and the dropout."""
    train_rows: int | None = None
    """Number of training rows to use, the first ones; by default all."""
    finetune: FinetuneConfig = FinetuneConfig()

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"--seed {self.seed}: it must not be negative")
        check_name(self.task, "glue", "synthetic")

    def ablation(self) -> Ablation:
        """The ablation with this run as its only cell."""
        return Ablation(
            suite="synthetic" if self.task in SUITES["synthetic"] else "glue",
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
