"""Batches prepared ahead on a thread, so that the devices need not wait for them."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType

from bert_jax.types import Tree


class Prefetch:
    """An iterator over batches that a thread makes, at most `depth` ahead. As a context, it ends the thread on exit.

    An error in making a batch is raised when that batch is taken.

    Attributes:
        waited: seconds spent waiting for batches.
    """

    def __init__(self, batches: Iterable[Tree], depth: int = 2) -> None:
        self.waited = 0.0
        self._queue: queue.Queue[tuple[Tree, BaseException | None]] = queue.Queue(depth)
        self._closed = False
        self._thread = threading.Thread(target=self._make, args=(batches,), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Tree]:
        return self

    def __next__(self) -> Tree:
        start = time.perf_counter()
        batch, error = self._queue.get()
        self.waited += time.perf_counter() - start
        if error is not None:
            self._queue.put((None, error))  # a further call raises too, instead of waiting forever
            raise error
        return batch

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._closed = True
        while self._thread.is_alive():
            with contextlib.suppress(queue.Empty):
                self._queue.get(timeout=0.01)

    def _make(self, batches: Iterable[Tree]) -> None:
        end: BaseException = StopIteration()
        try:
            for batch in batches:
                self._queue.put((batch, None))
                if self._closed:
                    return
        except BaseException as error:
            end = error
        self._queue.put((None, end))
