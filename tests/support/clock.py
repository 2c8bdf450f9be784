"""Simulated time, so that no test asks how busy the host is."""

from __future__ import annotations

import threading

# What reading a clock costs. Without it a loop that waits for the time to pass would never end.
_READING_S = 1e-6


class Clock:
    """Stands in for the module ``time``; its time passes where a test says so.

    Each thread has a time of its own, which begins where the thread that made the clock stands.
    When that one looks again, it has waited for the others.
    """

    def __init__(self) -> None:
        self._maker = threading.get_ident()
        self._now = 0.0
        self._others: dict[int, float] = {}
        self._lock = threading.Lock()

    def perf_counter(self) -> float:
        """Seconds."""
        return self._pass(_READING_S)

    def sleep(self, seconds: float) -> None:
        """Lets time pass for this thread, and returns at once."""
        self._pass(seconds)

    def _pass(self, seconds: float) -> float:
        thread = threading.get_ident()
        with self._lock:
            if thread != self._maker:
                self._others[thread] = self._others.get(thread, self._now) + seconds
                return self._others[thread]
            self._now = max([self._now, *self._others.values()]) + seconds
            self._others.clear()
            return self._now
