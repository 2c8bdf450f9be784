"""Several batches of an engine, or batches of several sizes, as one figure.

Where several of them are asked for, one graph serves them all, though each may have a fastest of
its own. What counts is the geometric mean of the times: 10 % faster at one batch outweighs 9 %
slower at another, whatever the times are. The report tells each batch by itself, and where another
engine is faster at one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import geometric_mean
from typing import TypeVar

from trtqat.evaluation.intervals import Interval, Ratio

# Where engines are measured: a batch, or a batch of a size.
At = TypeVar("At")


def mean_time(times_ms: Mapping[At, float]) -> float:
    """The geometric mean of the times at several batches.

    Args:
        times_ms: By batch, at least one.
    """
    return geometric_mean(times_ms.values()) if len(times_ms) > 1 else next(iter(times_ms.values()))


def mean_regions(
    region_ms: Mapping[At, Mapping[int, float]], reference_ms: Mapping[At, float]
) -> dict[int, float]:
    """Times of regions at several batches as one time each, whose sum follows the mean time.

    Near a reference the geometric mean is a weighted sum: a time counts by its share of the
    reference's at the same batch. The weights are the same for all engines, so that costs add up.

    Args:
        region_ms: By batch, then by place.
        reference_ms: Times of the reference by batch.

    Returns:
        By place, of the regions that are told at every batch.
    """
    mean_ms = mean_time(reference_ms)
    weights = {batch: mean_ms / len(region_ms) / reference_ms[batch] for batch in region_ms}
    told = set.intersection(*(set(each) for each in region_ms.values())) if region_ms else set()
    return {
        place: sum(weights[batch] * each[place] for batch, each in region_ms.items())
        for place in sorted(told)
    }


def mean_ratio(ratios: Mapping[At, Ratio]) -> Ratio:
    """How many times one engine is as fast as another over several batches.

    Args:
        ratios: By batch, at least one.

    Returns:
        The geometric mean. Batches are measured apart, so its interval is that of a sum of
        independent logarithms.
    """
    found = list(ratios.values())
    if len(found) == 1:
        return found[0]
    mean = sum(math.log(each.value) for each in found) / len(found)
    below, above = (
        math.sqrt(sum(math.log(each.value / end) ** 2 for each, end in ends)) / len(found)
        for ends in (
            [(each, each.interval.low) for each in found],
            [(each, each.interval.high) for each in found],
        )
    )
    turns = [each.turns for each in found if each.turns is not None]
    interval = Interval(math.exp(mean - below), math.exp(mean + above))
    return Ratio(math.exp(mean), interval, min(turns, default=None))


def inverse(ratio: Ratio) -> Ratio:
    """How many times the other engine is as fast as the one.

    Args:
        ratio: Of the one over the other.
    """
    low, high = ratio.interval.low, ratio.interval.high
    return Ratio(1 / ratio.value, Interval(1 / high, 1 / low), ratio.turns)
