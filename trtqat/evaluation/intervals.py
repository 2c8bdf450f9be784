"""How sure a figure is: intervals for medians, ratios and shares, and a test for paired counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trtqat.tensors import Array

# Quantile of the normal distribution for 95 %.
_Z = 1.959963984540054
_LEFT_OUT = 0.05
_RESAMPLES = 400


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} … {self.high:.3f}"


def median_interval(times_ms: Sequence[float], *, seed: int = 0) -> Interval:
    """Interval for the median of one run's times, by a moving-block bootstrap.

    Queries that follow each other are alike (clocks, caches), so whole blocks are drawn: of
    N^(1/3) times, which is the optimal order (Hall, Horowitz and Jing, Biometrika 82, 1995).

    Args:
        times_ms: At least one, in the order in which they were measured.
        seed: Same seed, same interval.
    """
    times = np.asarray(times_ms, np.float64)
    length = max(1, round(len(times) ** (1 / 3)))
    random = np.random.default_rng(seed)
    blocks = math.ceil(len(times) / length)
    starts = random.integers(0, len(times) - length + 1, (_RESAMPLES, blocks))
    steps = np.arange(length)
    medians = [np.median(times[(row[:, None] + steps).ravel()[: len(times)]]) for row in starts]
    return _percentiles(np.array(medians))


def few_interval(values: Sequence[float]) -> Interval:
    """Interval for the median of a few independent values, whatever their distribution.

    Between two of the ordered values, as far from either end as 95 % allow (Conover, Practical
    Nonparametric Statistics, 1999, section 3.2). Of less than six these are the ends, and hold the
    median less often.

    Args:
        values: At least one.
    """
    ordered, count = sorted(values), len(values)
    # How many values may lie on one side of the median: as in a paired test of equal chances.
    allowed = (k for k in range(count // 2) if paired_p_value(k, count - k) <= _LEFT_OUT)
    outside = max(allowed, default=0)
    return Interval(float(ordered[outside]), float(ordered[-1 - outside]))


def median_ratio(
    numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]], *, seed: int = 0
) -> tuple[float, Interval]:
    """The ratio of two medians that were measured in turns, and its interval.

    Rounds are drawn, the same for both sides, so what slows both down at once cancels.

    Args:
        numerator: Times by round.
        denominator: Times of the other side by round, as many rounds.
        seed: Same seed, same interval.
    """
    # A round counts by its median: its own scatter is far below that between rounds.
    upper = np.array([np.median(each) for each in numerator])
    lower = np.array([np.median(each) for each in denominator])
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(upper), (_RESAMPLES, len(upper)))
    ratios = np.median(upper[drawn], axis=1) / np.median(lower[drawn], axis=1)
    return float(np.median(upper) / np.median(lower)), _percentiles(ratios)


def share_interval(hits: int, count: int) -> Interval:
    """Interval for a share, from 0 to 1 (Wilson, JASA 22, 1927).

    Args:
        hits: How many of them.
        count: Of how many; at least 1.
    """
    share, square = hits / count, _Z**2
    centre = (share + square / (2 * count)) / (1 + square / count)
    spread = share * (1 - share) / count + square / (4 * count**2)
    half = _Z * math.sqrt(spread) / (1 + square / count)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def paired_p_value(lost: int, gained: int) -> float:
    """Probability of so uneven a split, or a more uneven one, by chance: McNemar's exact test.

    Args:
        lost: Images that the baseline alone got right.
        gained: Images that the model alone got right.

    Returns:
        The two-sided p-value; 1 if nothing changed.
    """
    changed, fewer = lost + gained, min(lost, gained)
    tail: int = sum(math.comb(changed, k) for k in range(fewer + 1))
    # As integers: 2 ** changed is beyond a float for a thousand changed images.
    p_value: float = 2 * tail / 2**changed
    return min(1.0, p_value)


def _percentiles(values: Array) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))
