"""Settings shared by several commands, as base classes, and their checks."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bert_jax.config import ReadoutConfig, Together
from bert_jax.errors import InputError
from bert_jax.pretrain_config import PretrainConfig, VocabConfig
from bert_jax.tasks.suites import check_name, find_task
from bert_jax.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Readouts:
    """A grid of readouts."""

    poolings: tuple[str, ...] = ("cls", "mean")
    """Pooling specs; the others are compared with the first."""
    layers: tuple[str, ...] = ("last",)
    """Layers specs."""
    projections: tuple[str, ...] = ("none",)
    """Projection specs."""

    def readouts(self, num_layers: int = 0) -> list[ReadoutConfig]:
        """Every combination of layers, projection and pooling, poolings varying fastest.

        Args:
            num_layers: number of the encoder's layers, for the layers spec `all`.

        Raises:
            InputError: a spec cannot be parsed, or a list is empty or has duplicates.
        """
        check_lists(self, "poolings", "layers", "projections")
        return make_grid(expand_layers(self.layers, num_layers), self.poolings, self.projections)


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """Number of seeds and of training rows."""

    seeds: int = 5
    """Number of seeds of each cell: 0, 1, ..."""
    train_rows: int | None = None
    """Number of training rows to use, the first ones; by default all."""

    def __post_init__(self) -> None:
        check_counts(self.seeds, self.train_rows)


@dataclass(frozen=True, kw_only=True)
class Populations:
    """Number of runs that train as one program."""

    together: Together = "auto"
    """Number of runs of a task and readout, which differ in seed and learning rate, to train as one program; with
    several devices, each run has its own. auto: as many as fit into memory, and 1 on a CPU, where it gains nothing."""


@dataclass(frozen=True, kw_only=True)
class GlueFolder:
    """Folder of GLUE."""

    glue_dir: Path | None = None
    """Folder with the published GLUE folders (CoLA, MRPC, ...); by default TFDS downloads glue/*."""


@dataclass(frozen=True, kw_only=True)
class SentEvalFolder:
    """Folder of SentEval."""

    senteval_dir: Path | None = None
    """Folder with MR/, CR/, SST/ ...: SentEval's data/downstream; probing/ is in it or beside it."""


@dataclass(frozen=True, kw_only=True)
class StsFolder:
    """Folder of the similarity sets."""

    sts_dir: Path | None = None
    """Folder with STS12-en-test/, ..., STSBenchmark/ and SICK/; or SentEval's data/downstream."""


@dataclass(frozen=True, kw_only=True)
class SyntheticEncoder:
    """Settings for pretraining an encoder of the synthetic language."""

    pretrain: PretrainConfig = PretrainConfig()
    """Pretraining of the synthetic suite's own encoder."""
    documents: int = 2000
    """Number of synthetic documents to pretrain it on."""
    vocab: VocabConfig = VocabConfig()
    """Vocabulary of that encoder."""


def make_grid(layers: Sequence[str], poolings: Sequence[str], projections: Sequence[str]) -> list[ReadoutConfig]:
    """Every combination of layers, projection and pooling, poolings varying fastest."""
    grid = itertools.product(layers, projections, poolings)
    return [ReadoutConfig(layer, pooling, projection) for layer, projection, pooling in grid]


def expand_layers(layers: Sequence[str], num_layers: int) -> list[str]:
    """Replace the layers spec `all` by every layer of an encoder, from 0, the embeddings."""
    every = map(str, range(num_layers + 1))
    return list(dict.fromkeys(one for spec in layers for one in (every if spec == "all" else [spec])))


def check_counts(seeds: int, train_rows: int | None) -> None:
    """Raise for numbers of seeds or rows below one."""
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: at least one seed is needed")
    if train_rows is not None and train_rows < 1:
        raise InputError(f"--train-rows {train_rows}: at least one row is needed")


def check_together(together: Together) -> None:
    """Raise for populations of less than one run."""
    if together != "auto" and together < 1:
        raise InputError(f"--together {together}: it must be at least 1, or auto")


def check_lists(settings: object, *fields: str, may_be_empty: bool = False) -> None:
    """Raise for empty lists and lists with duplicates."""
    for field in fields:
        values = getattr(settings, field)
        if not values and not may_be_empty:
            raise InputError(f"--{field.replace('_', '-')} is empty")
        if len(set(values)) < len(values):
            raise InputError(f"--{field.replace('_', '-')} has duplicates: {' '.join(map(str, values))}")


def check_tasks(specs: Sequence[str], *suites: str) -> None:
    """Raise if a task is neither in the given suites nor a path."""
    for spec in specs:
        check_name(spec, *suites)


def find_tasks(specs: Sequence[str], *suites: str) -> list[Task]:
    """Find tasks by their names in the given suites, or by the paths of one's own.

    Raises:
        InputError: there is no such task, one's own is invalid, or two have one name.
    """
    tasks = [find_task(spec, *suites) for spec in specs]
    names = [task.name for task in tasks]
    for spec, name in zip(specs, names, strict=True):
        if names.count(name) > 1:
            raise InputError(f"{spec}: two tasks are called {name}; give one of them another name = ...")
    return tasks
