"""List the sentences on which two readouts differ: `python -m experiments.disagreements RUN_DIR cls mean`."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import tyro

from bert_jax.analysis.disagreements import disagreements
from bert_jax.errors import InputError
from bert_jax.files import writing
from bert_jax.study.store import read_rows
from experiments.cli import run


@dataclass(frozen=True)
class Disagreements:
    """List the examples on which two readouts differ over their seeds, the largest differences first."""

    folder: tyro.conf.Positional[Path]
    """A folder that an experiment wrote with --out."""
    first: tyro.conf.Positional[str]
    """A readout, as in the table: cls."""
    second: tyro.conf.Positional[str]
    """The other one: mean."""
    task: str = ""
    """Only this task."""
    show: int = 10
    """Examples of each task to print for each side."""
    out: Path | None = None
    """Write all of them to this tab-separated file."""

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise InputError(f"{self.first} and {self.second} are one readout; name two")
        if self.show < 0:
            raise InputError(f"--show {self.show}: it must not be negative")


def main(config: Disagreements) -> None:
    """Print the examples of each task, those that the second readout gets right first."""
    rows = read_rows(config.folder)
    found = disagreements(config.folder, rows, config.first, config.second, config.task)
    if config.out is not None:
        with writing(config.out.parent):
            config.out.parent.mkdir(parents=True, exist_ok=True)
            found.to_csv(config.out, sep="\t", index=False)
    if found.empty:
        print("no example on which they differ")
    for (task, regime), here in found.groupby(["task", "regime"], sort=False):
        gained, lost = here[here["difference"] > 0], here[here["difference"] < 0]
        for better, lines in ((config.second, gained), (config.first, lost)):
            print(f"\n{task} ({regime}): {better} is better on {len(lines):,} examples")
            for line in lines.head(config.show).itertuples():
                text = line.a if pd.isna(line.b) else f"{line.a} | {line.b}"
                scores = f"{config.first} {line.first:.2f}, {config.second} {line.second:.2f}"
                print(f"  row {line.row}, {line.label}: {scores}: {text}")


if __name__ == "__main__":
    run(main, Disagreements)
