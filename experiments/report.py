"""Make the report of a run folder again, from its rows alone, or one page of several run folders.

`python -m experiments.report RUN_DIR`, or `python -m experiments.report RUN_DIR RUN_DIR --html site`. If only the
pretrainings differ, `python -m experiments.report RUN_DIR RUN_DIR --pretrainings OUT` makes one table.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from bert_jax.analysis.calibration_table import tabulate
from bert_jax.analysis.estimates import DEFAULT, Method
from bert_jax.analysis.page.page import render
from bert_jax.analysis.report import examine, write_pretrainings, write_report
from bert_jax.errors import InputError
from bert_jax.evaluate.calibration import BINS
from bert_jax.files import write_whole, writing
from bert_jax.integrations.mteb import write_results
from bert_jax.study.store import read_rows
from experiments.cli import run

INDEX, CALIBRATION = "index.html", "calibration.md"
"""Names of the page of several run folders, and of the table of --calibration."""


@dataclass(frozen=True)
class ReportConfig:
    """Make tables, figure and report.html again from the rows in a run folder and print the table, or make one page of
    several run folders."""

    folders: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders of experiments."""
    html: Path | None = None
    """Write one page of all folders, encoders side by side, to index.html in this folder, and nothing else."""
    mteb: Path | None = None
    """Write the zero-shot similarity scores of the folders as result files of MTEB into this folder, and nothing
    else."""
    pretrainings: Path | None = None
    """Make one table and figure of all folders, which differ in the pretraining of their encoder only, with intervals
    over pretrainings, and write them to this folder, and nothing else."""
    reference: str | None = None
    """With --pretrainings: readout that the others are compared with, such as last/mean/none; by default the first."""
    calibration: bool = False
    """Print how well probabilities fit (expected calibration error and Brier score), from runs made with --scores, and
    write it to calibration.md."""
    interval: Method = DEFAULT
    """Method for intervals and p-values. obuchowski-rockette: reliable from about three seeds on; multi-bootstrap: that
    of MultiBERTs, too short with few seeds and too long where examples matter most. The choice is not stored."""
    detect: float | None = None
    """Print what it takes to detect a difference of this many points: the power of this run, and the seeds or examples
    that a power of 80% needs."""

    def __post_init__(self) -> None:
        if not self.folders:
            raise InputError("a run folder is needed: python -m experiments.report RUN_DIR")
        if len({folder.resolve() for folder in self.folders}) < len(self.folders):
            raise InputError("a run folder is given twice; give each once")
        if self.detect is not None and not 0 < self.detect <= 100:
            raise InputError(f"--detect {self.detect}: it must be more than 0 and at most 100 points")
        if sum(place is not None for place in (self.html, self.mteb, self.pretrainings)) > 1:
            raise InputError("--html, --mteb and --pretrainings write different things: give one of them")
        if self.pretrainings is not None and len(self.folders) < 2:
            raise InputError("--pretrainings needs two run folders or more")
        if self.reference is not None and self.pretrainings is None:
            raise InputError("--reference is for the table of --pretrainings: the table of a run folder has its own")


def main(config: ReportConfig) -> None:
    """Report on every folder, or write one page, one table or files for MTEB of all."""
    if config.mteb is not None:
        for folder in config.folders:
            print(*write_results(folder, config.mteb), sep="\n")
        return
    if config.pretrainings is not None:
        write_pretrainings(
            config.folders,
            config.pretrainings,
            method=config.interval,
            detect=config.detect,
            reference=config.reference,
        )
        return
    if config.html is None:
        for folder in config.folders:
            write_report(folder, method=config.interval, detect=config.detect)
            if config.calibration:
                _write_calibration(folder)
        return
    page = render([examine(folder, config.interval, config.detect) for folder in config.folders])
    with writing(config.html, "use another --html"):
        config.html.mkdir(parents=True, exist_ok=True)
        write_whole(config.html / INDEX, lambda file: file.write(page.encode()))
    print(config.html / INDEX)


def _write_calibration(folder: Path) -> None:
    text = tabulate(folder, read_rows(folder)).to_markdown(index=False, disable_numparse=True)
    text += f"\n\n- Times 100, mean and s.d. over runs; lower is better. ECE has {BINS} bins of equal width.\n"
    with writing(folder):
        (folder / CALIBRATION).write_text(text, encoding="utf-8")
    print(f"\n{text}")


if __name__ == "__main__":
    run(main, ReportConfig)
