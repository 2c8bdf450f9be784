"""Work on samples in threads, some of it before it is asked for."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_MOST_THREADS = 32
# Batches that are worked on while the one before them is used.
_BATCHES_AHEAD = 2


class Ahead(Generic[Result]):
    """Results by index; of what is read in order, the next ones are made beforehand."""

    def __init__(self, work: Callable[[int], Result], count: int) -> None:
        """Starts no thread yet.

        Args:
            work: Makes the result of an index, on any thread, several at once.
            count: Indices are below it.
        """
        self._work = work
        self._count = count
        self._pool = new_pool()
        self._lock = threading.Lock()
        self._started: dict[int, Future[Result]] = {}
        self._next = -1

    def results(self, start: int, stop: int) -> Iterator[Result]:
        """The results of ``start`` to ``stop - 1``, in order; an error is raised in its place.

        Args:
            start: The first index.
            stop: One past the last.
        """
        with self._lock:
            # Whoever reads here and there would not come to what is next.
            ahead = (stop - start) * _BATCHES_AHEAD if start == self._next else 0
            end = min(stop + ahead, self._count)
            self._next = stop
            wanted = [self._take(index) for index in range(start, stop)]
            # Queries in flight may ask for a batch a little before the one before it.
            kept = range(2 * start - stop, end)
            for index in [index for index in self._started if index not in kept]:
                self._started.pop(index).cancel()
            for index in range(stop, end):
                if index not in self._started:
                    self._started[index] = self._pool.submit(self._work, index)
        yield from (each.result() for each in wanted)

    def _take(self, index: int) -> Future[Result]:
        return self._started.pop(index, None) or self._pool.submit(self._work, index)


def in_threads(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """The results of some items, in their order, a few at a time.

    Args:
        work: On any thread, several at once.
        items: Taken as results are.
    """
    pending: deque[Future[Result]] = deque()
    with new_pool() as pool:
        try:
            for item in items:
                pending.append(pool.submit(work, item))
                if len(pending) > 2 * _MOST_THREADS:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()


def new_pool() -> ThreadPoolExecutor:
    """As many threads as this process may use processors; Pillow works without Python's lock."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ThreadPoolExecutor(min(usable or 1, _MOST_THREADS), thread_name_prefix="images")
