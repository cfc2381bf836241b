"""Commands in processes of their own, that can be killed and can be several hosts.

They are forked from a server that has imported everything but has not asked for a device: each begins in a moment.
"""

import importlib
import multiprocessing
import os
import socket
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["experiments.pretrain", "orbax.checkpoint", "tensorboardX"])

COMMANDS = {
    "pretrain": ("pretraining", "PretrainRun"),
    "ablate_pooling": ("ablation", "Ablation"),
    "prepare_corpus": ("corpus", "PrepareCorpus"),
}
"""Command -> the file and the class of its settings."""
TINY = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32}
"""What `--pretrain.preset tiny` means in these processes."""


def start(
    arguments: list[str],
    folder: Path,
    devices: int = 1,
    record: Path | None = None,
    environment: dict[str, str] | None = None,
    command: str = "pretrain",
) -> BaseProcess:
    """`python -m experiments.COMMAND ARGUMENTS` on a number of devices.

    Args:
        arguments: the command line.
        folder: gets `output-PID.txt` with what it prints.
        devices: which the host has.
        record: a file that gets the token ids of every batch that this host takes, if it ends well.
        environment: variables to set.
        command: one of `COMMANDS`.
    """
    python_path = os.environ.get("PYTHONPATH", "")
    try:  # the server finds the project by it
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests"), *python_path.split(os.pathsep)])
        variables = (environment or {}) | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        process = context.Process(target=_run, args=(command, arguments, folder, record, variables))
        process.start()
    finally:
        os.environ["PYTHONPATH"] = python_path
    return process


def output(folder: Path, process: BaseProcess) -> str:
    """Output of a process; empty if it was killed before it opened its file."""
    path = folder / f"output-{process.pid}.txt"
    return path.read_text() if path.exists() else ""


def finish(process: BaseProcess, folder: Path, seconds: float = 120) -> tuple[int, str]:
    """Wait for a process: its exit status (negative for a signal), and what it printed."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"still running after {seconds} s: {output(folder, process)}")
    return process.exitcode, output(folder, process)


def run(arguments: list[str], folder: Path, **options) -> tuple[int, str]:
    """`start`, then `finish`."""
    return finish(start(arguments, folder, **options), folder)


def wait_for(condition, process: BaseProcess, seconds: float = 60) -> None:
    """Wait until a condition holds, or the process ends."""
    end = time.monotonic() + seconds
    while not condition() and process.is_alive():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _run(command: str, arguments: list[str], folder: Path, record: Path | None, environment: dict[str, str]) -> None:
    file = os.open(folder / f"output-{os.getpid()}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ |= environment
    from bert_jax import config
    from bert_jax.train import pretrain as training
    from experiments import cli

    config.PRESETS["tiny"] = config.BertConfig(**TINY)
    seen, mapped = [], training.map_train_step

    def recorded(step, *precision):
        take = mapped(step, *precision)
        return lambda state, batch, key: seen.append(batch.tokens.ids) or take(state, batch, key)

    training.map_train_step = recorded
    settings = getattr(importlib.import_module(f"experiments.settings.{COMMANDS[command][0]}"), COMMANDS[command][1])
    configs = settings if command == "prepare_corpus" else cli.named(settings)
    cli.run(importlib.import_module(f"experiments.{command}").main, configs, arguments)
    if record is not None:
        np.save(record, np.stack(seen))
