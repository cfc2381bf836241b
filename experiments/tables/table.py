"""A published table as data: rows, columns, numbers, their source, and what is run for every cell.

A table is one file in `experiments/tables/` that makes a `Table` called `table`; a new one needs no other code.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bert_jax.config import ReadoutConfig
from bert_jax.study.regimes import REGIMES

NONE = "-"
"""Stands in a row of published numbers where there is none."""


@dataclass(frozen=True)
class Column:
    """What is measured below one heading.

    The regime is one of `bert_jax.study.regimes`; or pretraining, which is the held-out perplexity of masked tokens; or
    average, of the other columns.
    """

    title: str
    task: str = ""
    """A task of the suite; a similarity set; or siamese's objective."""
    regime: str = "finetune"
    suite: str = ""
    """Where the task is from; by default the suite of the regime."""
    evaluation: str = ""
    """The evaluation set; by default the task's first."""
    metric: str = ""
    """By default the task's headline."""
    absent: str = ""
    """Why nothing is ever measured here."""

    def source(self) -> str:
        """The suite that the task is from."""
        return self.suite or (REGIMES[self.regime].suite if self.regime in REGIMES else "")


@dataclass(frozen=True)
class Encoder:
    """What a row starts from: a published checkpoint, or a pretraining of the table's own."""

    name: str
    published: str = ""
    """Hub id of the paper's own checkpoint; empty where the row is a pretraining at every scale."""
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings in which its pretraining differs from the scale's."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Scale -> preset, where the size is what the table is about."""


@dataclass(frozen=True)
class Line:
    """One row: an encoder and a readout, and what is published for it."""

    title: str
    encoder: str
    readout: ReadoutConfig
    published: str = ""
    """One number per column, as it is printed in the source; - where there is none."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of the runs in which this row differs from the others."""
    absent: str = ""
    """Why the row is not measured here."""

    def numbers(self) -> list[float | None]:
        """What is published, column by column."""
        return [None if text == NONE else float(text) for text in self.published.split()]


@dataclass(frozen=True)
class Table:
    """A table, and how its source came by it."""

    name: str
    title: str
    source: str
    """Where the numbers are from."""
    protocol: str
    """What was done there, in a sentence or two."""
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    encoders: tuple[Encoder, ...]
    published_on: Literal["validation", "test", "10 folds", ""] = ""
    """The split that the published numbers are of; empty for a table without any."""
    paper: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of the source's recipe, used at every scale but tiny."""
    plain: bool = True
    """Refuse encoders that were tuned after their pretraining: their numbers are of another protocol."""
    secondary: bool = False
    """The numbers were read in a quotation of the source."""
    notes: tuple[str, ...] = ()
    """Where this differs from the source."""

    def encoder(self, line: Line) -> Encoder:
        """What a row starts from."""
        return next(encoder for encoder in self.encoders if encoder.name == line.encoder)

    def __post_init__(self) -> None:
        for line in self.lines:
            assert not line.published or len(line.numbers()) == len(self.columns), f"{self.name}: {line.title}"
            assert line.absent or line.encoder in {encoder.name for encoder in self.encoders}, line.title
