"""A metric's value with its interval, and the difference of two models with its.

Samples are drawn with replacement, as many as there are, and the same for all models: what makes
some samples hard is the same on both sides of a difference, and cancels (Efron and Tibshirani, An
Introduction to the Bootstrap, 1993, chapter 13). The interval is that of the percentiles. It has no
width where all samples are alike, as with no error in any of them. One sample has none.

Where few samples changed, percentiles leave out 0 too often: of 4 samples that a coin makes better
or worse, all are on one side in 1 case of 8, and so are the resamples. Right answers are counted,
so there the interval of a difference is that of the counts. And any interval of a difference
reaches 0 where the exact test says that chance alone may have made it.

Of a metric that is optimistic the percentiles are reflected at the value: resamples are as much
above it as it is above the truth. Of 60 sets of 100 images with random boxes, that held the mAP of
6000 images 59 times, and the plain percentiles 41 times. The value may lie above such an interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trtqat.evaluation.intervals import difference_of, paired_interval, paired_p_value
from trtqat.evaluation.metrics.metric import Metric, PerSample, differing_samples
from trtqat.tensors import Array
from trtqat.typed_json import Unbounded

# Weights that are held at once.
_MOST_AT_ONCE = 4_000_000
# Samples that are drawn by one call: what a call costs is no more seen.
_DRAWN_AT_ONCE = 2**13
_OUTSIDE = 0.025
# Below this McNemar's test calls a difference one.
_SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval; NaN where there is none.

    Attributes:
        value: Of the samples as they are.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: Unbounded
    low: Unbounded
    high: Unbounded


@dataclass(frozen=True, eq=False)
class Resampled:
    """A metric's value of the samples, and of every resample.

    Attributes:
        value: Of the samples as they are.
        values: ``(R,)``: the same resamples for all models; NaN of one sample, which says nothing
            of others.
        metric: Whose they are.
        found: The samples.
    """

    value: float
    values: Array
    metric: Metric
    found: PerSample

    def estimate(self) -> Estimate:
        """The value."""
        return self._estimate(self.value, self.values, self.metric.bounds)

    def less(self, other: Resampled) -> Estimate:
        """The difference: this value less the other one's.

        Args:
            other: Of another model, on the same samples.
        """
        higher = self.metric.higher_is_better
        value = float(difference_of(self.value, other.value, higher_is_better=higher))
        values = difference_of(self.values, other.values, higher_is_better=higher)
        least, most = self.metric.bounds
        found = self._estimate(value, values, (least - most, most - least))
        mine, theirs = (self.metric.right(each.found) for each in (self, other))
        if mine is None or theirs is None:
            kept = (self.metric.recorded(each.found) for each in (self, other))
            # What it would take for a difference, at the least: all of them changed one way.
            lost, gained = differing_samples(*kept), 0
        else:
            lost, gained = int((theirs & ~mine).sum()), int((mine & ~theirs).sum())
            if len(mine) > 1:
                counted = paired_interval(gained, lost, len(mine))
                found = Estimate(value, 100 * counted.low, 100 * counted.high)
        if paired_p_value(lost, gained) < _SIGNIFICANT:
            return found
        # Of NaN these are NaN.
        low, high = float(np.minimum(found.low, 0)), float(np.maximum(found.high, 0))
        return Estimate(found.value, low, high)

    def _estimate(self, value: float, values: Array, bounds: tuple[float, float]) -> Estimate:
        # A resample without any pixel, box or character that counts has no value.
        ordered = np.sort(values[~np.isnan(values)])
        if math.isnan(value) or not ordered.size:
            return Estimate(value, math.nan, math.nan)
        # Not between two of them, which may both be infinite.
        last = len(ordered) - 1
        low, high = ordered[math.floor(_OUTSIDE * last)], ordered[math.ceil((1 - _OUTSIDE) * last)]
        if self.metric.is_optimistic:
            low, high = 2 * value - high, 2 * value - low
        least, most = bounds
        return Estimate(value, max(least, float(low)), min(most, float(high)))


def resample(metric: Metric, found: Sequence[PerSample], *, seed: int = 0) -> list[Resampled]:
    """Values of several models on the same resamples.

    Args:
        metric: Which says how many resamples it takes.
        found: Of each model, of the same samples; at least one.
        seed: Same seed, same resamples of so many samples.
    """
    count = len(found[0])
    random = np.random.default_rng(seed)
    size = max(1, _MOST_AT_ONCE // count)
    values: list[list[Array]] = [[] for _ in found]
    for start in range(0, metric.resamples, size):
        rows = min(size, metric.resamples - start)
        weights = _drawn(random, rows, count)
        for each, of_model in zip(found, values, strict=True):
            of_model.append(metric.values(each, weights))
    ones = np.ones((1, count))
    known = 1.0 if count > 1 else math.nan
    return [
        Resampled(
            float(metric.values(each, ones)[0]),
            known * np.concatenate(of_model),
            metric,
            each,
        )
        for each, of_model in zip(found, values, strict=True)
    ]


def _drawn(random: np.random.Generator, resamples: int, count: int) -> Array:
    """How often each sample is in each resample: ``(resamples, count)``."""
    weights = np.empty((resamples, count))
    step = max(1, _DRAWN_AT_ONCE // count)
    for start in range(0, resamples, step):
        some = weights[start : start + step]
        places = random.integers(0, count, some.shape) + count * np.arange(len(some))[:, None]
        some[:] = np.bincount(places.ravel(), minlength=places.size).reshape(some.shape)
    return weights
