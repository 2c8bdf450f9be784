"""Latency: warmed up, synchronised, in turns, long enough, with percentiles and an interval."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from trtqat.evaluation.protocol import Session
from trtqat.evaluation.statistics import Interval, median_interval, ratio_interval
from trtqat.tensors import Arrays

# As trtexec: at least ten queries, however long one takes.
_MIN_QUERIES = 10
# A median is stable once its interval is within a hundredth of it; where it does not become so,
# twice the duration is enough.
_STABLE = 0.01
_PATIENCE = 2
_QUANTILES = 201
# Above these trtexec warns.
_ENQUEUE_BOUND = 0.8
_UNSTABLE_PERCENT = 2.5


@dataclass(frozen=True)
class LatencyOptions:
    """How long to measure, in trtexec's words and with its defaults.

    Attributes:
        warm_up_ms: Time before the first query that counts.
        duration_s: Least time over which queries count, for each session and figure; up to twice
            as long while the median is not stable.
    """

    warm_up_ms: float = 200.0
    duration_s: float = 3.0


@dataclass(frozen=True)
class Latency:
    """Statistics of one figure, in ms.

    Percentiles follow trtexec: the value at index N - 1 - int((1 - p) * N) of the sorted times.

    Attributes:
        interval_ms: 95 % interval of the median.
        variation_percent: Standard deviation over mean.
        quantiles_ms: 201 of them in equal steps from the minimum to the maximum: the
            distribution, for charts.
    """

    count: int
    min_ms: float
    mean_ms: float
    median_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    interval_ms: Interval
    variation_percent: float
    quantiles_ms: tuple[float, ...]


@dataclass(frozen=True)
class Timing:
    """The latency of one model at one batch size.

    Attributes:
        mode: How queries were enqueued and timed.
        compute: GPU compute time by CUDA events, inputs resident (``GPU compute time`` in
            trtexec's words); on a CPU the wall clock of a run.
        request: Wall clock of one request: host memory to host memory, synchronised.
        enqueue: Host time of each launch; None where nothing is launched ahead.
        warnings: What trtexec would warn of, as sentences.
    """

    mode: str
    compute: Latency
    request: Latency
    enqueue: Latency | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ratio:
    """How many times one model is as fast as another.

    Attributes:
        value: Ratio of the medians.
        interval: Its 95 % interval, over rounds in which both were measured.
        rounds: How many.
    """

    value: float
    interval: Interval
    rounds: int


def measure_latency(session: Session, inputs: Arrays, options: LatencyOptions) -> Timing:
    """Measures a session on given inputs.

    Args:
        session: Bound to the batch size of ``inputs``.
        inputs: Real data: zeros hide mistakes and can run faster.
        options: How long.
    """
    (timing,), _ = measure_in_turns([session], inputs, options)
    return timing


def measure_in_turns(
    sessions: Sequence[Session], inputs: Arrays, options: LatencyOptions
) -> tuple[list[Timing], Ratio | None]:
    """Measures sessions on the same inputs in turns, so that clock drift hits all of them.

    Args:
        sessions: Bound to the batch size of ``inputs``.
        inputs: Real data.
        options: How long, for each session and figure.

    Returns:
        The sessions' timings, and how much faster the first one computes than the second, if
        there is one.
    """
    for session in sessions:
        session.load(inputs)
    enqueued: list[list[float]] = [[] for _ in sessions]

    def request(session: Session) -> Callable[[int], list[float]]:
        def measure(count: int) -> list[float]:
            times = []
            for _ in range(count):
                start = time.perf_counter()
                session.run(inputs)
                times.append((time.perf_counter() - start) * 1e3)
            return times

        return measure

    computed = _rounds(
        [session.compute_times_ms for session in sessions],
        options,
        lambda index: enqueued[index].extend(sessions[index].enqueue_times_ms),
    )
    requested = _rounds([request(session) for session in sessions], options)
    timings = [
        _timing(session.mode, mine, requests, enqueues)
        for session, mine, requests, enqueues in zip(
            sessions, computed, requested, enqueued, strict=True
        )
    ]
    return timings, _ratio(computed[1], computed[0]) if len(sessions) > 1 else None


def summarize(times_ms: Sequence[float]) -> Latency:
    """Statistics of at least one time.

    Args:
        times_ms: In ms, in the order in which they were measured.
    """
    ordered = sorted(times_ms)
    count = len(ordered)
    mean = math.fsum(ordered) / count
    return Latency(
        count=count,
        min_ms=ordered[0],
        mean_ms=mean,
        median_ms=(ordered[(count - 1) // 2] + ordered[count // 2]) / 2,
        p90_ms=_percentile(ordered, 90),
        p95_ms=_percentile(ordered, 95),
        p99_ms=_percentile(ordered, 99),
        max_ms=ordered[-1],
        interval_ms=median_interval(times_ms),
        variation_percent=100 * float(np.std(ordered)) / mean if mean else 0.0,
        quantiles_ms=tuple(np.quantile(ordered, np.linspace(0, 1, _QUANTILES)).tolist()),
    )


def _rounds(
    measures: Sequence[Callable[[int], list[float]]],
    options: LatencyOptions,
    counted: Callable[[int], None] = lambda index: None,
) -> list[list[list[float]]]:
    """Times by session and round; ``counted`` hears whose queries have just been counted."""
    chunks = [_warm_up(measure, options) for measure in measures]
    rounds: list[list[list[float]]] = [[] for _ in measures]
    least = options.duration_s * len(measures)
    # The interval costs a tenth of a second for a long run: it is not asked for every round.
    asked, again = least, least / 4
    start = time.perf_counter()
    while True:
        for index, measure in enumerate(measures):
            if len(measures) > 1:
                # Behind the other one's turn caches are cold, and its threads may still spin.
                measure(1)
            rounds[index].append(measure(chunks[index]))
            counted(index)
        elapsed = time.perf_counter() - start
        if elapsed < asked or any(sum(map(len, times)) < _MIN_QUERIES for times in rounds):
            continue
        if elapsed >= _PATIENCE * least or all(map(_is_stable, rounds)):
            return rounds
        asked = elapsed + again


def _warm_up(measure: Callable[[int], list[float]], options: LatencyOptions) -> int:
    """Warms up, and finds how many queries take about a tenth of a second."""
    end = time.perf_counter() + options.warm_up_ms / 1e3
    last = measure(1)[0]
    while time.perf_counter() < end:
        last = measure(1)[0]
    return max(1, min(1000, int(100 / max(last, 1e-3))))


def _is_stable(rounds: list[list[float]]) -> bool:
    times = [time_ms for each in rounds for time_ms in each]
    interval = median_interval(times)
    return interval.high - interval.low <= 2 * _STABLE * float(np.median(times))


def _timing(
    mode: str,
    computed: list[list[float]],
    requested: list[list[float]],
    enqueued: list[float],
) -> Timing:
    compute = summarize([time_ms for each in computed for time_ms in each])
    request = summarize([time_ms for each in requested for time_ms in each])
    enqueue = summarize(enqueued) if enqueued else None
    warnings = []
    if enqueue is not None and enqueue.median_ms > _ENQUEUE_BOUND * compute.median_ms:
        warnings.append(
            f"Enqueue-bound: launching takes {enqueue.median_ms:.3f} ms of the host for "
            f"{compute.median_ms:.3f} ms on the GPU; a CUDA graph or a larger batch helps."
        )
    if compute.variation_percent > _UNSTABLE_PERCENT:
        warnings.append(
            f"Unstable: compute times vary by {compute.variation_percent:.1f} %; something else "
            "runs on the device, or its clocks change."
        )
    return Timing(mode, compute, request, enqueue, tuple(warnings))


def _ratio(slower: list[list[float]], faster: list[list[float]]) -> Ratio:
    medians = [float(np.median(np.concatenate(each))) for each in (slower, faster)]
    return Ratio(medians[0] / medians[1], ratio_interval(slower, faster), len(slower))


def _percentile(ordered: Sequence[float], percent: int) -> float:
    # In float32, as trtexec computes it: of 100 times the 99th percentile is the maximum.
    share = np.float32(1) - np.float32(percent) / np.float32(100)
    return ordered[max(0, len(ordered) - 1 - int(share * np.float32(len(ordered))))]
