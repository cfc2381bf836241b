"""Split a run folder whose rows were made from several data sets: `python -m experiments.repair RUN_DIR --out DIR`.

Only folders of older versions, which did not record their data, can be in that state.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

import tyro

from bert_jax.study.repair import group_rows, write_groups
from experiments.cli import run


@dataclass(frozen=True)
class RepairConfig:
    """List the rows of a run folder by the data they were made from; with --out, copy each group to its own folder."""

    folder: tyro.conf.Positional[Path]
    """Run folder, which is not changed."""
    out: Path | None = None
    """Folder to write, with a run folder for each group: data0, data1, ..."""


def main(config: RepairConfig) -> None:
    """Print the groups of `config.folder`, and write them if asked to."""
    groups = group_rows(config.folder)
    for number, group in enumerate(groups):
        print(f"data{number}: {len(group.rows)} rows")
        for task, data in group.data.items():
            seeds = sorted({row.seed for row in group.rows if row.task == task})
            print(f"  {task}: {data}; seeds {', '.join(map(str, seeds))}")
    if len(groups) == 1:
        print("all rows are of the same data")
    elif config.out is None:
        print("give --out DIR to copy each group into a run folder of its own")
    else:
        for folder in write_groups(config.folder, groups, config.out):
            print(f"wrote {folder}; python -m experiments.report {shlex.quote(str(folder))} reports it")


if __name__ == "__main__":
    run(main, RepairConfig)
