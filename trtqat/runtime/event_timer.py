"""Times on the GPU, by CUDA events."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from trtqat.runtime.streams import Streams

# Queries between two synchronisations: the GPU never waits for the host's launch of the next
# query, and events are created once.
_WINDOW = 32


class EventTimer:
    """Times what is launched on a compute stream, by pairs of events that are made once."""

    def __init__(self, device: Any, streams: Streams) -> None:  # noqa: ANN401
        """Creates the events when they are first needed.

        Args:
            device: The ``cuda.core.Device``.
            streams: On whose compute stream is launched.
        """
        self._device, self._streams = device, streams
        self._events: list[tuple[Any, Any]] = []

    def times_ms(
        self, launch: Callable[[], None], count: int, enqueues_ms: list[float]
    ) -> list[float]:
        """Times of ``count`` launches on the GPU, in ms.

        Args:
            launch: Enqueues something on the compute stream.
            count: How many.
            enqueues_ms: The host time of each launch is appended to it.
        """
        if not self._events:
            self._events = [(self._event(), self._event()) for _ in range(_WINDOW)]
        times: list[float] = []
        record, lock = self._streams.compute.record, self._streams.lock
        while len(times) < count:
            window = self._events[: count - len(times)]
            for start, end in window:
                with lock:
                    record(start)
                    before = time.perf_counter()
                    launch()
                    enqueues_ms.append((time.perf_counter() - before) * 1e3)
                    record(end)
            window[-1][1].sync()
            times.extend(float(end - start) for start, end in window)
        return times

    def close(self) -> None:
        """Frees the events."""
        self._events.clear()

    def _event(self) -> Any:  # noqa: ANN401
        from cuda.core import EventOptions

        return self._device.create_event(EventOptions(timing_enabled=True))
