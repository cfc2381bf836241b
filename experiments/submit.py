"""Write a submission to the GLUE benchmark from the test predictions of a run folder.

`python -m experiments.ablate_pooling glue --test ...`, then
`python -m experiments.submit RUN_DIR --readout last/mean/none --out submission.zip`.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from bert_jax.errors import InputError, unknown
from bert_jax.files import write_whole, writing
from bert_jax.study.kept import TESTS, read_kept
from bert_jax.study.store import Row, read_rows
from bert_jax.tasks.submission import FILES, HEADER, check, fill, spell
from experiments.cli import run


@dataclass(frozen=True)
class Submission:
    """Write the eleven files of a GLUE submission for one readout, checked against the benchmark's rules."""

    folder: tyro.conf.Positional[Path]
    """Folder of an ablation with --test."""
    readout: str
    """A readout, as layers/pooling/projection: last/mean/none."""
    out: Path
    """The archive to write: submission.zip."""
    regime: str = "finetune"
    """The regime whose predictions are taken."""
    seed: int | None = None
    """The seed whose predictions are taken; by default, for each task, the run with the best development score."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".zip":
            raise InputError(f"--out {self.out}: the site takes an archive, NAME.zip")


def main(config: Submission) -> None:
    """Write the archive, and say which run each file is of."""
    runs = choose(config, read_rows(config.folder))
    columns, filled = {}, []
    for name, file in FILES.items():
        chosen = runs.get(file.trained_on)
        if chosen is None:
            columns[name] = fill(file)
            filled.append(name)
            continue
        columns[name] = spell(file, read_kept(config.folder, chosen, TESTS)[name])
        score = 100 * chosen.score(next(iter(chosen.metrics)))
        print(f"{name}.tsv: {len(columns[name]):,} rows of {chosen.title} seed {chosen.seed}, dev {score:.1f}")
    check(columns)
    with writing(config.out.parent):
        config.out.parent.mkdir(parents=True, exist_ok=True)
        write_whole(config.out, lambda file: _write(file, columns))
    if filled:
        print(
            f"WARNING: {len(filled)} of {len(FILES)} files hold the most frequent class and no prediction of a model, "
            f"as the site asks for tasks that were not run: {', '.join(filled)}. Their scores and the average are void"
        )
    print(f"wrote {config.out}")


def choose(config: Submission, rows: list[Row]) -> dict[str, Row]:
    """Task -> the run whose predictions are submitted.

    Raises:
        InputError: no finished run has the regime, readout and seed.
    """
    fits = [row for row in rows if row.ok and row.regime == config.regime and row.blind is None]
    tasks = {file.trained_on for file in FILES.values()}
    fits = [row for row in fits if row.task in tasks and row.config.get("suite") == "glue"]
    if config.readout not in {row.readout for row in fits}:
        raise unknown(f"readout of {config.folder} ({config.regime}, GLUE)", config.readout, {r.readout for r in fits})
    fits = [row for row in fits if row.readout == config.readout and config.seed in (None, row.seed)]
    if not fits:
        raise InputError(f"--seed {config.seed}: {config.folder} has no run of {config.readout} with this seed")
    best: dict[str, Row] = {}
    for row in sorted(fits, key=lambda row: row.score(next(iter(row.metrics)))):
        best[row.task] = row
    return best


def _write(file: object, columns: dict[str, list[str]]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, column in columns.items():
            lines = [HEADER, *(f"{index}\t{found}" for index, found in enumerate(column))]
            archive.writestr(f"{name}.tsv", "".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    run(main, Submission)
