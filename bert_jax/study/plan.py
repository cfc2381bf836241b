"""The commands given for a run folder, and the runs that they asked for, so that a report can say which are missing."""

import json
from collections.abc import Sequence
from pathlib import Path

from bert_jax.files import read_json, write_whole, writing
from bert_jax.study.run import Run
from bert_jax.study.store import Row

PLAN, COMMANDS = "plan.json", "commands.txt"
Plan = dict[str, dict[str, dict[str, str]]]
"""Regime -> title of a task -> id of a run -> its readout and seed, as the last command for that task asked for."""


def note_plan(folder: Path, runs: Sequence[Run]) -> None:
    """Write down the runs of a command; of one task and regime only those of the last command are kept.

    Raises:
        InputError: the folder cannot be written.
    """
    old, new = read_plan(folder), Plan()
    for run in runs:
        new.setdefault(run.regime, {}).setdefault(run.task.title, {})[run.id] = run.name
    merged = {regime: old.get(regime, {}) | new.get(regime, {}) for regime in dict.fromkeys([*old, *new])}
    if merged != old:
        text = json.dumps(merged, indent=1)
        with writing(folder):
            write_whole(folder / PLAN, lambda file: file.write(f"{text}\n".encode()))


def read_plan(folder: Path) -> Plan:
    """The runs that were asked for; empty for a folder of an older version.

    Raises:
        InputError: the file cannot be read.
    """
    path = folder / PLAN
    return read_json(path, remedy="delete it") if path.exists() else {}


def missing_runs(folder: Path, rows: Sequence[Row]) -> dict[tuple[str, str], list[str]]:
    """(regime, title of a task) -> the runs that were asked for and have no row, by readout and seed."""
    there = {row.id for row in rows}
    plan = read_plan(folder)
    found = {
        (regime, title): [name for one, name in runs.items() if one not in there]
        for regime, tasks in plan.items()
        for title, runs in tasks.items()
    }
    return {cell: names for cell, names in found.items() if names}


def note_command(folder: Path, command: str) -> None:
    """Add a command to those given for a run folder, unless it is there or empty.

    Raises:
        InputError: the folder cannot be written.
    """
    commands = read_commands(folder)
    if command and command not in commands:
        text = "".join(f"{line}\n" for line in [*commands, command])
        with writing(folder):
            write_whole(folder / COMMANDS, lambda file: file.write(text.encode()))


def read_commands(folder: Path) -> list[str]:
    """The commands given for a run folder, in order; empty if they were not written down."""
    path = folder / COMMANDS
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
