"""Published tables as data: rows, columns, numbers, their source, and the run for every cell.

A table is a file in `experiments/tables/` that defines a `Table` called `table`; no other code is needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bert_jax.config import ReadoutConfig
from bert_jax.study.regimes import REGIMES

NONE = "-"
"""Placeholder for a number that is not published."""
SPREAD = "\N{PLUS-MINUS SIGN}"
"""Stands between a published mean and its standard deviation."""
SEED = "{seed}"
"""Stands for the number of a pretraining in the name of a published encoder."""


@dataclass(frozen=True)
class Column:
    """A column: one measurement, made for every row.

    The regime is one of `bert_jax.study.regimes`, or `pretraining` for the held-out perplexity of masked tokens, or
    `average` for the mean of the other columns.
    """

    title: str
    task: str = ""
    """Task of the suite, similarity set, or objective of the regime siamese."""
    regime: str = "finetune"
    suite: str = ""
    """Suite of the task; by default the regime's."""
    evaluation: str = ""
    """Evaluation set; by default the task's first."""
    metric: str = ""
    """Metric; by default the task's headline metric."""
    absent: str = ""
    """Reason why the column is never measured."""

    def source(self) -> str:
        """Suite of the task."""
        return self.suite or (REGIMES[self.regime].suite if self.regime in REGIMES else "")


@dataclass(frozen=True)
class Encoder:
    """An encoder of a table: a published checkpoint, or a pretraining of the table's own."""

    name: str
    published: str = ""
    """Hub id of the paper's own checkpoint; empty if the encoder is pretrained at every scale. With `SEED` in it, each
    pretraining has its own."""
    pretrain: Mapping[str, Any] | None = field(default_factory=dict)
    """Dotted settings of its pretraining that differ from the scale's; None if there is nothing like it to pretrain."""
    sizes: Mapping[str, str] = field(default_factory=dict)
    """Scale -> preset, for tables that compare sizes."""


@dataclass(frozen=True)
class Line:
    """A row: an encoder, a readout, and the published numbers."""

    title: str
    encoder: str
    readout: ReadoutConfig
    published: str = ""
    """One number per column, as printed in the source, with its s.d. as in 83.7±.2; - if there is none."""
    against: str = ""
    """Title of the row that it is compared with; by default the table's first."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of the runs that differ from the other rows'."""
    absent: str = ""
    """Reason why the row is not measured."""

    def numbers(self) -> list[float | None]:
        """The published numbers by column, without their spread; None if there is none."""
        return [None if text == NONE else float(text.partition(SPREAD)[0]) for text in self.published.split()]


@dataclass(frozen=True)
class Table:
    """A published table and the protocol of its source."""

    name: str
    title: str
    source: str
    """Citation of the numbers."""
    protocol: str
    """Protocol of the source, in a sentence or two."""
    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    encoders: tuple[Encoder, ...]
    published_on: Literal["validation", "test", "10 folds", ""] = ""
    """Split that the published numbers are on; empty for a table without numbers."""
    paper: Mapping[str, Any] = field(default_factory=dict)
    """Dotted settings of the source's recipe, used at every scale but tiny."""
    plain: bool = True
    """Raise for encoders that were tuned after their pretraining, because their numbers follow another protocol."""
    incomparable: str = ""
    """Reason why measured numbers can never be compared with the published ones."""
    secondary: bool = False
    """True if the numbers were taken from a quotation of the source."""
    notes: tuple[str, ...] = ()
    """Differences to the source."""

    def encoder(self, line: Line) -> Encoder:
        """The encoder of a row."""
        return next(encoder for encoder in self.encoders if encoder.name == line.encoder)

    def __post_init__(self) -> None:
        for line in self.lines:
            assert not line.published or len(line.numbers()) == len(self.columns), f"{self.name}: {line.title}"
            assert line.absent or line.encoder in {encoder.name for encoder in self.encoders}, line.title
            assert not line.against or line.against in {other.title for other in self.lines}, line.title
