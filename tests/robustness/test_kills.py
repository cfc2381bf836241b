"""Killed at random moments, every command that takes long loses nothing that was finished, and ends as if undisturbed.

CONTRIBUTING has the command for fifty kills.
"""

import json
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import processes
import pytest
from amounts import SEED, amount
from worlds import sentence, write_encoder, write_glue

from bert_jax.study.store import read_predictions, read_rows
from bert_jax.train.log import read_log
from bert_jax.train.throughput import TIMES

KILLS = amount("KILLS", 3)
PATIENCE = 3600
"""Seconds after which a process that does nothing has hung, on however busy a machine."""


class Subject(NamedTuple):
    """A command to kill: its arguments in a world, what it has finished (which only grows), and what it ends with."""

    arguments: Callable[[Path], str]
    finished: Callable[[Path], Any]
    outcome: Callable[[Path], Any]


def _checkpoint(out: Path) -> int:
    folder = out / "checkpoints"
    return max((int(path.name) for path in folder.glob("*") if path.name.isdecimal()), default=0)


def _pretrained(out: Path) -> object:
    lines = [{name: value for name, value in line.items() if name not in TIMES} for line in read_log(out)]
    return (out / "model" / "model.safetensors").read_bytes(), lines


def _lines(out: Path) -> set[bytes]:
    path = out / "results.jsonl"
    return set(path.read_bytes().split(b"\n")[:-1]) if path.exists() else set()


def _rows(out: Path) -> object:
    """Everything but the time of each run."""
    rows = {}
    for row in read_rows(out):
        answers = {name: [array.tobytes() for array in pair] for name, pair in read_predictions(out, row).items()}
        rows[row.id] = row.task, row.readout, row.seed, row.metrics, answers
    return rows


def _shards(out: Path) -> set[tuple[str, str]]:
    """Every finished shard with its checksum; those of a manifest are joined and removed."""
    parts = [json.loads(path.read_text()) for path in out.glob("part-*.json")]
    for part in () if (out / "manifest.json").exists() else parts:
        assert all((out / shard["file"]).exists() for shard in part["shards"])
    parts += [json.loads(path.read_text()) for path in out.glob("manifest.json")]
    return {(shard["file"], shard["sha256"]) for part in parts for shard in part["shards"]}


def _files(out: Path) -> object:
    return {path.name: path.read_bytes() for path in out.iterdir()}


SUBJECTS = {
    "pretrain": Subject(
        lambda world: (
            "tiny --documents 40 --vocab.size 200 --pretrain.max-length 24 --pretrain.batch-size 8 "
            "--eval-examples 40 --pretrain.steps 150 --log-every 7 --eval-every 60 --save-every 5"
        ),
        _checkpoint,
        _pretrained,
    ),
    "ablate_pooling": Subject(
        lambda world: (
            f"glue --encoder {world / 'encoder'} --glue-dir {world / 'glue'} --tasks cola stsb --seeds 3 "
            "--poolings cls mean --finetune.epochs 1 --finetune.batch-size 8 --finetune.num-buckets 1"
        ),
        _lines,
        _rows,
    ),
    "prepare_corpus": Subject(
        lambda world: f"--input {world / 'text'} --vocab-size 30 --block-megabytes 0.02 --heldout 0.2 --workers 1",
        _shards,
        _files,
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_glue(folder / "glue")
    write_encoder(folder / "encoder")
    rng = np.random.default_rng(0)
    (folder / "text").mkdir()
    for n in range(4):
        documents = ["\n".join(f"{sentence(rng, 12).capitalize()}." for _ in range(9)) for _ in range(80)]
        (folder / "text" / f"{n}.txt").write_text("\n\n".join(documents))
    return folder


def _snapshot(out: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file: any step of a command changes it."""
    found = {}
    for folder, _, files in os.walk(out):
        for name in files:
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except FileNotFoundError:
                continue
            found[path] = status.st_size, status.st_mtime_ns
    return found


def _kill_some_time(process: BaseProcess, out: Path, draw: random.Random) -> None:
    """Kill a process a random time after it has changed something: at its start, or anywhere in its work."""
    for _ in range(draw.choice([0, 1, 2, 4, 8, 16, 32, 64])):
        before = _snapshot(out)
        processes.wait_for(lambda before=before: _snapshot(out) != before, process, PATIENCE)
    time.sleep(draw.choice([0, draw.uniform(0, 0.05), draw.uniform(0, 2)]))
    process.kill()


@pytest.mark.parametrize("name", SUBJECTS)
def test_kills_at_random_moments_lose_nothing_and_change_nothing(name, world, tmp_path):
    subject, place = SUBJECTS[name], list(SUBJECTS).index(name)
    kills, draw = KILLS // 3 + (place < KILLS % 3), random.Random(f"{SEED}-{name}")

    def start(out: Path) -> BaseProcess:
        return processes.start([*subject.arguments(world).split(), "--out", str(out)], tmp_path, command=name)

    status, text = processes.finish(start(tmp_path / "whole"), tmp_path, PATIENCE)
    assert status == 0, text
    wanted, moments, runs = subject.outcome(tmp_path / "whole"), [], 0
    while len(moments) < kills:
        runs += 1
        out, status = tmp_path / f"killed{runs}", -signal.SIGKILL
        while status == -signal.SIGKILL:
            before = subject.finished(out)
            process = start(out)
            if len(moments) < kills:
                _kill_some_time(process, out, draw)
            status, text = processes.finish(process, tmp_path, PATIENCE)
            after = subject.finished(out)
            assert before <= after, f"something finished is lost: {before} became {after}"
            moments += [len(after) if isinstance(after, set) else after] * (status == -signal.SIGKILL)
        is_finished = status == 2 and "it is finished" in text  # the kill came between its last write and its end
        assert status == 0 or (is_finished and name == "prepare_corpus"), text
        assert subject.outcome(out) == wanted
    print(f"{name}: {kills} kills in {runs} runs, when so much was finished: {moments}")
