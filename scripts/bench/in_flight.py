"""Images a second from host arrays: one query at a time, and several in flight.

Each number of queries in flight has a process of its own, which opens its sessions before the first
query: behind others, that were opened before and closed, every replay may take 20 us longer
(``trtqat/runtime/README.md``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scripts.bench.quiet import in_own_process, random_inputs
from trtqat.evaluation.latency import measure_latency
from trtqat.evaluation.sessions import open_sessions
from trtqat.evaluation.throughput import measure_throughput
from trtqat.evaluation.timing import LatencyOptions
from trtqat.runtime.engine import Engine

_COUNTS = (1, 2, 4, 6, 8, 12)
_WARM_UP_MS = 200


def throughput(
    plan: Path, batch_size: int, seconds: float, counts: Sequence[int] = _COUNTS
) -> dict[str, Any]:
    """Images a second from random inputs as the plan takes them, several ways.

    Args:
        plan: The plan.
        batch_size: One that it takes.
        seconds: How long each way is measured.
        counts: Numbers of queries at once.
    """
    alone = in_own_process(_one_at_a_time, plan, batch_size, seconds)
    return {**alone, "in_flight": in_flight(plan, batch_size, seconds, counts)}


def in_flight(
    plan: Path,
    batch_size: int,
    seconds: float,
    counts: Sequence[int] = _COUNTS,
    *,
    from_floats: bool = False,
    own_streams: bool = False,
) -> dict[int, dict[str, Any]]:
    """Images a second by the number of queries at once.

    Args:
        plan: The plan.
        batch_size: One that it takes.
        seconds: How long each number is measured.
        counts: The numbers.
        from_floats: Whether the host makes codes of floats, for a plan that takes codes.
        own_streams: Whether each query has a compute stream of its own.
    """
    return {
        count: in_own_process(_at_once, plan, batch_size, count, seconds, from_floats, own_streams)
        for count in counts
    }


def _one_at_a_time(plan: Path, batch_size: int, seconds: float) -> dict[str, Any]:
    with Engine(plan) as engine, engine.session(batch_size) as session:
        inputs = random_inputs(engine, batch_size)
        timing = measure_latency(session, inputs, LatencyOptions(_WARM_UP_MS, seconds))
    return {
        "gpu_alone": timing.computed_per_second(batch_size),
        "one_at_a_time": timing.requested_per_second(batch_size),
        "compute_ms": timing.compute.median_ms,
        "request_ms": timing.request.median_ms,
        "h2d_ms": timing.h2d.median_ms if timing.h2d else None,
        "d2h_ms": timing.d2h.median_ms if timing.d2h else None,
    }


def _at_once(
    plan: Path,
    batch_size: int,
    count: int,
    seconds: float,
    from_floats: bool,
    own_streams: bool,
) -> dict[str, Any]:
    options = LatencyOptions(_WARM_UP_MS, seconds)
    with Engine(plan) as engine:
        inputs = random_inputs(engine, batch_size, from_floats=from_floats)
        (sessions,) = open_sessions([engine], batch_size, count, own_streams=own_streams)
        (found,) = measure_throughput([sessions], inputs, options, own_streams=own_streams)
        for each in sessions:
            each.close()
    return asdict(found)
