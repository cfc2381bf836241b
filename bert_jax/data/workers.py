"""Worker processes that take a stream of work in bounded memory and die with their parent."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, NamedTuple, TypeVar

from bert_jax.errors import InputError

Result = TypeVar("Result")


class Workers(NamedTuple):
    """Some processes."""

    pool: ProcessPoolExecutor
    count: int

    def map(self, calls: Iterable[tuple[Callable[..., Result], tuple[Any, ...]]]) -> Iterator[Result]:
        """The results of calls (function, arguments) in their order; few more calls are made than there are workers."""
        pending: deque[Future[Result]] = deque()
        for function, arguments in calls:
            pending.append(self.pool.submit(function, *arguments))
            if len(pending) > self.count + 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


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
            f"a worker process ended on its own, out of memory perhaps: use fewer than {count} with --workers; "
            "the same command goes on where it was"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _initialize() -> None:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    # A killed parent says nothing, and its workers would wait for work for ever.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
