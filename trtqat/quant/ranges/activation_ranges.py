"""The range of an activation's quantizer, from the histogram of what it saw."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from trtqat.errors import QuantizerError
from trtqat.quant.ranges.entropy import entropy_amax, has_gaps
from trtqat.quant.ranges.histogram import Bins, MagnitudeHistogram
from trtqat.quant.ranges.quantization_error import energy, grid_errors, squared_error

ActivationMethod = Literal["auto", "max", "percentile", "mse", "entropy"]

# What the method "percentile" keeps inside the range, in percent of the values.
PERCENTILE = 99.99

# Best ranges of the grid, which is coarser than the bins, and edges of bins to both sides of each.
_COARSE, _NEIGHBOURS = 8, 4


@dataclass(frozen=True)
class Range:
    """The range of a symmetric INT8 quantizer: its scale is amax / 127.

    Attributes:
        amax: The largest magnitude that it represents; 0 if it saw only zeros.
        method: How it was chosen: of "auto" the method whose range was taken.
        clipped: Share of the values whose magnitude is beyond it, from 0 to 1.
        sqnr_db: Expected signal-to-quantization-noise ratio on the data; infinite if every value
            is represented exactly.
    """

    amax: float
    method: str
    clipped: float
    sqnr_db: float


def activation_range(
    histogram: MagnitudeHistogram, method: ActivationMethod = "auto", *, name: str
) -> Range:
    """Chooses the range of one activation.

    Args:
        histogram: Of what the quantizer saw.
        method: "max" clips nothing. "percentile" keeps 99.99 % of the values inside; if those are
            all zeros, it clips nothing. "mse" has the least squared error. "entropy" has the least
            relative entropy, as TensorRT's calibration (``entropy.py``); where values are
            few different ones, as of pixels, it is "mse". "auto" takes, of
            these four, the range with the least squared error; of equals, the first of them.
        name: Of the quantizer, for errors.

    Raises:
        QuantizerError: The quantizer saw no data, or values that are not finite; or there is no
            such method.
    """
    if method not in get_args(ActivationMethod):
        raise QuantizerError(
            f"There is no calibration method '{method}' for activations.",
            f"Choose one of {', '.join(get_args(ActivationMethod))}.",
        )
    _check(histogram, name)
    if histogram.minimum == histogram.maximum:
        # The only value is the last code, so it is exact; in its bin it would seem not to be.
        return Range(histogram.largest, "max" if method == "auto" else method, 0.0, math.inf)
    bins = histogram.bins()
    if not len(bins.counts):
        # Values below float32's normal ones: all are zeros to a quantizer.
        return Range(histogram.largest, "max" if method == "auto" else method, 0.0, math.inf)
    if method == "entropy" and has_gaps(histogram):
        method = "mse"
    names = list(_METHODS) if method == "auto" else [method]
    amaxes = torch.tensor([_METHODS[each](histogram, bins) for each in names], dtype=torch.float64)
    errors = squared_error(bins, amaxes)
    best = int(errors.argmin())
    amax, error = float(amaxes[best]), float(errors[best])
    sqnr_db = 10 * math.log10(energy(bins) / error) if error else math.inf
    return Range(amax, names[best], _clipped(bins, amax), sqnr_db)


def _check(histogram: MagnitudeHistogram, name: str) -> None:
    if histogram.not_finite:
        raise QuantizerError(
            f"Quantizer '{name}' saw {histogram.not_finite} values that are not finite.",
            "Check the batches and the weights for NaN and infinity.",
        )
    if not histogram.count:
        raise QuantizerError(
            f"Quantizer '{name}' saw no data: what it quantizes was never computed.",
            "Calibrate on batches that reach it, or leave it in floating point.",
        )


def _max(histogram: MagnitudeHistogram, bins: Bins) -> float:
    return histogram.largest


def _percentile(histogram: MagnitudeHistogram, bins: Bins) -> float:
    at_most = bins.zeros + bins.counts.cumsum(0)
    rank = at_most[-1] * (PERCENTILE / 100)
    if float(rank) <= bins.zeros:
        return histogram.largest
    return float(bins.edges[1 + torch.searchsorted(at_most, rank)])


def _mse(histogram: MagnitudeHistogram, bins: Bins) -> float:
    amaxes, errors = grid_errors(histogram)
    # A few, as the grid goes beyond the largest value, where a range may seem the best by chance.
    coarse = amaxes[errors.topk(min(_COARSE, len(errors)), largest=False).indices]
    nearest = torch.searchsorted(bins.edges, coarse)[:, None]
    around = nearest + torch.arange(-_NEIGHBOURS, _NEIGHBOURS + 1)
    inside = torch.unique(around[(around >= 0) & (around < len(bins.edges) - 2)])
    # First the one that clips nothing: of equals it is taken.
    candidates = torch.cat([bins.edges[-1:], bins.edges[inside]])
    return float(candidates[squared_error(bins, candidates).argmin()])


def _entropy(histogram: MagnitudeHistogram, bins: Bins) -> float:
    return entropy_amax(histogram)


def _clipped(bins: Bins, amax: float) -> float:
    """Values beyond a range; of a bin that it ends in, the part that is beyond."""
    beyond = (bins.edges[1:] - amax) / bins.edges.diff()
    total = bins.zeros + float(bins.counts.sum())
    return float(beyond.clamp(0, 1) @ bins.counts) / total


_METHODS: dict[str, Callable[[MagnitudeHistogram, Bins], float]] = {
    "max": _max,
    "percentile": _percentile,
    "mse": _mse,
    "entropy": _entropy,
}
