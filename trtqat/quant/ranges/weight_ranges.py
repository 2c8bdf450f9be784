"""The ranges of a weight's quantizer: one a channel, or one for the whole weight."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from trtqat.errors import QuantizerError
from trtqat.quant.ranges.quantization_error import LEVELS

WeightMethod = Literal["auto", "max", "mse"]

# Ranges tried between the least that can be better than the maximum, and the maximum.
_CANDIDATES = 16

# Where they are further apart than this share of the maximum, as many lie around the best.
_COARSE = 0.01

# Values that are quantized at once. They stay in a core's cache between the steps, and PyTorch
# does not divide so few among threads: on busy cores those wait for each other at each step.
_CHUNK = 2**15


@dataclass(frozen=True)
class WeightRange:
    """The ranges of a symmetric INT8 quantizer of a weight: scale = amax / 127.

    Attributes:
        amax: ``(C,)``, or ``()`` for the whole weight, float32, on the weight's device. 0 where
            all weights are zeros.
        method: How they were chosen: "max" or "mse".
        clipped: Share of the weights whose magnitude is beyond their range, from 0 to 1.
        sqnr_db: Signal-to-quantization-noise ratio of the weight; infinite if it is represented
            exactly.
    """

    amax: torch.Tensor
    method: str
    clipped: float
    sqnr_db: float


def weight_range(
    weight: torch.Tensor, axis: int | None, method: WeightMethod = "auto", *, name: str
) -> WeightRange:
    """Chooses the ranges of one weight.

    Args:
        weight: Any shape, floating dtype and device.
        axis: The dimension of C channels with a range each, or None for one range.
        method: "max" clips nothing. "mse" has the least squared error of 16 ranges or more
            for each channel, the maximum among them, so it is never worse. "auto" is "mse".
        name: Of the quantizer, for errors.

    Raises:
        QuantizerError: A weight is not finite, there are none, or there is no such method.
    """
    if method not in get_args(WeightMethod):
        raise QuantizerError(
            f"There is no calibration method '{method}' for weights.",
            f"Choose one of {', '.join(get_args(WeightMethod))}.",
        )
    if not weight.numel():
        raise QuantizerError(f"The weight of quantizer '{name}' is empty.", "Leave its layer out.")
    values = weight.detach().to(torch.float32)
    channels = 1 if axis is None else values.shape[axis]
    rows = values.movedim(axis or 0, 0).reshape(channels, -1)
    low, high = torch.aminmax(rows, dim=1)
    largest = torch.maximum(high, -low)
    if not torch.isfinite(largest).all():
        raise QuantizerError(
            f"The weight of quantizer '{name}' has values that are not finite.",
            "Check the checkpoint for NaN and infinity.",
        )
    amax = largest if method == "max" else _least_error(rows, largest)
    noise = float(_errors(rows, amax[:, None]).sum())
    clipped = int((rows.abs() > amax[:, None]).sum()) / rows.numel() if method != "max" else 0.0
    signal = float(torch.linalg.vector_norm(rows, dtype=torch.float64)) ** 2
    return WeightRange(
        amax.reshape(() if axis is None else (-1,)),
        "max" if method == "max" else "mse",
        clipped,
        10 * math.log10(signal / noise) if noise else math.inf,
    )


def _least_error(rows: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    """For each row the range with the least squared error: ``(C,)``.

    A range that is smaller by d clips the largest weight, which alone costs d². So d is never
    more than the root of the error that the maximum has: the ranges tried lie in between.
    """
    error = _errors(rows, largest[:, None])[:, 0]
    widest = torch.minimum(error.sqrt().to(torch.float32), largest)
    step = widest / _CANDIDATES
    count = torch.arange(_CANDIDATES, device=rows.device)
    best = _best_of(rows, largest[:, None] - step[:, None] * count)
    if bool((step > largest * _COARSE).any()):
        # The middle one of these is the best so far.
        finer = best[:, None] + step[:, None] * (2 * count / _CANDIDATES - 1)
        best = _best_of(rows, torch.minimum(finer, largest[:, None]))
    return best


def _best_of(rows: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    return candidates.gather(1, _errors(rows, candidates).argmin(1, keepdim=True))[:, 0]


def _errors(rows: torch.Tensor, amaxes: torch.Tensor) -> torch.Tensor:
    """Squared errors of ``(C, K)`` weights for N ranges ``(C, N)`` of each: float64 ``(C, N)``."""
    errors = torch.zeros(amaxes.shape, dtype=torch.float64, device=rows.device)
    step = amaxes / LEVELS
    # The error of a channel of zeros is zero, whatever its range; so is that of a channel of
    # weights so small (4e-37) that there is no float32 of the inverse.
    inverse = torch.nan_to_num(1 / step, posinf=0)
    for channels, part in _parts(rows, amaxes.shape[1]):
        units = rows[channels, None, part] * inverse[channels, :, None]
        codes = units.round().clamp_(-LEVELS, LEVELS)
        roots = torch.linalg.vector_norm(units.sub_(codes), dim=2)
        errors[channels] += (roots * step[channels]).double() ** 2
    return errors


def _parts(rows: torch.Tensor, candidates: int) -> Iterator[tuple[slice, slice]]:
    """Slices of channels and of their weights that make a chunk with all candidates."""
    channels, weights = rows.shape
    width = min(weights, _CHUNK // candidates)
    height = max(1, _CHUNK // candidates // width)
    for first in range(0, channels, height):
        for start in range(0, weights, width):
            yield slice(first, first + height), slice(start, start + width)
