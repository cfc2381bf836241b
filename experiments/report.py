"""Make the table and the figure of a run folder again, from its rows alone: `python -m experiments.report RUN_DIR`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from bert_jax.analysis.report import write_report
from experiments.cli import run


@dataclass(frozen=True)
class ReportConfig:
    """Make table.md, table.tex and figure.png again from the rows in a run folder, and print the table."""

    folder: tyro.conf.Positional[Path]
    """A folder that an experiment wrote with --out."""


def main(config: ReportConfig) -> None:
    """Report on `config.folder`."""
    write_report(config.folder)


if __name__ == "__main__":
    run(main, ReportConfig)
