"""What trtexec would report, in its words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trtqat.evaluation.timing import Latency
    from trtqat.evaluation.trtexec import TrtexecTiming


def trtexec_summary(timing: TrtexecTiming) -> str:
    """The summary as trtexec words it.

    Args:
        timing: What was measured.
    """
    lines = [
        f"=== Performance summary ({timing.like}: {timing.mode}) ===",
        f"Throughput: {timing.queries_per_second:.6g} qps",
        _line("Latency", timing.latency),
        _line("Enqueue Time", timing.enqueue),
        *([_line("H2D Latency", timing.h2d)] if timing.h2d else []),
        _line("GPU Compute Time", timing.compute),
        *([_line("D2H Latency", timing.d2h)] if timing.d2h else []),
        f"Total Host Walltime: {timing.wall_s:.6g} s",
        f"Total GPU Compute Time: {timing.compute_s:.6g} s",
    ]
    return "\n".join(lines)


def _line(name: str, times: Latency) -> str:
    return (
        f"{name}: min = {times.min_ms:.6g} ms, max = {times.max_ms:.6g} ms, mean = "
        f"{times.mean_ms:.6g} ms, median = {times.median_ms:.6g} ms, percentile(90%) = "
        f"{times.p90_ms:.6g} ms, percentile(95%) = {times.p95_ms:.6g} ms, percentile(99%) = "
        f"{times.p99_ms:.6g} ms"
    )
