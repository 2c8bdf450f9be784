"""Queries as trtexec runs them: three streams, two queries ahead, an event at every border.

Inputs go to the GPU on one stream, computing runs on the second and outputs come back on the third;
events order them. They are the streams that all sessions share (``streams``): kernels on another
one would make each launch slower. What trtexec calls latency is the sum of a query's three GPU
times.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trtqat.runtime.engine import Engine
from trtqat.runtime.session import EngineSession
from trtqat.tensors import Arrays

_AHEAD = 2
_MIN_QUERIES = 10


@dataclass(frozen=True)
class QueryTimes:
    """What each query took, in order.

    Attributes:
        h2d_ms: Copies of the inputs to the GPU; empty without transfers.
        compute_ms: Computing.
        d2h_ms: Copies of the outputs back; empty without transfers.
        enqueue_ms: Host time of the launch.
        wall_s: From the first query that counts to the end of the last one.
    """

    h2d_ms: tuple[float, ...]
    compute_ms: tuple[float, ...]
    d2h_ms: tuple[float, ...]
    enqueue_ms: tuple[float, ...]
    wall_s: float


def run_like_trtexec(
    engine: Engine,
    batch_size: int,
    inputs: Arrays,
    *,
    cuda_graph: bool,
    transfers: bool,
    blocking: bool,
    warm_up_ms: float,
    duration_s: float,
) -> tuple[QueryTimes, str]:
    """Runs queries on given inputs, in a session of their own.

    Args:
        engine: The engine.
        batch_size: Of the queries.
        inputs: Arrays of that batch size by input name.
        cuda_graph: Whether queries replay a CUDA graph.
        transfers: Whether every query copies its inputs and outputs.
        blocking: Whether the host sleeps while it waits, instead of spinning.
        warm_up_ms: Time before the first query that counts.
        duration_s: Least time over which queries count; at least ten do.

    Returns:
        The times, and how the session enqueued, in words.

    Raises:
        InferenceError: TensorRT's enqueue failed.
    """
    with contextlib.closing(engine.session(batch_size, cuda_graph=cuda_graph)) as session:
        session.load(inputs)
        times = _run(
            session,
            transfers=transfers,
            blocking=blocking,
            warm_up_ms=warm_up_ms,
            duration_s=duration_s,
        )
        return times, session.mode


def _run(
    session: EngineSession,
    *,
    transfers: bool,
    blocking: bool,
    warm_up_ms: float,
    duration_s: float,
) -> QueryTimes:
    lanes = [_Lane(session, transfers=transfers, blocking=blocking) for _ in range(_AHEAD)]
    found: list[tuple[float, float, float, float]] = []

    def run(seconds: float, least: int) -> float:
        """Queries until the time is over; those before this call are all done."""
        found.clear()
        start = time.perf_counter()
        count = 0
        while count < least or time.perf_counter() - start < seconds:
            lane = lanes[count % _AHEAD]
            if count >= _AHEAD:
                found.append(lane.wait())
            lane.query()
            count += 1
        pending = min(count, _AHEAD)
        found.extend(lanes[(count - pending + each) % _AHEAD].wait() for each in range(pending))
        return time.perf_counter() - start

    run(warm_up_ms / 1e3, 1)
    wall_s = run(duration_s, _MIN_QUERIES)
    h2d, compute, d2h, enqueue = (tuple(each) for each in zip(*found, strict=True))
    return QueryTimes(h2d if transfers else (), compute, d2h if transfers else (), enqueue, wall_s)


class _Lane:
    """One of the queries ahead: its events."""

    def __init__(self, session: EngineSession, *, transfers: bool, blocking: bool) -> None:
        from cuda.core import EventOptions

        options = EventOptions(timing_enabled=True, blocking_sync=blocking)
        self._session, self._streams, self._transfers = session, session.streams, transfers
        self._input, self._compute, self._output = (
            [session.device.create_event(options) for _ in range(2)] for _ in range(3)
        )
        self._enqueue_ms = 0.0

    def query(self) -> None:
        """Enqueues everything of one query."""
        compute = self._streams.compute
        with self._streams.lock:
            if self._transfers:
                self._copy(self._session.copy_inputs, self._streams.to_device, self._input)
                compute.wait(self._input[1])
            compute.record(self._compute[0])
            before = time.perf_counter()
            self._session.launch()
            self._enqueue_ms = (time.perf_counter() - before) * 1e3
            compute.record(self._compute[1])
            if self._transfers:
                self._streams.to_host.wait(self._compute[1])
                self._copy(self._session.copy_outputs, self._streams.to_host, self._output)

    def _copy(self, copy: Callable[[Any], None], stream: Any, events: list[Any]) -> None:  # noqa: ANN401
        stream.record(events[0])
        copy(stream)
        stream.record(events[1])

    def wait(self) -> tuple[float, float, float, float]:
        """Waits for the query; times of input, computing, output and enqueue in ms."""
        (self._output if self._transfers else self._compute)[1].sync()
        h2d, d2h = (
            float(each[1] - each[0]) if self._transfers else 0.0
            for each in (self._input, self._output)
        )
        return h2d, float(self._compute[1] - self._compute[0]), d2h, self._enqueue_ms
