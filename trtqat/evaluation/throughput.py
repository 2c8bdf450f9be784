"""Throughput: images a second with several queries in flight, from host memory to host memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from trtqat.evaluation.intervals import few_interval
from trtqat.evaluation.timing import LatencyOptions, Throughput
from trtqat.runtime.protocol import Session
from trtqat.tensors import Arrays

_TURNS = 8
# Queries of each session in a turn, of which the first fills the pipeline.
_LEAST = 4


def measure_throughput(
    models: Sequence[Sequence[Session]],
    inputs: Arrays,
    options: LatencyOptions,
    *,
    between: Callable[[], None] = lambda: None,
    own_streams: bool = False,
) -> list[Throughput]:
    """Measures models in turns on the same inputs, each with all of its sessions busy.

    Every query copies its inputs from pageable memory into pinned memory, as an application's
    does.

    Args:
        models: Sessions of each, bound to the batch size of ``inputs``.
        inputs: Real data.
        options: How long, for each model; longer where a session does not do four queries in an
            eighth of it.
        between: Called after each turn.
        own_streams: Whether each session has a compute stream of its own.
    """
    batch_size = len(next(iter(inputs.values())))
    rates: list[list[float]] = [[] for _ in models]
    queries = [0] * len(models)
    with ExitStack() as stack:
        pools = [stack.enter_context(ThreadPoolExecutor(len(sessions))) for sessions in models]
        for pool, sessions in zip(pools, models, strict=True):
            _turn(pool, sessions, inputs, options.warm_up_ms / 1e3)
        for _ in range(_TURNS):
            for index, sessions in enumerate(models):
                done = _turn(pools[index], sessions, inputs, options.duration_s / _TURNS)
                queries[index] += sum(map(len, done))
                rates[index].append(batch_size * steady_rate(done))
                between()
    return [
        Throughput(
            images_per_second=float(np.median(each)),
            interval=few_interval(each),
            in_flight=len(sessions),
            queries=count,
            turns=len(each),
            compute_streams=len(sessions) if own_streams else 1,
        )
        for each, sessions, count in zip(rates, models, queries, strict=True)
    ]


def faster(one: Throughput, several: Throughput) -> Throughput:
    """Whichever way is faster, with the rate of the other one.

    Args:
        one: With all kernels on one stream.
        several: With a stream for each query. It is taken if it is faster beyond both intervals.
    """
    if several.interval.low > one.interval.high:
        return replace(several, otherwise_per_second=one.images_per_second)
    return replace(one, otherwise_per_second=several.images_per_second)


def steady_rate(done: Sequence[Sequence[float]]) -> float:
    """Queries a second of sessions that began together, without the filling of the pipeline.

    The sum of each session's own rate from its first answer to its last one: counting from the
    beginning, a turn of a few queries would call a pipeline slow that is only long. But never more
    than all answers from the first to the last: where sessions are not served by turns, one that
    runs ahead of the others is fast at their expense.

    Args:
        done: When each session was done with each of its queries, in s, ascending; two at least.
    """
    own = sum((len(times) - 1) / (times[-1] - times[0]) for times in done)
    seconds = max(times[-1] for times in done) - min(times[0] for times in done)
    return min(own, (sum(map(len, done)) - 1) / seconds)


def _turn(
    pool: ThreadPoolExecutor, sessions: Sequence[Session], inputs: Arrays, seconds: float
) -> list[list[float]]:
    """When each session's queries were done."""
    end = time.perf_counter() + seconds

    def keep_busy(session: Session) -> list[float]:
        done: list[float] = []
        while len(done) < _LEAST or time.perf_counter() < end:
            session.run(inputs)
            done.append(time.perf_counter())
        return done

    return list(pool.map(keep_busy, sessions))
