"""A streaming histogram of magnitudes: what calibration remembers of an activation.

The bins are logarithmic: a float32's exponent and the top bits of its mantissa say which one. So
no range has to be known beforehand, no batch changes the bins of an earlier one, and two
histograms merge by addition.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

# 512 bins for each power of two. No bin is wider than half a step of an INT8 range that it lies in.
BINS_PER_OCTAVE = 512
_SHIFT = 23 - 9
_MAGNITUDE = 0x7FFFFFFF
_EXPONENT_BIAS = 127
_OCTAVES = 255

# Values that are binned of a large batch. Binning takes ten times as long as finding extremes.
SAMPLE = 2**17

# The largest of a sample, above which all of the batch is counted: more than a percentile clips.
_TAIL = 16

# Values of which the extremes are looked at together, to find those above.
_ROW = 128

# Width of the last bin, as a share of the largest magnitude.
_LAST_WIDTH = 2.0**-20


@dataclass(frozen=True)
class Bins:
    """Where the magnitudes lie that are not zero.

    Attributes:
        edges: Float64 ``(bins + 1,)``, ascending and positive. Bin i holds what is above
            ``edges[i]`` and at most ``edges[i + 1]``. The last edge is the largest magnitude.
        counts: Float64 ``(bins,)``: values in each bin. The last bin is a sliver with all that
            is near the largest magnitude, and the one before it is empty: activations that
            saturate lie at that very value, which a range that ends there represents exactly.
        zeros: Values of magnitude zero.
    """

    edges: torch.Tensor
    counts: torch.Tensor
    zeros: float


class MagnitudeHistogram:
    """A histogram of |x| of one tensor over batches.

    Values are judged as float32. What is below float32's smallest normal value (1.2e-38) counts
    as zero. Minimum, maximum and the counts of values are of all values. Of a batch of at least
    ``2 * SAMPLE`` values every n-th is binned, and stands for its neighbours; the largest, about
    one in 10,000, are still counted value by value, so that no outlier is missed. n shares no
    divisor with the batch's size, so it falls into step with no dimension. The same batches
    always give the same histogram, on any device.

    Attributes:
        minimum: The least finite value, with its sign; infinity before any.
        maximum: The greatest finite value, with its sign; minus infinity before any.
        count: Finite values seen.
        not_finite: Values seen that are NaN or infinite. They are in no bin.
    """

    def __init__(self) -> None:
        self.minimum = math.inf
        self.maximum = -math.inf
        self.count = 0
        self.not_finite = 0
        self._first_octave = 0
        self._counts = torch.zeros(0, BINS_PER_OCTAVE, dtype=torch.float64)
        self._zeros = 0.0

    @property
    def largest(self) -> float:
        """The largest magnitude of a finite value; 0 before any."""
        return max(-self.minimum, self.maximum) if self.count else 0.0

    def add(self, values: torch.Tensor) -> None:
        """Takes in a batch.

        Args:
            values: Any shape, floating dtype and device. It is not kept.
        """
        flat = _in_memory_order(values.detach()).flatten()
        if flat.dtype not in (torch.float16, torch.bfloat16):
            flat = flat.to(torch.float32)
        if not flat.numel():
            return
        low, high = (float(each) for each in torch.aminmax(flat))
        if not math.isfinite(low) or not math.isfinite(high):
            finite = flat[torch.isfinite(flat)]
            self.not_finite += flat.numel() - finite.numel()
            self.add(finite)
            return
        self.minimum = min(self.minimum, low)
        self.maximum = max(self.maximum, high)
        self.count += flat.numel()
        whole = flat.numel() < 2 * SAMPLE
        self._add_counts(_counts(flat) if whole else _sampled_counts(flat))

    def bins(self) -> Bins:
        """The bins, from the first to the last that hold values; no bins if all were zeros."""
        flat = self._counts.flatten()
        (held,) = torch.nonzero(flat, as_tuple=True)
        if not held.numel():
            return Bins(flat.new_zeros(1), flat.new_zeros(0), self._zeros)
        first, last = int(held[0]), int(held[-1])
        edges = _edges(self._first_octave, torch.arange(first, last + 3))
        edges[-2] = self.largest * (1 - _LAST_WIDTH)
        edges[-1] = self.largest
        counts = torch.cat([flat[first:last], flat.new_zeros(1), flat[last : last + 1]])
        return Bins(edges, counts, self._zeros)

    def octaves(self) -> tuple[int, torch.Tensor]:
        """The counts by powers of two, with whole octaves at both ends.

        Returns:
            The exponent e of the first octave, which begins at 2**e, and float64
            ``(octaves, BINS_PER_OCTAVE)``: the bins of an octave are equally wide.
        """
        return self._first_octave - _EXPONENT_BIAS, self._counts

    def linear(self, bins: int) -> torch.Tensor:
        """The values that are not zero, in bins of equal width from 0 to the largest magnitude.

        A logarithmic bin's values are divided among the bins that it touches, as if they lay in
        it evenly.

        Returns:
            Float64 ``(bins,)``.
        """
        held = self.bins()
        below = torch.cat([held.counts.new_zeros(1), held.counts.cumsum(0)])
        if not held.counts.numel():
            return held.counts.new_zeros(bins)
        at = torch.arange(bins + 1, dtype=torch.float64) * (self.largest / bins)
        at[-1] = self.largest
        right = torch.searchsorted(held.edges, at).clamp(1, held.counts.numel())
        left = held.edges[right - 1]
        share = ((at - left) / (held.edges[right] - left)).clamp(0, 1)
        return torch.lerp(below[right - 1], below[right], share).diff()

    def _add_counts(self, counts: torch.Tensor) -> None:
        by_octave = counts.reshape(_OCTAVES, BINS_PER_OCTAVE)
        # Octave 0 is what float32 holds without a leading one.
        self._zeros += float(by_octave[0].sum())
        (held,) = torch.nonzero(by_octave[1:].any(1), as_tuple=True)
        if held.numel():
            first, last = int(held[0]) + 1, int(held[-1]) + 1
            self._add_octaves(first, by_octave[first : last + 1])

    def _add_octaves(self, first: int, counts: torch.Tensor) -> None:
        if not len(self._counts):
            self._first_octave, self._counts = first, counts.clone()
            return
        if not len(counts):
            return
        start = min(first, self._first_octave)
        end = max(first + len(counts), self._first_octave + len(self._counts))
        wide = counts.new_zeros(end - start, BINS_PER_OCTAVE)
        for offset, part in ((self._first_octave, self._counts), (first, counts)):
            wide[offset - start : offset - start + len(part)] += part
        self._first_octave, self._counts = start, wide


def _in_memory_order(values: torch.Tensor) -> torch.Tensor:
    """The same values, so that flattening them copies nothing where channels come last."""
    if values.dim() == 4 and not values.is_contiguous():
        return values.permute(0, 2, 3, 1)
    return values


def power_of_two(exponents: torch.Tensor) -> torch.Tensor:
    """Float64 of int64 exponents, exactly: ``torch.ldexp`` computes in float32."""
    return ((exponents + 1023) << 52).view(torch.float64)


def _edges(first_octave: int, index: torch.Tensor) -> torch.Tensor:
    """Where bins begin, counted from the first of an octave: float64."""
    octave = torch.div(index, BINS_PER_OCTAVE, rounding_mode="floor")
    mantissa = 1 + (index - octave * BINS_PER_OCTAVE).double() / BINS_PER_OCTAVE
    return mantissa * power_of_two(octave + first_octave - _EXPONENT_BIAS)


def _counts(values: torch.Tensor) -> torch.Tensor:
    """How many of finite values ``(N,)`` are in each bin of all octaves: float64, on the CPU."""
    bits = values.to(torch.float32).contiguous().view(torch.int32) & _MAGNITUDE
    # One less, so that a bin holds its upper edge: what is at most a threshold is then whole bins.
    bins = bits.sub_(1).clamp_(min=0) >> _SHIFT
    return torch.bincount(bins, minlength=_OCTAVES * BINS_PER_OCTAVE).cpu().double()


def _sampled_counts(values: torch.Tensor) -> torch.Tensor:
    """What ``_counts`` says, from a sample and all that is above most of it."""
    size = values.numel()
    stride = size // SAMPLE
    while math.gcd(stride, size) != 1:
        stride += 1
    sampled = _counts(values[::stride])
    top = int((sampled.flip(0).cumsum(0).flip(0) > _TAIL).sum())
    above = _counts(_rows_above(values, float(_edges(0, torch.tensor(top)))))
    above[:top], sampled[top:] = 0, 0
    return sampled * ((size - above.sum()) / sampled.sum()) + above


def _rows_above(values: torch.Tensor, edge: float) -> torch.Tensor:
    """Some of the values, with all whose magnitude is above the edge among them."""
    end = values.numel() // _ROW * _ROW
    rows, rest = values[:end].view(-1, _ROW), values[end:]
    largest = torch.maximum(rows.amax(1), -rows.amin(1)).to(torch.float32)
    return torch.cat([rows[largest > edge].flatten(), rest])
