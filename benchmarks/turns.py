"""Helpers that measure two sides in turn on one machine, and make tables. The head imports neither jax nor torch."""

import datetime
import functools
import importlib.util
import multiprocessing
import os
import platform
import re
import shlex
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

Side = Callable[..., "Future[float]"]
"""`(shape, steps) -> seconds per step`, run in the side's own process."""

new_process = functools.partial(ProcessPoolExecutor, 1, multiprocessing.get_context("spawn"))
"""Start a separate process, which sleeps between calls."""


def side(process: ProcessPoolExecutor, function: Callable[..., float], *first: Any) -> Side:
    """Make a side whose turns call `function(*first, shape, steps)` in a process."""
    return lambda shape, steps: process.submit(function, *first, shape, steps)


def prepare_ours() -> None:
    """Prepare the process as our scripts do; call it before any other import of bert_jax."""
    from bert_jax.parallel.memory import use_one_arena

    use_one_arena()
    from bert_jax.parallel.devices import prepare_process

    prepare_process()


note = functools.partial(print, file=sys.stderr, flush=True)
"""Print a line of progress to standard error."""

STEP_HEAD = ("model", "batch x length", "ours, s/step", "theirs, s/step", "ours, seq/s", "theirs, seq/s", "ratio")


def step_row(name: str, sides: dict[str, Side], shape: Sequence[int], rounds: int, steps: int) -> tuple[str, ...]:
    """Measure a row under `STEP_HEAD`. The first round, two steps that compile and warm up, is not counted."""
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds + 1):
        for side in list(sides)[:: -1 if number % 2 else 1]:
            seconds[side].append(sides[side](shape, steps if number else 2).result())
    ours, theirs = seconds["ours"][1:], seconds["theirs"][1:]
    medians = statistics.median(ours), statistics.median(theirs)
    cells = [f"{x:.3f}" for x in medians] + [f"{shape[0] / x:.1f}" for x in medians]
    ratio = spread([b / a for a, b in zip(ours, theirs, strict=True)])
    note(f"{name} {shape}: {' | '.join(cells)} | {ratio}")
    return name, "{} x {}".format(*shape), *cells, ratio


def check(config: Any, needs: Sequence[str] = ("torch", "transformers")) -> None:
    """Raise for missing libraries and invalid settings, and warn if the machine is busy."""
    from bert_jax.errors import InputError

    if missing := [name for name in needs if importlib.util.find_spec(name.replace("-", "_")) is None]:
        raise InputError(f"{' and '.join(missing)} not installed: pip install -e '.[parity]'")
    for field in ("rounds", "steps", "rows", "batches", "batch_size", "workers"):
        if (value := getattr(config, field, None)) is not None and value < 1:
            raise InputError(f"--{field.replace('_', '-')} must be at least 1, not {value}")
    if os.getloadavg()[0] > 0.5:
        note("warning: the machine is busy, or was just now; on a busy one the ratios mean nothing")


def spread(values: Sequence[float]) -> str:
    """The median, and the range if the values differ."""
    low, middle, high = (f"{f(values):.2f}" for f in (min, statistics.median, max))
    return middle if low == high else f"{middle} ({low}-{high})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def describe_machine(module: str, libraries: Sequence[str] = ("jax", "flax", "torch", "transformers")) -> str:
    """Describe the command, the date, the machine with its load before the run, and the versions."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text(encoding="utf-8")) if info.exists() else None
    cpu = f"{found[1] if found else platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before"
    versions = ", ".join(f"{name} {version(name)}" for name in libraries)
    command = f"`python -m benchmarks.{module} {shlex.join(sys.argv[1:])}`, {datetime.date.today()}"
    return f"{command}. {cpu} the run. Python {platform.python_version()}, {versions}."
