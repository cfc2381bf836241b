"""A run folder whose scores and differences are computed: what a report and a page show."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from bert_jax.analysis.comparison import Cell, by_regime, evaluations, grid, label, short_names
from bert_jax.files import Json
from bert_jax.study.store import Absent, Row


class OfTask(NamedTuple):
    """The cells of one regime on one evaluation set, by readout."""

    regime: str
    evaluation: str
    label: str
    """Name of the set in a table."""
    cells: dict[str, Cell]

    @property
    def row(self) -> Row:
        """One of its rows."""
        return next(iter(self.cells.values())).rows[0]


@dataclass(frozen=True, eq=False)
class Examined:
    """The rows of a run folder, their scores and differences, and what is to be said of them."""

    folder: Path
    rows: list[Row]
    experiment: Json
    absent: Absent
    summary: pd.DataFrame
    """See `comparison.summarise`."""
    compared: pd.DataFrame
    """See `comparison.differences`."""
    protocol: str
    """A sentence on what was compared."""
    notes: list[str]
    """Notes that explain the table."""
    name: str = ""
    """Name of the encoder on a page of several folders; by default `encoder` of the experiment."""

    beside: tuple[str, ...] = ()
    """All readouts of a page of several folders, so that one readout has one short name."""

    @property
    def regimes(self) -> list[str]:
        """The regimes that were asked for, with those that have no row."""
        return list(dict.fromkeys([*self.summary["regime"], *(name for name, tasks in self.absent.items() if tasks)]))

    @property
    def encoder(self) -> str:
        """Name of the encoder; of the folder if the encoder is not known."""
        return self.name or str(self.experiment.get("encoder") or self.folder.resolve().name)

    @property
    def names(self) -> dict[str, str]:
        """readout -> short name."""
        return short_names(list(dict.fromkeys([*self.beside, *(row.name for row in self.rows)])))

    def tasks(self) -> Iterator[OfTask]:
        """The cells of every regime and evaluation set, in the order of the table."""
        for regime, rows in by_regime(self.rows).items():
            for cells, evaluation in evaluations(grid(rows)):
                yield OfTask(regime, evaluation, label(next(iter(cells.values())).rows[0], evaluation), cells)

    def compared_on(self, of: OfTask) -> pd.DataFrame:
        """The differences of a regime on an evaluation set."""
        return self.compared[(self.compared["regime"] == of.regime) & (self.compared["label"] == of.label)]

    def summary_of(self, of: OfTask) -> pd.DataFrame:
        """The scores of a regime on an evaluation set."""
        return self.summary[(self.summary["regime"] == of.regime) & (self.summary["label"] == of.label)]
