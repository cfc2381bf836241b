"""Stop a run at the end of a step on a signal."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from bert_jax.parallel.devices import has_peers, told_to_stop


class Interruption:
    """Record SIGTERM and Ctrl-C within this context; the caller checks `reached` after every step.

    A second signal has its usual effect. With several hosts, SIGTERM to any of them stops them all after the same
    step, and Ctrl-C has its usual effect.

    Attributes:
        stopped_by: the signal received, or None.
    """

    def __init__(self) -> None:
        self.stopped_by: signal.Signals | None = None
        self._before: dict[int, Any] = {}

    def reached(self, step: int) -> bool:
        """True if the run is to stop after this step."""
        if told_to_stop(step):
            self.stopped_by = signal.SIGTERM
        return self.stopped_by is not None

    def __enter__(self) -> "Interruption":
        if not has_peers() and threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.stopped_by = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
