"""Latency and throughput over batch sizes, and the best one within a latency budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trtqat.errors import UsageError
from trtqat.evaluation.timing import Ratio, Timing


@dataclass(frozen=True)
class RivalPoint:
    """A rival at one batch size.

    Attributes:
        timing: Its own.
        speedup: Of the model over it, computing.
    """

    timing: Timing
    speedup: Ratio


@dataclass(frozen=True)
class BatchPoint:
    """One batch size of a sweep.

    Attributes:
        batch_size: Images in a query.
        model: The model's timing.
        baseline: The baseline's, if there is one.
        speedup: Of the model over the baseline, computing.
        rivals: In the order of the report's.
    """

    batch_size: int
    model: Timing
    baseline: Timing | None
    speedup: Ratio | None
    rivals: tuple[RivalPoint, ...] = ()

    @property
    def images_per_second(self) -> float:
        """Of the model, as ``Timing`` has it."""
        return self.model.images_per_second(self.batch_size)


def parse_batch_sizes(text: str) -> tuple[int, ...]:
    """Parses ``32`` or ``1,8,32,128``; ascending, each once.

    Raises:
        UsageError: It is something else.
    """
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or sizes[0] < 1:
        raise UsageError(f"'{text}' is no list of batch sizes.", "Write 32, or 1,8,32,128.")
    return tuple(sizes)


def best_within(curve: Sequence[BatchPoint], budget_ms: float) -> BatchPoint | None:
    """The batch size with the most images a second whose requests keep within a budget.

    Images a second of requests one behind the other, as those are whose time is known: with more
    in flight, each waits for the others.

    Args:
        curve: What was measured.
        budget_ms: For 99 of 100 requests, from host memory to host memory.

    Returns:
        The point; None if none keeps within it.
    """
    within = [point for point in curve if point.model.request.p99_ms <= budget_ms]
    return max(
        within, key=lambda each: each.model.requested_per_second(each.batch_size), default=None
    )
