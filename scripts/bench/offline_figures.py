"""The figures of ``offline.py``: how far repeats are apart, what limits, the table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trtqat.host.telemetry import Telemetry

Limit = Literal["GPU", "bus", "host", "none alone"]

# Of the lowest ceiling: from here on that is what limits.
_REACHED = 0.95
# Repeats that are further apart, from the lowest to the highest, are not steady.
_STEADY_PERCENT = 3.0
# NVIDIA's submission for one H100 of a DGX H100, MLPerf Inference v4.0, datacenter, closed.
MLPERF_IMAGES_PER_SECOND = 87_971.0


@dataclass(frozen=True)
class Spread:
    """Repeats of one figure."""

    min: float
    median: float
    max: float

    @property
    def percent(self) -> float:
        """From the lowest to the highest, of the median."""
        return 100 * (self.max - self.min) / self.median

    @property
    def is_steady(self) -> bool:
        """Whether the repeats are within 3 %."""
        return self.percent <= _STEADY_PERCENT


def spread_of(values: Sequence[float]) -> Spread:
    """Of repeats, at least one."""
    return Spread(min(values), statistics.median(values), max(values))


@dataclass(frozen=True)
class OfflineFigures:
    """One batch size.

    Attributes:
        batch_size: Images a query.
        profile: Index of the plan's shape profile.
        mode: How queries are launched, in words.
        input_bytes: What a query's inputs take.
        output_bytes: What a query's outputs take.
        in_flight: Queries at once.
        compute_ms: GPU compute time of a query, inputs in device memory.
        h2d_ms: Copy of the inputs from pinned memory, alone on the bus.
        d2h_ms: Copy of the outputs back, alone on the bus.
        launch_ms: What the host is busy for a query in flight.
        images_per_second: From pinned host memory to pinned host memory, in flight.
        telemetry: Clocks, temperature and power; None where they are not told.
    """

    batch_size: int
    profile: int
    mode: str
    input_bytes: int
    output_bytes: int
    in_flight: int
    compute_ms: Spread
    h2d_ms: Spread
    d2h_ms: Spread
    launch_ms: Spread
    images_per_second: Spread
    telemetry: Telemetry | None

    @property
    def gpu_images_per_second(self) -> float:
        """What the GPU computes with inputs in device memory."""
        return self._a_second(self.compute_ms.median)

    @property
    def bus_images_per_second(self) -> float:
        """What the bus allows at most; both directions at once."""
        return self._a_second(max(self.h2d_ms.median, self.d2h_ms.median))

    @property
    def host_images_per_second(self) -> float:
        """What the host can launch at most."""
        return self._a_second(self.launch_ms.median)

    @property
    def h2d_gb_per_second(self) -> float:
        """Bandwidth to the GPU, of copies of this size."""
        return self.input_bytes / self.h2d_ms.median / 1e6

    @property
    def share(self) -> float:
        """In flight, of what the GPU computes with inputs in device memory."""
        return self.images_per_second.median / self.gpu_images_per_second

    @property
    def limit(self) -> Limit:
        """What limits the queries in flight: the lowest ceiling, if it is reached."""
        ceilings: dict[Limit, float] = {
            "GPU": self.gpu_images_per_second,
            "bus": self.bus_images_per_second,
            "host": self.host_images_per_second,
        }
        lowest = min(ceilings, key=ceilings.__getitem__)
        is_reached = self.images_per_second.median >= _REACHED * ceilings[lowest]
        return lowest if is_reached else "none alone"

    @property
    def is_steady(self) -> bool:
        """Whether repeats of both, in device memory and in flight, are within 3 %."""
        return self.compute_ms.is_steady and self.images_per_second.is_steady

    def _a_second(self, query_ms: float) -> float:
        return 1e3 * self.batch_size / query_ms


_COLUMNS = (
    "batch",
    "GPU ms",
    "images/s, in device memory",
    "bus GB/s",
    "bus allows",
    "host allows",
    "images/s, from host memory",
    "min … max",
    "share",
    "limit",
    "steady",
)


def make_table(rows: Sequence[OfflineFigures]) -> str:
    """The figures as a table in Markdown, and what its words mean.

    Args:
        rows: Of each batch size.
    """
    cells = [_COLUMNS, *(_cells(row) for row in rows)]
    lines = [f"| {' | '.join(each)} |" for each in cells]
    lines.insert(1, f"| {' | '.join(['---:'] * len(_COLUMNS))} |")
    return "\n".join([*lines, "", *_NOTES])


_NOTES = (
    "In device memory: a batch over the median GPU compute time. From host memory: pinned,",
    "several queries in flight, outputs copied back. Allows: a batch over the time of its copy,",
    "or over what the host is busy for a query. Limit: the lowest of the three, if 95 % of it",
    "are reached. Steady: repeats are within 3 %.",
)


def _cells(row: OfflineFigures) -> tuple[str, ...]:
    seen = row.images_per_second
    return (
        str(row.batch_size),
        f"{row.compute_ms.median:.3f}",
        f"{row.gpu_images_per_second:,.0f}",
        f"{row.h2d_gb_per_second:.1f}",
        f"{row.bus_images_per_second:,.0f}",
        f"{row.host_images_per_second:,.0f}",
        f"{seen.median:,.0f}",
        f"{seen.min:,.0f} … {seen.max:,.0f}",
        f"{100 * row.share:.1f} %",
        row.limit,
        "yes" if row.is_steady else "no",
    )


def beside_mlperf(rows: Sequence[OfflineFigures]) -> str:
    """The best of each kind beside NVIDIA's submission, as one sentence.

    Args:
        rows: Of each batch size, at least one.
    """
    gpu = max(rows, key=lambda row: row.gpu_images_per_second)
    host = max(rows, key=lambda row: row.images_per_second.median)

    def best(rate: float, row: OfflineFigures) -> str:
        share = 100 * rate / MLPERF_IMAGES_PER_SECOND
        return f"{rate:,.0f} images/s at batch {row.batch_size} ({share:.1f} %)"

    return (
        f"NVIDIA's MLPerf v4.0 submission: {MLPERF_IMAGES_PER_SECOND:,.0f} images/s on one H100. "
        f"Here in device memory {best(gpu.gpu_images_per_second, gpu)}, from host memory "
        f"{best(host.images_per_second.median, host)}."
    )
