"""Throughput: images a second with several queries in flight, from host memory to host memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from trtqat.evaluation.intervals import few_interval
from trtqat.evaluation.timed import Timed, TimedSessions
from trtqat.evaluation.timing import LatencyOptions, Throughput
from trtqat.runtime.protocol import Session
from trtqat.tensors import Arrays

_TURNS = 8


def measure_throughput(
    models: Sequence[Sequence[Session]],
    inputs: Arrays,
    options: LatencyOptions,
    *,
    between: Callable[[], None] = lambda: None,
    own_streams: bool = False,
) -> list[Throughput]:
    """Measures sessions of this process on the same inputs, as ``rate_in_turns``.

    Args:
        models: Sessions of each, bound to the batch size of ``inputs``.
        inputs: Real data.
        options: How long, for each model.
        between: Called after each turn.
        own_streams: Whether each session has a compute stream of its own.
    """
    with ExitStack() as stack:
        timed = [TimedSessions(sessions, inputs) for sessions in models]
        for each in timed:
            stack.callback(each.close)
        batch_size = len(next(iter(inputs.values())))
        return rate_in_turns(timed, batch_size, options, between=between, own_streams=own_streams)


def rate_in_turns(
    models: Sequence[Timed],
    batch_size: int,
    options: LatencyOptions,
    *,
    between: Callable[[], None] = lambda: None,
    own_streams: bool = False,
) -> list[Throughput]:
    """Measures models in turns, each with all of its sessions busy.

    Every query copies its inputs from pageable memory into pinned memory, as an application's
    does.

    Args:
        models: Each at the same batch size.
        batch_size: Images in a query.
        options: How long, for each model; longer where a session does not do four queries in an
            eighth of it.
        between: Called after each turn.
        own_streams: Whether each session has a compute stream of its own.
    """
    rates: list[list[float]] = [[] for _ in models]
    queries = [0] * len(models)
    for each in models:
        each.answered_s(options.warm_up_ms / 1e3)
    for _ in range(_TURNS):
        for index, each in enumerate(models):
            done = each.answered_s(options.duration_s / _TURNS)
            queries[index] += sum(map(len, done))
            rates[index].append(batch_size * steady_rate(done))
            between()
    return [
        Throughput(
            images_per_second=float(np.median(rate)),
            interval=few_interval(rate),
            in_flight=each.in_flight,
            queries=count,
            turns=len(rate),
            compute_streams=each.in_flight if own_streams else 1,
        )
        for each, rate, count in zip(models, rates, queries, strict=True)
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
