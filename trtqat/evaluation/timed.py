"""What is timed: one model at one batch size, its sessions open and its inputs at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from trtqat.runtime.protocol import Session
from trtqat.tensors import Arrays

# Queries of each session in a turn of several, of which the first fills the pipeline.
_LEAST = 4


class Timed(Protocol):
    """A model at one batch size, in this process or in one of its own.

    Attributes:
        mode: How a query runs and is timed, in words.
        in_flight: How many queries it takes at once.
        own_process: Whether it is in a process that does nothing else.
        enqueue_times_ms: Host time of each launch of the last ``compute_times_ms``; empty where
            nothing is launched ahead of its result.
    """

    @property
    def mode(self) -> str: ...  # noqa: D102

    @property
    def in_flight(self) -> int: ...  # noqa: D102

    @property
    def own_process(self) -> bool: ...  # noqa: D102

    @property
    def enqueue_times_ms(self) -> Sequence[float]: ...  # noqa: D102

    def load(self) -> None:
        """Puts the inputs where ``compute_times_ms`` finds them."""

    def compute_times_ms(self, count: int) -> list[float]:
        """Compute time of each of ``count`` queries, as ``Session.compute_times_ms``."""

    def request_times_ms(self, count: int) -> list[float]:
        """Wall clock of each of ``count`` requests, host memory to host memory, in ms."""

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies to the device and back, as ``Session.transfer_times_ms``."""

    def answered_s(self, seconds: float) -> list[list[float]]:
        """Keeps all of its sessions busy.

        Args:
            seconds: For so long, and four queries of each session at least.

        Returns:
            When each session was done with each of its queries, in s, by a clock of its own.
        """


class TimedSessions:
    """Sessions of one model, in this process. They stay open."""

    own_process = False

    def __init__(self, sessions: Sequence[Session], inputs: Arrays) -> None:
        """Keeps what is timed.

        Args:
            sessions: At least one; the first one is what single queries run on.
            inputs: Of their batch size.
        """
        self._sessions, self._inputs = sessions, inputs
        self._pool: ThreadPoolExecutor | None = None

    @property
    def mode(self) -> str:
        """How a query runs and is timed, in words."""
        return self._sessions[0].mode

    @property
    def in_flight(self) -> int:
        """How many queries it takes at once."""
        return len(self._sessions)

    @property
    def enqueue_times_ms(self) -> Sequence[float]:
        """Host time of each launch of the last ``compute_times_ms``."""
        return self._sessions[0].enqueue_times_ms

    def load(self) -> None:
        """Puts the inputs where ``compute_times_ms`` finds them."""
        self._sessions[0].load(self._inputs)

    def compute_times_ms(self, count: int) -> list[float]:
        """Compute time of each of ``count`` queries, in ms."""
        return self._sessions[0].compute_times_ms(count)

    def request_times_ms(self, count: int) -> list[float]:
        """Wall clock of each of ``count`` requests, in ms."""
        times = []
        for _ in range(count):
            start = time.perf_counter()
            self._sessions[0].run(self._inputs)
            times.append((time.perf_counter() - start) * 1e3)
        return times

    def transfer_times_ms(self, count: int) -> tuple[list[float], list[float]]:
        """Times of ``count`` copies to the device and back, in ms."""
        return self._sessions[0].transfer_times_ms(count)

    def answered_s(self, seconds: float) -> list[list[float]]:
        """Keeps all sessions busy, each on a thread of its own; when they answered, in s."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(len(self._sessions))
        end = time.perf_counter() + seconds

        def keep_busy(session: Session) -> list[float]:
            done: list[float] = []
            while len(done) < _LEAST or time.perf_counter() < end:
                session.run(self._inputs)
                done.append(time.perf_counter())
            return done

        return list(self._pool.map(keep_busy, self._sessions))

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
