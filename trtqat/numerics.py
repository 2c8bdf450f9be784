"""How far two tensors are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trtqat.tensors import Array


@dataclass(frozen=True)
class Difference:
    """The distance between a tensor and its reference.

    Attributes:
        sqnr_db: Signal-to-quantization-noise ratio in dB; infinite if they are equal,
            NaN if either holds a NaN, or an infinity that the other has not.
        worst: Largest absolute difference.
        worst_index: Where it is.
    """

    sqnr_db: float
    worst: float
    worst_index: tuple[int, ...]


def difference(reference: Array, actual: Array) -> Difference:
    """Compares two tensors of the same shape.

    SQNR = 10·log₁₀(Σ reference² / Σ (reference - actual)²), computed in float64.

    Args:
        reference: Any shape, any numeric dtype.
        actual: Same shape.

    Raises:
        ValueError: The shapes differ.
    """
    if reference.shape != actual.shape:
        raise ValueError(f"shapes differ: {reference.shape} and {actual.shape}")
    if reference.size == 0:
        return Difference(math.inf, 0.0, ())
    expected, found = reference.astype(np.float64), actual.astype(np.float64)
    # A mask's -inf in both is agreement, but an infinity less itself is NaN.
    same = np.isinf(expected) & (expected == found)
    expected, found = np.where(same, 0, expected), np.where(same, 0, found)
    with np.errstate(invalid="ignore"):
        error = np.abs(expected - found)
    index = np.unravel_index(int(np.argmax(error)), error.shape)
    return Difference(
        sqnr_db(float(np.sum(expected**2)), float(np.sum(error**2))),
        float(error[index]),
        tuple(int(i) for i in index),
    )


def sqnr_db(signal: float, noise: float) -> float:
    """SQNR in dB from the sums of squares; infinite without noise, NaN if either is not finite."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    if noise == 0:
        return math.inf
    if signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)
