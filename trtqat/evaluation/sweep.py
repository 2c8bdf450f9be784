"""Several batch sizes: which are asked for, and which is best within a latency budget."""

from __future__ import annotations

from collections.abc import Iterable

from trtqat.errors import UsageError
from trtqat.evaluation.contenders import BatchTiming


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


def best_within(timings: Iterable[BatchTiming], budget_ms: float) -> BatchTiming | None:
    """The batch size with the most images a second whose requests keep within a budget.

    Images a second of requests one behind the other, as those are whose time is known: with more
    in flight, each waits for the others.

    Args:
        timings: The subject's, by batch size.
        budget_ms: For 99 of 100 requests, from host memory to host memory.

    Returns:
        The timing; None if none keeps within it.
    """
    within = [each for each in timings if each.timing.request.p99_ms <= budget_ms]
    return max(
        within, key=lambda each: each.timing.requested_per_second(each.batch_size), default=None
    )
