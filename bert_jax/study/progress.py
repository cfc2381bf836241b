"""Progress bars with the remaining time; in lines where the output is no terminal."""

import math
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

EVERY = 30.0
"""Seconds between two lines where the output is no terminal."""


class _Lines(Progress):
    """Progress that also prints a line now and then if its output is a file or a pipe, which a bar cannot redraw."""

    _told = -math.inf

    def start(self) -> None:
        """Start the clock: the first line is due after `EVERY` seconds."""
        self._told = time.monotonic()
        super().start()

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Update a task as the base class does."""
        super().update(task_id, **fields)
        self._tell()

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Advance a task as the base class does."""
        super().advance(task_id, advance)
        self._tell()

    def _tell(self) -> None:
        if self.console.is_terminal or time.monotonic() - self._told < EVERY:
            return
        self._told = time.monotonic()
        print("; ".join(map(_describe, self.tasks)), file=sys.stderr, flush=True)


def _describe(task: Task) -> str:
    """A task in words."""
    total = "" if task.total is None else f" of {task.total:,.0f}"
    left = "" if not task.time_remaining else f", about {duration(task.time_remaining)} left"
    note = f", {task.fields['note']}" if task.fields.get("note") else ""
    return f"{task.description} {task.completed:,.0f}{total}{left}{note}"


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(12), duration(1234), duration(12345)
    ('12 seconds', '21 minutes', '3.4 hours')
    """
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def progress_bar() -> Progress:
    """A progress bar with count, elapsed and remaining time, and a field `note` for the latest measurement.

    It goes to standard error, so that standard output holds results only; if that is no terminal, lines are printed.
    """
    console = Console(stderr=True)
    return _Lines(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=not console.is_terminal,
    )
