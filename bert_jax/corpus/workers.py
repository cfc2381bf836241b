"""Worker processes that process a stream of calls in bounded memory and end with their parent."""

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
    """A function with its arguments, to call in another process; both must be picklable."""

    function: Callable[..., Result]
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Workers:
    """A pool of worker processes."""

    pool: ProcessPoolExecutor
    count: int

    def map(self, calls: Iterable[tuple[int, Call[Result] | None]]) -> Iterator[tuple[int, Result | None]]:
        """Yield the results of numbered calls, in their order; the result of None is None.

        Only a few more calls than processes are taken in advance, so that the queue is bounded.
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
    """Start worker processes for the duration of a `with` block; an error cancels calls that have not started.

    Raises:
        InputError: a process ended unexpectedly, for example because the system is out of memory.
    """
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, context, initializer=_initialize)
    try:
        yield Workers(pool, count)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process ended unexpectedly, perhaps out of memory: use fewer --workers; "
            "the same command resumes the run"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _initialize() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core per process
    gc.disable()  # text processing creates millions of objects but no cycles
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; only the parent handles it
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # A killed parent sends no signal, and its workers would wait for work forever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
