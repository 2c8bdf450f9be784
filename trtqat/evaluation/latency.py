"""Latency: warmed up, synchronised, long enough, with percentiles."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trtqat.evaluation.protocol import Session
from trtqat.tensors import Arrays

# As trtexec: at least ten queries, however long one takes.
_MIN_QUERIES = 10


@dataclass(frozen=True)
class LatencyOptions:
    """How long to measure, in trtexec's words and with its defaults.

    Attributes:
        warm_up_ms: Time before the first query that counts.
        duration_s: Least time over which queries count.
    """

    warm_up_ms: float = 200.0
    duration_s: float = 3.0


@dataclass(frozen=True)
class Latency:
    """Statistics of one figure, in ms.

    Percentiles follow trtexec: the value at index N - 1 - int((1 - p) * N) of the sorted times.
    """

    count: int
    min_ms: float
    mean_ms: float
    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class Timing:
    """The latency of one model at one batch size.

    Attributes:
        mode: How queries were enqueued and timed.
        compute: GPU compute time by CUDA events, inputs resident (``GPU compute time`` in
            trtexec's words); on a CPU the wall clock of a run.
        request: Wall clock of one request: host memory to host memory, synchronised.
    """

    mode: str
    compute: Latency
    request: Latency


def measure_latency(session: Session, inputs: Arrays, options: LatencyOptions) -> Timing:
    """Measures a session on given inputs.

    Args:
        session: Bound to the batch size of ``inputs``.
        inputs: Real data: zeros hide mistakes and can run faster.
        options: How long.
    """

    def requests(count: int) -> list[float]:
        times = []
        for _ in range(count):
            start = time.perf_counter()
            session.run(inputs)
            times.append((time.perf_counter() - start) * 1e3)
        return times

    session.load(inputs)
    compute = _collect(session.compute_times_ms, options)
    request = _collect(requests, options)
    return Timing(session.mode, summarize(compute), summarize(request))


def _collect(queries: Callable[[int], list[float]], options: LatencyOptions) -> list[float]:
    end = time.perf_counter() + options.warm_up_ms / 1e3
    first = queries(1)[0]
    while time.perf_counter() < end:
        first = queries(1)[0]
    # About a tenth of a second between two looks at the clock.
    chunk = max(1, min(1000, int(100 / max(first, 1e-3))))
    times: list[float] = []
    end = time.perf_counter() + options.duration_s
    while len(times) < _MIN_QUERIES or time.perf_counter() < end:
        times.extend(queries(chunk))
    return times


def summarize(times_ms: Sequence[float]) -> Latency:
    """Statistics of at least one time.

    Args:
        times_ms: In ms, in any order.
    """
    ordered = sorted(times_ms)
    count = len(ordered)
    return Latency(
        count=count,
        min_ms=ordered[0],
        mean_ms=math.fsum(ordered) / count,
        median_ms=(ordered[(count - 1) // 2] + ordered[count // 2]) / 2,
        p90_ms=_percentile(ordered, 90),
        p95_ms=_percentile(ordered, 95),
        p99_ms=_percentile(ordered, 99),
        max_ms=ordered[-1],
    )


def _percentile(ordered: Sequence[float], percent: int) -> float:
    # In float32, as trtexec computes it: of 100 times the 99th percentile is the maximum.
    share = np.float32(1) - np.float32(percent) / np.float32(100)
    return ordered[max(0, len(ordered) - 1 - int(share * np.float32(len(ordered))))]
