"""How far two tensors are apart."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trtqat.tensors import Array

# Elements that are quantized at once, which should stay in a core's cache between the steps. But
# threads hand Python's lock on at each step: in pieces of 2**16, eight threads on 16 cores are
# hardly faster than one (scripts/results/quantize-by-hand.txt).
_PIECE = 2**19


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
    expected, error = signal_and_error(reference, actual)
    index = np.unravel_index(int(np.argmax(error)), error.shape)
    return Difference(
        sqnr_db(float(np.sum(expected**2)), float(np.sum(error**2))),
        float(error[index]),
        tuple(int(i) for i in index),
    )


def signal_and_error(reference: Array, actual: Array) -> tuple[Array, Array]:
    """The reference and the absolute difference, both in float64.

    An infinity in both, as a mask's, is agreement: it counts as 0, because an infinity less itself
    would be NaN.

    Args:
        reference: Any shape, any numeric dtype.
        actual: Same shape.
    """
    expected, found = reference.astype(np.float64), actual.astype(np.float64)
    infinite = np.isinf(expected)
    if infinite.any():
        same = infinite & (expected == found)
        expected, found = np.where(same, 0, expected), np.where(same, 0, found)
    with np.errstate(invalid="ignore"):
        return expected, np.abs(expected - found)


def sqnr_db(signal: float, noise: float) -> float:
    """SQNR in dB from the sums of squares; infinite without noise, NaN if either is not finite."""
    if not (math.isfinite(signal) and math.isfinite(noise)):
        return math.nan
    if noise == 0:
        return math.inf
    if signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)


@dataclass
class Noise:
    """SQNR of a tensor that comes piece by piece: the sums of squares so far.

    Attributes:
        signal: Of the reference.
        noise: Of the difference.
        count: Number of elements in both; without one there is nothing that could be equal.
    """

    signal: float = 0.0
    noise: float = 0.0
    count: int = 0

    def add(self, signal: Array, error: Array) -> None:
        """Adds a piece.

        Args:
            signal: Of ``signal_and_error``, like the error.
            error: Of the same shape.
        """
        self.add_sums(float(np.sum(signal**2)), float(np.sum(error**2)), error.size)

    def add_sums(self, signal: float, noise: float, count: int) -> None:
        """Adds a piece of so many elements whose squares are summed already."""
        self.signal += signal
        self.noise += noise
        self.count += count

    @property
    def sqnr_db(self) -> float:
        """Of all pieces together, as ``sqnr_db``; NaN if they hold no element."""
        return sqnr_db(self.signal, self.noise) if self.count else math.nan


def worst_db(several_db: Iterable[float]) -> float:
    """The least of several SQNR; NaN, which a tensor with a NaN has, is below everything."""
    return min(-math.inf if math.isnan(each) else each for each in several_db)


def lost_db(own_db: float, before_db: Iterable[float], lossless_db: float) -> float:
    """By how much an SQNR is below the worst of those that a tensor is computed from.

    Args:
        own_db: Of the tensor; NaN, where it holds one, is below everything.
        before_db: Of those before it.
        lossless_db: What is no loss in itself, as rounding.

    Returns:
        dB, 0 if it is not below; infinite where numbers become NaN.
    """
    own = -math.inf if math.isnan(own_db) else own_db
    worst = worst_db([lossless_db, *before_db])
    return worst - own if worst > own else 0.0


def quantize(x: Array, scale: float, *, out: Array | None = None) -> Array:
    """INT8 codes of floats, as ONNX's QuantizeLinear makes them with a zero-point of 0.

    A code is x / scale in float32, rounded to the nearest integer, ties to even, and saturated to
    -128 and 127.

    Args:
        x: Any shape, floats.
        scale: Positive.
        out: Contiguous INT8 array of that shape to write to.

    Returns:
        The codes; ``out`` if it was given.

    Raises:
        ValueError: ``out`` has another shape.
    """
    if out is None:
        out = np.empty(x.shape, np.int8)
    if out.shape != x.shape:
        raise ValueError(f"shapes differ: {x.shape} and {out.shape}")
    floats, codes = x.reshape(-1), out.reshape(-1)
    scratch = np.empty(min(x.size, _PIECE), np.float32)
    # NaN has no code, in ONNX neither.
    with np.errstate(invalid="ignore"):
        for start in range(0, x.size, _PIECE):
            piece = floats[start : start + _PIECE]
            steps = scratch[: len(piece)]
            np.divide(piece, np.float32(scale), out=steps, dtype=np.float32)
            np.rint(steps, out=steps)
            np.clip(steps, -128, 127, out=codes[start : start + _PIECE], casting="unsafe")
    return out
