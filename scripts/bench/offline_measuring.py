"""One batch size of ``offline.py``, measured in the process that calls it."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scripts.bench.offline_figures import OfflineFigures, spread_of
from scripts.bench.quiet import WARM_UP_S, compute_medians_ms, random_inputs
from trtqat.host.telemetry import watch_gpu
from trtqat.plan.profiles import BatchRange
from trtqat.runtime.engine import Engine
from trtqat.runtime.session import EngineSession
from trtqat.tensors import TensorSpec

_COPIES = 30
# Queries of each session that count, at least.
_LEAST = 4


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        repeats: Of every figure.
        seconds: Of a repeat.
        in_flight: Queries at once.
    """

    repeats: int
    seconds: float
    in_flight: int


def batch_ranges(plan: Path) -> tuple[BatchRange, ...]:
    """The batches of each profile of a plan."""
    with Engine(plan) as engine:
        return engine.profiles.ranges


def measure(plan: Path, batch_size: int, effort: Effort) -> OfflineFigures:
    """All figures of one batch size.

    The GPU alone comes first, before several sessions are there.

    Args:
        plan: The plan.
        batch_size: One that it takes.
        effort: How much.
    """
    with ExitStack() as stack:
        engine = stack.enter_context(Engine(plan))
        watch = stack.enter_context(watch_gpu())

        def look() -> None:
            if watch is not None:
                watch.look()

        inputs = random_inputs(engine, batch_size)
        session = stack.enter_context(engine.session(batch_size))
        compute_ms = compute_medians_ms(session, inputs, effort.repeats, effort.seconds)
        look()
        copies = [session.transfer_times_ms(_COPIES) for _ in range(effort.repeats)]
        more = range(1, effort.in_flight)
        lanes = [session, *(stack.enter_context(engine.session(batch_size)) for _ in more)]
        for index, lane in enumerate(lanes):
            # Other images in each, or a cache might hold what all of them read.
            lane.load({name: np.roll(each, index, axis=0) for name, each in inputs.items()})
        pipeline = Pipeline(lanes)
        pipeline.run(WARM_UP_S)
        look()
        rates, launches = [], []
        for _ in range(effort.repeats):
            found = pipeline.run(effort.seconds)
            rates.append(batch_size * found.queries_per_second)
            launches.append(found.launch_ms)
            look()
        outputs = [spec.with_batch(batch_size) for spec in engine.outputs]
        return OfflineFigures(
            batch_size=batch_size,
            profile=session.profile,
            mode=session.mode,
            input_bytes=sum(each.nbytes for each in inputs.values()),
            output_bytes=sum(map(_size, outputs)),
            in_flight=effort.in_flight,
            compute_ms=spread_of(compute_ms),
            h2d_ms=spread_of([statistics.median(to_device) for to_device, _ in copies]),
            d2h_ms=spread_of([statistics.median(to_host) for _, to_host in copies]),
            launch_ms=spread_of(launches),
            images_per_second=spread_of(rates),
            telemetry=watch.result() if watch is not None else None,
        )


def _size(spec: TensorSpec) -> int:
    # An open dimension counts as one: this is told, and nothing is computed from it.
    return math.prod(abs(dim) for dim in spec.shape) * np.dtype(spec.dtype).itemsize


@dataclass(frozen=True)
class PipelineRun:
    """What a run of a pipeline took.

    Attributes:
        queries_per_second: From the first answer to the last one.
        launch_ms: Median host time of submitting a query.
    """

    queries_per_second: float
    launch_ms: float


class Pipeline:
    """Sessions that take turns: copies to the GPU, computing, and copies back overlap.

    The inputs lie in the sessions' pinned memory and are copied from there for every query; a
    session gets its next query when the outputs of the last one have been taken.
    """

    def __init__(self, sessions: Sequence[EngineSession]) -> None:
        """Keeps the sessions.

        Args:
            sessions: With filled inputs, all of one device.
        """
        self._sessions = tuple(sessions)

    def run(self, seconds: float) -> PipelineRun:
        """Keeps all sessions busy; at least four queries of each count.

        Args:
            seconds: How long.
        """
        sessions, count = self._sessions, len(self._sessions)
        done: list[float] = []
        launches: list[float] = []
        end = time.perf_counter() + seconds
        sent = 0
        while len(done) <= _LEAST * count or time.perf_counter() < end:
            session = sessions[sent % count]
            if session.is_pending:
                session.collect()
                done.append(time.perf_counter())
            before = time.perf_counter()
            session.submit()
            launches.append(1e3 * (time.perf_counter() - before))
            sent += 1
        for each in range(sent, sent + count):
            sessions[each % count].collect()
            done.append(time.perf_counter())
        rate = (len(done) - 1) / (done[-1] - done[0])
        return PipelineRun(rate, statistics.median(launches))
