"""Numbers of a form whose codes are the host's whatever an engine rounds to FP16.

FP16 has 11 bits. ``a·p + b`` of a byte is off by up to a 16th of a code in it, and so becomes a
neighbouring code now and then. Whole numbers up to 2048 are exact in it, so a code is put together
of whole numbers, of which one alone is rounded from what FP16 does not hold::

    q    = p - 128
    part = high·q
    code = times·q + Round(part) + Round(low·q + shift + (part - Round(part))) + whole

``times + high + low`` is the slope: a whole number, four bits of what is left, and the rest. A byte
less 128 has seven bits, so all is exact but ``low·q + shift``, which is small enough to be rounded
to some 2000th of a code. Every byte has to keep more than that from the borders. Sums may be added
in any order, and what is too small to have all of FP16's bits may become 0. A product may not be
multiplied out: ``high·p`` has a bit more than FP16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.graph.pixels.fit import Wanted, borders
from trtqat.tensors import BYTES

# What is taken from a byte, so that seven bits and a sign are left.
MIDDLE = 128
# Of the numbers that stand beside a byte's seven: together they have the eleven of FP16.
_BITS = 4
# Up to this every whole number is one of FP16.
_WHOLE = 2048.0
# The smallest number that has all of FP16's bits; an engine may take smaller ones for 0.
_SMALLEST = 2.0**-14
# Between these a code times its scale has all of FP16's bits, and is finite.
_SMALLEST_SCALE, _LARGEST_SCALE = 2.0**-13, 2.0**4
# How many neighbours of the slope's rest are tried, on each side, and the least distance of them.
_SEARCHED, _LEAST_STEP = 24, 2.0**-17

_Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class HalfLine:
    """Of one channel, by the names of the module's formula; each is a number of FP16.

    Attributes:
        times: Whole codes a byte.
        high: Of the rest the first four bits.
        low: What is left of the slope.
        shift: Codes, at most a half.
        whole: Whole codes.
    """

    times: float
    high: float
    low: float
    shift: float
    whole: float


def fit_half(wanted: Wanted) -> tuple[HalfLine, ...] | None:
    """Finds the numbers of each channel.

    Args:
        wanted: Of a quantized input.

    Returns:
        A line for each channel; None where one has none that keeps its distance, or where FP16
        does not hold what is to be handed on.
    """
    assert wanted.scale is not None
    step = float(np.float32(wanted.scale))
    if not _SMALLEST_SCALE <= step <= _LARGEST_SCALE:
        return None
    lines = []
    for values, codes in zip(wanted.values.astype(np.float64), wanted.codes, strict=True):
        slope = float(values[-1] - values[0]) / (BYTES - 1) / step
        line = _line(slope, codes.astype(np.float64))
        if line is None:
            return None
        lines.append(line)
    return tuple(lines)


def _line(slope: float, codes: _Doubles) -> HalfLine | None:
    """The line whose byte that is nearest to a border is farthest from it."""
    q = np.arange(BYTES, dtype=np.float64) - MIDDLE
    times = float(np.rint(slope))
    high = _first_bits(slope - times)
    first, left = np.rint(high * q), high * q - np.rint(high * q)
    below, above = (each - times * q - first - left for each in borders(codes))
    # A row for each line that is tried.
    lows = _near(slope - times - high)
    products = lows[:, None] * q
    lowest, highest = (below - products).max(axis=1), (above - products).min(axis=1)
    middles = (lowest + highest) / 2
    is_line = (lowest < highest) & np.isfinite(middles)
    lows, products, middles = lows[is_line], products[is_line], middles[is_line]
    wholes = np.rint(middles)
    shifts = _halves(middles - wholes)
    rounded = products + shifts[:, None]
    values = rounded + wholes[:, None]
    kept = np.minimum(values - below, above - values) - _room(products, shifts[:, None], left)
    largest = np.abs(times * q).max() + np.abs(first).max() + np.abs(rounded).max(axis=1)
    least = np.where(largest + np.abs(wholes) < _WHOLE, kept.min(axis=1), 0)
    if not (least > 0).any():
        return None
    best = least.argmax()
    return HalfLine(times, high, *(float(each[best]) for each in (lows, shifts, wholes)))


def _halves(numbers: _Doubles) -> _Doubles:
    """The nearest numbers that have all of FP16's bits, or 0."""
    small = np.rint(numbers / _SMALLEST) * _SMALLEST
    return np.where(np.abs(numbers) < _SMALLEST, small, numbers.astype(np.float16))


def _first_bits(number: float) -> float:
    """The number with so many bits as may stand beside a byte's."""
    if abs(number) < _SMALLEST:
        return 0.0
    unit = 2.0 ** (np.floor(np.log2(abs(number))) - _BITS + 1)
    return float(np.rint(number / unit) * unit)


def _near(number: float) -> _Doubles:
    """Numbers of FP16 around it."""
    step = max(float(np.spacing(np.float16(abs(number)))), _LEAST_STEP)
    steps = np.arange(-_SEARCHED, _SEARCHED + 1, dtype=np.float64)
    return _halves(number + steps * step)


def _room(products: _Doubles, shifts: _Doubles, left: _Doubles) -> _Doubles:
    """How far FP16 may be off: the product, and the two sums with ``shift`` and with what is left.

    An engine that rounds less, as to FP32 or once for a product and a sum, is nearer.
    """
    terms = np.abs(np.stack(np.broadcast_arrays(products, shifts, left)))
    # Whichever two of them an engine adds first.
    most = np.stack([terms[0], terms.sum(axis=0) - terms.min(axis=0), terms.sum(axis=0)])
    # By the next number, as what is rounded may lie a bit higher.
    halves = np.spacing((most * 1.001).astype(np.float16)).astype(np.float64) / 2
    # Two that cancel each other may leave less than FP16 holds in full.
    room: _Doubles = halves.sum(axis=0) + _SMALLEST
    return room
