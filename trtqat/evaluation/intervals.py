"""Speed-ups, and how sure a figure is: intervals, and a test for paired counts."""

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
# Of a limit: above what rounding makes of a difference of percentages, below one image of millions.
_ROUNDING = 1e-9
# Of a float of 64 bits.
_MOST_DIGITS = 17


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3f} … {self.high:.3f}"


@dataclass(frozen=True)
class Ratio:
    """How many times one model is as fast as another: a speed-up.

    Attributes:
        value: Ratio of the medians over the turns, of which each counts by its own median.
        interval: Its 95 % interval, over turns in which both were measured.
        turns: How many; None against a record, which was measured by itself.
    """

    value: float
    interval: Interval
    turns: int | None


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
    medians = []
    # Many resamples at a time, in memory that does not grow with the run.
    for rows in np.array_split(starts, min(_RESAMPLES, 1 + starts.size * length // 2**18)):
        drawn = (rows[:, :, None] + steps).reshape(len(rows), -1)[:, : len(times)]
        medians.append(np.median(times[drawn], axis=1))
    return _percentiles(np.concatenate(medians))


def turns_interval(turns: Sequence[Sequence[float]], *, seed: int = 0) -> Interval:
    """Interval for the median of times that were measured in turns.

    What slows a host down lasts for whole turns, so these are drawn with all of their times: blocks
    of a few queries would make thousands of independent times of what changed ten times. Of one
    turn it is ``median_interval``.

    Args:
        turns: Times by turn, at least one in each.
        seed: Same seed, same interval.
    """
    if len(turns) == 1:
        return median_interval(turns[0], seed=seed)
    times = np.concatenate([np.asarray(each, np.float64) for each in turns])
    order = np.argsort(times)
    owners = np.repeat(np.arange(len(turns)), [len(each) for each in turns])[order]
    drawn = np.random.default_rng(seed).integers(0, len(turns), (_RESAMPLES, len(turns)))
    often = np.stack([np.bincount(each, minlength=len(turns)) for each in drawn])
    medians = []
    for rows in np.array_split(often, min(_RESAMPLES, 1 + _RESAMPLES * len(times) // 2**18)):
        # How many of the drawn times are at most so long; the median is where half of them are.
        until = np.cumsum(rows[:, owners], axis=1)
        half = until[:, -1:] / 2
        middle = times[order[[(until < half).sum(axis=1), (until <= half).sum(axis=1)]]]
        medians.append(middle.mean(axis=0))
    return _percentiles(np.concatenate(medians))


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
) -> Ratio:
    """The speed-up: the ratio of two medians that were measured in turns, and its interval.

    Turns are drawn, the same for both sides, so what slows both down at once cancels.

    Args:
        numerator: Times of the other one, by turn.
        denominator: Times of the subject by turn, in as many turns.
        seed: Same seed, same interval.
    """
    # A turn counts by its median: its own scatter is far below that between turns.
    upper = np.array([np.median(each) for each in numerator])
    lower = np.array([np.median(each) for each in denominator])
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(upper), (_RESAMPLES, len(upper)))
    ratios = np.median(upper[drawn], axis=1) / np.median(lower[drawn], axis=1)
    value = float(np.median(upper) / np.median(lower))
    return Ratio(value, _percentiles(ratios), len(upper))


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
    tail = ways = 1
    for k in range(fewer):  # each binomial coefficient from the one before, without a remainder
        ways = ways * (changed - k) // (k + 1)
        tail += ways
    # As integers: 2 ** changed is beyond a float for a thousand changed images.
    p_value: float = 2 * tail / 2**changed
    return min(1.0, p_value)


def paired_interval(lost: int, gained: int, count: int) -> Interval:
    """Interval for the difference of two shares that were counted on the same samples.

    Wald's with half a sample more in each cell (Agresti and Min, Statistics in Medicine 24, 2005,
    section 3.2), which holds also where nothing or little changed.

    Args:
        lost: Samples that the baseline alone got right.
        gained: Samples that the model alone got right.
        count: All samples; at least 1.

    Returns:
        Of the baseline's share less the model's, each from 0 to 1.
    """
    total = count + 2
    difference = (lost - gained) / total
    variance = (lost + gained + 1 - (lost - gained) ** 2 / total) / total**2
    half = _Z * math.sqrt(variance)
    return Interval(max(-1.0, difference - half), min(1.0, difference + half))


def difference_of(mine: Array | float, theirs: Array | float, *, higher_is_better: bool) -> Array:
    """One figure of a metric less another one.

    Two without any error, as in dB, do not differ. What is infinitely bad may: that is NaN.

    Args:
        mine: Any shape.
        theirs: The same.
        higher_is_better: Which infinity says that nothing is wrong.
    """
    best = math.inf if higher_is_better else -math.inf
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    with np.errstate(invalid="ignore"):
        return np.where((mine == theirs) & (mine == best), 0.0, mine - theirs)


def is_allowed(drop: float, allowed: float) -> bool:
    """Whether a drop is at most what is allowed; one that is no number is not.

    Args:
        drop: The difference of two figures, which is rounded: 0.4 - 0.3 is above 0.1.
        allowed: As it was written.
    """
    return drop <= allowed or math.isclose(drop, allowed, rel_tol=_ROUNDING)


def beside_limit(value: float, limit: float, form: str) -> str:
    """A figure, in as many digits as it takes to tell it from a limit, and from zero.

    Args:
        value: What was found.
        limit: What was asked for.
        form: The fewest digits, as ``.2f`` or ``.3g``.
    """
    digits, kind = int(form[1:-1]), form[-1]
    if not math.isclose(value, limit, rel_tol=_ROUNDING):
        while digits < _MOST_DIGITS:
            shown = float(f"{value:.{digits}{kind}}")
            on_its_side = (shown > limit) == (value > limit) and (shown < limit) == (value < limit)
            if on_its_side and (shown or abs(value) < _ROUNDING):
                break
            digits += 1
    return f"{value:.{digits}{kind}}"


def _percentiles(values: Array) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))
