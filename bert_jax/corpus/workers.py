"""Worker processes that take a stream of work in bounded memory and end with their parent."""

import gc
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Generic, NamedTuple, TypeVar

from bert_jax.errors import InputError

Result = TypeVar("Result")


class Call(NamedTuple, Generic[Result]):
    """A function with its arguments, to call in another process; both must be such that they can be sent there."""

    function: Callable[..., Result]
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Workers:
    """Some processes."""

    pool: ProcessPoolExecutor
    count: int

    def map(self, calls: Iterable[tuple[int, Call[Result] | None]]) -> Iterator[tuple[int, Result | None]]:
        """The results of numbered calls, in their order; None for no call.

        Of the calls only a few more are taken than there are processes, so that what waits is bounded.
        """
        pending: deque[tuple[int, Future[Result] | None]] = deque()

        def oldest() -> tuple[int, Result | None]:
            number, future = pending.popleft()
            return number, None if future is None else future.result()

        for number, call in calls:
            future = None if call is None else self.pool.submit(call.function, *call.arguments)
            pending.append((number, future))
            if len(pending) > self.count + 1:
                yield oldest()
        while pending:
            yield oldest()


@contextmanager
def start_workers(count: int) -> Iterator[Workers]:
    """Processes for a while; what they have not begun when an error ends it is given up.

    Raises:
        InputError: a process ended on its own, as when the system is out of memory.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=_initialize)
    try:
        yield Workers(pool, count)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended on its own, out of memory perhaps: take fewer with --workers; "
            "the same command goes on where it was"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _initialize() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # each process is one core's
    gc.disable()  # work on text makes objects by the million and no cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent alone answers
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A killed parent says nothing, and its workers would wait for work for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
