"""Options and figures of a timing; what they mean is the same for engine and PyTorch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from trtqat.checks import check_kind
from trtqat.errors import UsageError
from trtqat.evaluation.intervals import Interval, Ratio

# Above this trtexec warns.
_UNSTABLE_PERCENT = 2.5


@dataclass(frozen=True)
class LatencyOptions:
    """How long to measure, in trtexec's words and with its defaults.

    Attributes:
        warm_up_ms: Time before the first query that counts.
        duration_s: Least time over which queries count, for each figure, on average over the
            models: they take five turns at least, each of a tenth of a second or of a thousand
            queries at most. Up to twice as long while a median is not stable.
    """

    warm_up_ms: float = 200.0
    duration_s: float = 3.0

    def __post_init__(self) -> None:
        for name in ("warm_up_ms", "duration_s"):
            value = getattr(self, name)
            check_kind(f"LatencyOptions.{name}", value, (int, float), "3.0")
            if not 0 <= value < math.inf:
                raise UsageError(f"LatencyOptions.{name} is {value}.", "Give 0 or more, as 3.0.")


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
class Throughput:
    """What a model does when it is never left waiting.

    Attributes:
        images_per_second: Median over the turns, each by the wall clock from when the pipeline is
            full: every query in flight has been answered once.
        interval: Its 95 % interval.
        in_flight: Queries at once.
        queries: How many in all turns.
        turns: In how many turns.
        compute_streams: On how many CUDA streams its kernels ran: on one, query behind query, or on
            one for each query, whichever was faster. None in reports that do not tell.
        otherwise_per_second: Images a second the other way; None if that was not measured.
    """

    images_per_second: float
    interval: Interval
    in_flight: int
    queries: int
    turns: int
    compute_streams: int | None = None
    otherwise_per_second: float | None = None


@dataclass(frozen=True)
class Timing:
    """The latency of one model at one batch size.

    Attributes:
        mode: How queries were enqueued and timed.
        compute: GPU compute time by CUDA events, inputs resident (``GPU compute time`` in
            trtexec's words); on a CPU the wall clock of a run.
        request: Wall clock of one request: host memory to host memory, synchronised.
        enqueue: Host time of each launch; None where nothing is launched ahead.
        h2d: Copies of all inputs from pinned host memory to the GPU, by CUDA events; None on a CPU.
        d2h: Copies of all outputs back.
        throughput: With several queries in flight; None on a CPU, which one keeps busy.
        warnings: What trtexec would warn of, as sentences.
        own_process: Whether a process that did nothing else ran it; None in reports that do not
            tell.
    """

    mode: str
    compute: Latency
    request: Latency
    enqueue: Latency | None = None
    h2d: Latency | None = None
    d2h: Latency | None = None
    throughput: Throughput | None = None
    warnings: tuple[str, ...] = ()
    own_process: bool | None = None

    @property
    def is_unstable(self) -> bool:
        """Whether compute times vary more than trtexec lets pass without a warning."""
        return self.compute.variation_percent > _UNSTABLE_PERCENT

    def computed_per_second(self, batch_size: int) -> float:
        """Images that it computes in a second, inputs resident, one query behind the other."""
        return 1e3 * batch_size / self.compute.median_ms

    def requested_per_second(self, batch_size: int) -> float:
        """Images a second, one request behind the other."""
        return 1e3 * batch_size / self.request.median_ms

    def images_per_second(self, batch_size: int) -> float:
        """From host memory to host memory: in flight, or on a CPU one behind the other."""
        if self.throughput is not None:
            return self.throughput.images_per_second
        return self.requested_per_second(batch_size)


def record_ratio(recorded: Latency, here: Latency) -> Ratio:
    """The speed-up over a record: the ratio of two medians that were not measured in turns.

    The interval is the widest that the intervals of the two medians allow.

    Args:
        recorded: Times of the other one, of another run and perhaps another host.
        here: Times of the subject.
    """
    interval = Interval(
        recorded.interval_ms.low / here.interval_ms.high,
        recorded.interval_ms.high / here.interval_ms.low,
    )
    return Ratio(recorded.median_ms / here.median_ms, interval, turns=None)
