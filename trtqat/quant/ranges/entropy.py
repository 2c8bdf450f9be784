"""The range of least relative entropy, as TensorRT's calibration describes it.

S. Migacz, "8-bit Inference with TensorRT", GPU Technology Conference 2017: of a histogram of 2048
bins, each number m of bins from 128 on is a candidate. The reference is what a range of m bins
keeps, with what it clips added to its last bin. Its rival is what 128 levels make of those m bins.
The range is the one where the relative entropy (Kullback-Leibler divergence) of the two is least.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from trtqat.quant.ranges.histogram import MagnitudeHistogram

BINS = 2048
LEVELS = 128
# Data is of single values if of the bins that hold this share of it fewer than that share do.
_MOST, _HELD = 0.9, 0.5


@dataclass(frozen=True)
class _Groups:
    """All groups of bins that become a level of some candidate.

    Attributes:
        start: The first bin of each group ``(G,)``.
        end: The first bin behind each group ``(G,)``.
        of_level: Which group is each level of each candidate: ``(N, LEVELS)``.
    """

    start: torch.Tensor
    end: torch.Tensor
    of_level: torch.Tensor

    def sums(self, below: torch.Tensor) -> torch.Tensor:
        """Of a running sum over bins, what is within each group."""
        return below.index_select(0, self.end) - below.index_select(0, self.start)

    def by_level(self, values: torch.Tensor) -> torch.Tensor:
        """What each candidate's levels have of a value of each group: ``(N, LEVELS)``."""
        return values.index_select(0, self.of_level.flatten()).view(self.of_level.shape)


def entropy_amax(histogram: MagnitudeHistogram) -> float:
    """The range of least relative entropy.

    Exact zeros are left out: every range represents them without an error, and after a ReLU they
    would outweigh all else. The range ends where the last bin that it keeps does, so the last
    candidate is the largest magnitude itself.

    Args:
        histogram: It holds a value other than zero.
    """
    divergence = divergences(histogram.linear(BINS))
    return histogram.largest / BINS * (LEVELS + int(divergence.argmin()))


def has_gaps(histogram: MagnitudeHistogram) -> bool:
    """Whether values are so few different ones that their relative entropy says nothing.

    The pixels of an image are 256 numbers. Where each level of a range gets one of them, its
    rival is the reference itself, and clipping a third of the pixels looks cheaper than sharing a
    level. So it is asked how many bins are empty where most values lie.
    """
    counts = histogram.linear(BINS)
    within = int(torch.searchsorted(counts.cumsum(0), _MOST * counts.sum())) + 1
    return int((counts[:within] > 0).sum()) < _HELD * within


def divergences(counts: torch.Tensor) -> torch.Tensor:
    """The relative entropy of each candidate, in nats; infinite where nothing is in its last bin.

    With c the counts, N their sum, and for each group g of bins that becomes one level S the sum
    and n the number of bins that are not empty, the rival's share of such a bin is S / (n·Σ S).
    So the relative entropy needs sums over bins and groups alone, which are differences of running
    sums: all candidates are computed at once.

    Args:
        counts: Float64 ``(BINS,)``; not all are zero.

    Returns:
        Float64 ``(BINS - LEVELS + 1,)``: for LEVELS bins up to all of them.
    """
    kept = torch.arange(LEVELS, BINS + 1)
    count_below, log_below = _running(counts), _running(torch.xlogy(counts, counts))
    groups = _groups()
    total, inside, last = count_below[-1], count_below[kept], counts[kept - 1]
    outliers = total - inside
    sums, held = groups.sums(count_below), groups.sums(_running((counts > 0).double()))
    means = sums / held.clamp_(min=1)
    reference = log_below[kept - 1] + torch.xlogy(last + outliers, last + outliers)
    clipped = torch.xlogy(outliers, means[groups.of_level[:, -1]])
    rival = groups.by_level(torch.xlogy(sums, means)).sum(1) + clipped
    divergence = (reference - rival) / total + torch.log(inside / total)
    return divergence.masked_fill((last == 0) & (outliers > 0), torch.inf)


@functools.lru_cache(maxsize=1)
def _groups() -> _Groups:
    """The groups of bins: a quarter of a million levels are made of a tenth as many."""
    kept = torch.arange(LEVELS, BINS + 1)[:, None]
    level = torch.arange(LEVELS + 1)
    edges = -torch.div(-kept * level, LEVELS, rounding_mode="floor")
    pairs = edges[:, :-1] * (BINS + 1) + edges[:, 1:]
    unique, of_level = torch.unique(pairs, return_inverse=True)
    return _Groups(unique // (BINS + 1), unique % (BINS + 1), of_level)


def _running(values: torch.Tensor) -> torch.Tensor:
    return torch.cat([values.new_zeros(1), values.cumsum(0)])
