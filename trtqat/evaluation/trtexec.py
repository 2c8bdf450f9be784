"""Timing in trtexec's modes and words, to set a figure beside one that somebody else has.

trtexec's defaults changed with TensorRT 11: up to 10 it enqueues without CUDA graph, with
transfers, and the host sleeps while it waits; from 11 on it replays a CUDA graph, leaves transfers
out, and spins. So a number without its mode says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from trtqat.evaluation.latency import summarize
from trtqat.evaluation.timing import Latency, LatencyOptions

if TYPE_CHECKING:
    from trtqat.runtime.engine import Engine
    from trtqat.runtime.trtexec_loop import QueryTimes
    from trtqat.tensors import Arrays

Like = Literal["trtexec-10", "trtexec-11"]


@dataclass(frozen=True)
class TrtexecTiming:
    """What trtexec would report.

    Attributes:
        like: Whose defaults.
        mode: They in words.
        queries: How many.
        queries_per_second: Its throughput.
        latency: Sum of the next three, of each query.
        enqueue: Host time of the launch.
        h2d: None without transfers.
        compute: GPU compute time.
        d2h: None without transfers.
        wall_s: Total host walltime.
    """

    like: Like
    mode: str
    queries: int
    queries_per_second: float
    latency: Latency
    enqueue: Latency
    h2d: Latency | None
    compute: Latency
    d2h: Latency | None
    wall_s: float

    @property
    def compute_s(self) -> float:
        """Total GPU compute time."""
        return self.compute.mean_ms * self.queries / 1e3


def measure_like_trtexec(
    engine: Engine, batch_size: int, inputs: Arrays, like: Like, options: LatencyOptions
) -> TrtexecTiming:
    """Times an engine with the defaults of a trtexec.

    Args:
        engine: What ``Model.engine`` is.
        batch_size: Of the queries.
        inputs: Of that batch size.
        like: Which trtexec.
        options: How long.

    Raises:
        InferenceError: TensorRT's enqueue failed.
    """
    from trtqat.runtime.trtexec_loop import run_like_trtexec

    is_old = like == "trtexec-10"
    times, mode = run_like_trtexec(
        engine,
        batch_size,
        inputs,
        cuda_graph=not is_old,
        transfers=is_old,
        blocking=is_old,
        warm_up_ms=options.warm_up_ms,
        duration_s=options.duration_s,
    )
    mode += f", transfers {'on' if is_old else 'off'}, {'blocking' if is_old else 'spin'} wait"
    return from_times(times, like, mode)


def from_times(times: QueryTimes, like: Like, mode: str) -> TrtexecTiming:
    """Statistics of queries.

    Args:
        times: Of each.
        like: Whose defaults they had.
        mode: These in words.
    """
    parts = [each for each in (times.h2d_ms, times.compute_ms, times.d2h_ms) if each]
    return TrtexecTiming(
        like=like,
        mode=mode,
        queries=len(times.compute_ms),
        queries_per_second=len(times.compute_ms) / times.wall_s,
        latency=summarize([sum(each) for each in zip(*parts, strict=True)]),
        enqueue=summarize(times.enqueue_ms),
        h2d=_summary(times.h2d_ms),
        compute=summarize(times.compute_ms),
        d2h=_summary(times.d2h_ms),
        wall_s=times.wall_s,
    )


def _summary(times_ms: Sequence[float]) -> Latency | None:
    return summarize(times_ms) if times_ms else None
