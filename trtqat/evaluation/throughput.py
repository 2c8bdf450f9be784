"""Throughput: images a second with several queries in flight, from host memory to host memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np

from trtqat.evaluation.protocol import Session
from trtqat.evaluation.statistics import median_interval
from trtqat.evaluation.timing import LatencyOptions, Throughput
from trtqat.tensors import Arrays

_TURNS = 8


def measure_throughput(
    models: Sequence[Sequence[Session]],
    inputs: Arrays,
    options: LatencyOptions,
    *,
    between: Callable[[], None] = lambda: None,
) -> list[Throughput]:
    """Measures models in turns on the same inputs, each with all of its sessions busy.

    Every query copies its inputs from pageable memory into pinned memory, as an application's
    does.

    Args:
        models: Sessions of each, bound to the batch size of ``inputs``.
        inputs: Real data.
        options: How long, for each model.
        between: Called after each turn.
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
                count, seconds = _turn(pools[index], sessions, inputs, options.duration_s / _TURNS)
                queries[index] += count
                rates[index].append(count * batch_size / seconds)
                between()
    return [
        Throughput(float(np.median(each)), median_interval(each), len(sessions), count, len(each))
        for each, sessions, count in zip(rates, models, queries, strict=True)
    ]


def _turn(
    pool: ThreadPoolExecutor, sessions: Sequence[Session], inputs: Arrays, seconds: float
) -> tuple[int, float]:
    """Queries done, and the time that they took; each session does at least one."""
    start = time.perf_counter()
    end = start + seconds

    def keep_busy(session: Session) -> int:
        count = 0
        while not count or time.perf_counter() < end:
            session.run(inputs)
            count += 1
        return count

    count = sum(pool.map(keep_busy, sessions))
    return count, time.perf_counter() - start
