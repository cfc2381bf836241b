"""Make the table and the figure of a run folder again, from its rows alone: `python -m experiments.report RUN_DIR`."""

from dataclasses import dataclass
from pathlib import Path

import tyro

from bert_jax.analysis.estimates import DEFAULT, Method
from bert_jax.analysis.report import write_report
from bert_jax.errors import InputError
from experiments.cli import run


@dataclass(frozen=True)
class ReportConfig:
    """Make table.md, table.tex and figure.png again from the rows in a run folder, and print the table."""

    folder: tyro.conf.Positional[Path]
    """Run folder of an experiment."""
    interval: Method = DEFAULT
    """Method for intervals and p-values. obuchowski-rockette: reliable from about three seeds on; multi-bootstrap: that
    of MultiBERTs, too short with few seeds and too long where examples matter most. The choice is not stored."""
    detect: float | None = None
    """Print what it takes to detect a difference of this many points: the power of this run, and the seeds or examples
    that a power of 80% needs."""

    def __post_init__(self) -> None:
        if self.detect is not None and not 0 < self.detect <= 100:
            raise InputError(f"--detect {self.detect}: it must be more than 0 and at most 100 points")


def main(config: ReportConfig) -> None:
    """Report on `config.folder`."""
    write_report(config.folder, method=config.interval, detect=config.detect)


if __name__ == "__main__":
    run(main, ReportConfig)
