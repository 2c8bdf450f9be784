"""Latency: warmed up, synchronised, in turns, long enough, with percentiles and an interval."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from trtqat.evaluation.intervals import (
    Interval,
    Ratio,
    median_interval,
    median_ratio,
    turns_interval,
)
from trtqat.evaluation.timed import Timed, TimedSessions
from trtqat.evaluation.timing import Latency, LatencyOptions, Timing
from trtqat.runtime.protocol import Session
from trtqat.tensors import Arrays

# As trtexec: at least ten queries, however long one takes.
_MIN_QUERIES = 10
# Below so many turns an interval between them would say more than is known.
_MIN_TURNS = 5
_TURN_MS = 100.0
# A median is stable once its interval is within a hundredth of it; where it does not become so,
# twice the duration is enough.
_STABLE = 0.01
_PATIENCE = 2
_QUANTILES = 201
# Copies that are timed; they vary little.
_TRANSFERS = 100
# Above this trtexec warns.
_ENQUEUE_BOUND = 0.8


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
) -> tuple[list[Timing], list[Ratio]]:
    """Measures sessions of this process on the same inputs, as ``time_in_turns``.

    Args:
        sessions: Bound to the batch size of ``inputs``.
        inputs: Real data.
        options: How long, for each session and figure.
    """
    return time_in_turns([TimedSessions([each], inputs) for each in sessions], options)


def time_in_turns(
    models: Sequence[Timed],
    options: LatencyOptions,
    *,
    between: Callable[[], None] = lambda: None,
) -> tuple[list[Timing], list[Ratio]]:
    """Measures models in turns, so that clock drift hits all of them.

    Args:
        models: Each at the same batch size.
        options: How long, for each model and figure.
        between: Called after each turn.

    Returns:
        Their timings, and how much faster the first one computes than each of the others.
    """
    for each in models:
        each.load()
    enqueued: list[list[Sequence[float]]] = [[] for _ in models]

    def counted(index: int) -> None:
        if launches := tuple(models[index].enqueue_times_ms):
            enqueued[index].append(launches)
        between()

    computed = _in_turns([each.compute_times_ms for each in models], options, counted)
    requested = _in_turns(
        [each.request_times_ms for each in models], options, lambda index: between()
    )
    transfers = [each.transfer_times_ms(_TRANSFERS) for each in models]
    timings = [
        _timing(each, mine, requests, enqueues, copies)
        for each, mine, requests, enqueues, copies in zip(
            models, computed, requested, enqueued, transfers, strict=True
        )
    ]
    return timings, [median_ratio(other, computed[0]) for other in computed[1:]]


def summarize(times_ms: Sequence[float]) -> Latency:
    """Statistics of at least one time.

    Args:
        times_ms: In ms, in the order in which they were measured.
    """
    return _summarized(times_ms, median_interval(times_ms))


def _summarized_turns(turns: Sequence[Sequence[float]]) -> Latency:
    return _summarized(_flat(turns), turns_interval(turns))


def _summarized(times_ms: Sequence[float], interval_ms: Interval) -> Latency:
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
        interval_ms=interval_ms,
        variation_percent=100 * float(np.std(ordered)) / mean if mean else 0.0,
        # To the nanosecond: events and clocks tell no more.
        quantiles_ms=tuple(np.quantile(ordered, np.linspace(0, 1, _QUANTILES)).round(6).tolist()),
    )


def _in_turns(
    measures: Sequence[Callable[[int], list[float]]],
    options: LatencyOptions,
    counted: Callable[[int], None] = lambda index: None,
) -> list[list[list[float]]]:
    """Times by session and turn; ``counted`` hears whose queries have just been counted."""
    chunks = [_warm_up(measure, options) for measure in measures]
    turns: list[list[list[float]]] = [[] for _ in measures]
    least = options.duration_s * len(measures)
    # The interval costs a tenth of a second for a long run: it is not asked for every turn.
    asked, again = least, least / 4
    start = time.perf_counter()
    while True:
        for index, measure in enumerate(measures):
            if len(measures) > 1:
                # Behind the other one's turn caches are cold, and its threads may still spin.
                measure(1)
            turns[index].append(measure(chunks[index]))
            counted(index)
        elapsed = time.perf_counter() - start
        is_short = len(turns[0]) < _MIN_TURNS or any(
            sum(map(len, times)) < _MIN_QUERIES for times in turns
        )
        if elapsed < asked or is_short:
            continue
        if elapsed >= _PATIENCE * least or all(map(_is_stable, turns)):
            return turns
        asked = elapsed + again


def _warm_up(measure: Callable[[int], list[float]], options: LatencyOptions) -> int:
    """Warms up, and finds how many queries take a tenth of a second, or a fifth of the time."""
    end = time.perf_counter() + options.warm_up_ms / 1e3
    last = measure(1)[0]
    while time.perf_counter() < end:
        last = measure(1)[0]
    turn_ms = min(_TURN_MS, 1e3 * options.duration_s / _MIN_TURNS)
    return max(1, min(1000, int(turn_ms / max(last, 1e-3))))


def _is_stable(turns: list[list[float]]) -> bool:
    interval = turns_interval(turns)
    return interval.high - interval.low <= 2 * _STABLE * float(np.median(_flat(turns)))


def _flat(turns: Sequence[Sequence[float]]) -> list[float]:
    return [time_ms for each in turns for time_ms in each]


def _timing(
    model: Timed,
    computed: Sequence[Sequence[float]],
    requested: Sequence[Sequence[float]],
    enqueued: Sequence[Sequence[float]],
    transfers: tuple[list[float], list[float]],
) -> Timing:
    h2d, d2h = (summarize(times) if times else None for times in transfers)
    timing = Timing(
        mode=model.mode,
        own_process=model.own_process,
        compute=_summarized_turns(computed),
        request=_summarized_turns(requested),
        enqueue=_summarized_turns(enqueued) if enqueued else None,
        h2d=h2d,
        d2h=d2h,
    )
    return replace(timing, warnings=tuple(_warnings(timing)))


def _warnings(timing: Timing) -> Iterator[str]:
    """What trtexec would warn of."""
    compute, enqueue = timing.compute, timing.enqueue
    if enqueue is not None and enqueue.median_ms > _ENQUEUE_BOUND * compute.median_ms:
        yield (
            f"Enqueue-bound: launching takes {enqueue.median_ms:.3f} ms of the host for "
            f"{compute.median_ms:.3f} ms on the GPU; a CUDA graph or a larger batch helps."
        )
    for what, copies in (("inputs", timing.h2d), ("outputs", timing.d2h)):
        if copies is not None and copies.median_ms > compute.median_ms:
            yield (
                f"Transfer-bound: {what} take {copies.median_ms:.3f} ms over the bus, "
                f"computing takes {compute.median_ms:.3f} ms; with several queries in flight the "
                "bus sets the pace."
            )
    if timing.is_unstable:
        yield (
            f"Unstable: compute times vary by {compute.variation_percent:.1f} %; something else "
            "runs on the device, or its clocks change."
        )


def _percentile(ordered: Sequence[float], percent: int) -> float:
    # In float32, as trtexec computes it: of 100 times the 99th percentile is the maximum.
    share = np.float32(1) - np.float32(percent) / np.float32(100)
    return ordered[max(0, len(ordered) - 1 - int(share * np.float32(len(ordered))))]
