"""Run folders of one grid whose encoders were pretrained apart, as the rows of several pretrainings."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bert_jax.errors import InputError
from bert_jax.files import Json, require_same
from bert_jax.study.store import Row, read_experiment, read_rows

_OF_ENCODER = ("encoder", "encoder_weights", "tokenizer")
"""Settings of a run folder that differ from pretraining to pretraining."""


class Repetitions(NamedTuple):
    """rows: of all folders, with the number of their folder as pretraining. where: folder of each row by its id.
    experiment: the settings that the folders share."""

    rows: list[Row]
    where: dict[str, Path]
    experiment: Json


def read_repetitions(folders: Sequence[Path]) -> Repetitions:
    """Read run folders that differ in nothing but the encoder.

    Raises:
        InputError: a folder has no rows, other settings or other runs than the first, or an encoder of another one.
    """
    rows: list[Row] = []
    where: dict[str, Path] = {}
    encoders: dict[str, Path] = {}
    first = _settings(folders[0])
    grid = {_cell(row) for row in read_rows(folders[0])}
    for number, folder in enumerate(folders):
        found = read_rows(folder)
        require_same(folder, "run", _settings(folder), first, "folder")
        if apart := grid.symmetric_difference(map(_cell, found)):
            raise InputError(
                f"{folder} and {folders[0]} have not the same runs: {' '.join(map(str, min(apart)))} is in one of them "
                "only. Finish both by their own commands"
            )
        weights = str(read_experiment(folder).get("encoder_weights"))
        if weights in encoders:
            raise InputError(
                f"{folder} has the encoder of {encoders[weights]}: that is no other pretraining; leave it out"
            )
        encoders[weights] = folder
        rows += [dataclasses.replace(row, pretraining=number) for row in found]
        where |= {row.id: folder for row in found}
    names = list(dict.fromkeys(str(read_experiment(folder).get("encoder")) for folder in folders))
    encoder = f"{', '.join(names)}, {len(folders)} pretrainings"
    return Repetitions(rows, where, first | {"encoder": encoder})


def _settings(folder: Path) -> Json:
    return {name: value for name, value in read_experiment(folder).items() if name not in _OF_ENCODER}


def _cell(row: Row) -> tuple[str, str, str, int, float]:
    return row.regime, row.task, row.name, row.seed, row.learning_rate or 0.0
