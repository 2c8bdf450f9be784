"""Numbers of a form whose codes are the host's whatever an engine rounds to FP16.

FP16 has 11 bits. ``a·p + b`` of a byte is off by up to a 16th of a code in it, and so becomes a
neighbouring code now and then. Whole numbers up to 2048 are exact in it, so a code is put together
of whole numbers, of which one alone is rounded from what FP16 does not hold::

    q    = p - 128
    part = high·q + base
    code = Round(part) + Round(low·q + shift + (part - Round(part)))  [+ times·q]  [+ whole]

``high`` has four bits, and a byte less 128 has seven, so that all is exact but ``low·q + shift``,
which is small enough to be rounded to some 1000th of a code. Every byte has to keep more than that
from the borders. Sums may be added in any order, and what is too small to have all of FP16's bits
may become 0. A product may not be multiplied out: ``high·p`` has a bit more than FP16.

What stands in brackets is left out where it can be, as each node takes time: 0.4 us for 32 images
of 224 x 224 on an H200 (by hand: scripts/results/pixels-by-hand.txt). ``times``, a whole number, is
the larger part of a slope of which four bits would leave too much, and ``whole`` is what ``base``
has no room for.
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
        times: Whole codes a byte; 0 where ``high`` and ``low`` are the slope.
        high: Of the rest the first four bits.
        base: Codes, in steps of the last bit of ``high``.
        low: What is left of the slope.
        shift: Codes, at most half a step of ``base``.
        whole: Whole codes; 0 where ``base`` holds them.
    """

    times: float
    high: float
    base: float
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
        whole_slopes = dict.fromkeys((0.0, float(np.rint(slope))))
        found = (_line(slope, times, codes.astype(np.float64)) for times in whole_slopes)
        line = next((each for each in found if each is not None), None)
        if line is None:
            return None
        lines.append(line)
    return tuple(lines)


def _line(slope: float, times: float, codes: _Doubles) -> HalfLine | None:
    """The line whose byte that is nearest to a border is farthest from it."""
    q = np.arange(BYTES, dtype=np.float64) - MIDDLE
    high, unit = _first_bits(slope - times)
    below, above = (each - (times + high) * q for each in borders(codes))
    # A row for each line that is tried.
    lows = _near(slope - times - high)
    products = lows[:, None] * q
    lowest, highest = (below - products).max(axis=1), (above - products).min(axis=1)
    middles = (lowest + highest) / 2
    is_line = (lowest < highest) & np.isfinite(middles)
    lows, middles, products = lows[is_line], middles[is_line], products[is_line]
    if not len(lows):
        return None
    found = np.array([_base_and_whole(float(each), high * q, unit) for each in middles])
    bases, wholes = found.T[..., None]
    shifts = _halves(middles[:, None] - bases - wholes)
    parts = high * q + bases
    firsts = np.rint(parts)
    rests = products + shifts
    values = rests + bases + wholes
    kept = np.minimum(values - below, above - values) - _room(products, shifts, parts - firsts)
    terms = (times * q, firsts, rests, wholes)
    largest = sum(np.abs(each).max(axis=-1) for each in terms) + 1
    least = np.where(largest < _WHOLE, kept.min(axis=1), 0)
    best = int(least.argmax())
    if least[best] <= 0:
        return None
    base, whole, shift = (float(each[best, 0]) for each in (bases, wholes, shifts))
    return HalfLine(times, high, base, float(lows[best]), shift, whole)


def _base_and_whole(number: float, products: _Doubles, unit: float) -> tuple[float, float]:
    """What of a number is added to products, both steps of a unit, and what to whole codes."""
    nearest = float(np.rint(number))
    for whole in (0.0, nearest):
        base = float(np.rint((number - whole) / unit) * unit)
        if _are_exact(np.append(products + base, base)):
            return base, whole
    return 0.0, nearest


def _are_exact(numbers: _Doubles) -> bool:
    """Whether FP16 holds them as they are."""
    with np.errstate(over="ignore"):
        return bool((numbers == numbers.astype(np.float16)).all())


def _halves(numbers: _Doubles | float) -> _Doubles:
    """The nearest numbers that have all of FP16's bits, or 0."""
    small = np.rint(numbers / _SMALLEST) * _SMALLEST
    return np.where(np.abs(numbers) < _SMALLEST, small, np.asarray(numbers).astype(np.float16))


def _first_bits(number: float) -> tuple[float, float]:
    """The number with so many bits as may stand beside a byte's, and what its last bit is worth."""
    unit = _SMALLEST
    if abs(number) >= _SMALLEST:
        unit = max(unit, 2.0 ** (np.floor(np.log2(abs(number))) - _BITS + 1))
    return float(np.rint(number / unit) * unit), float(unit)


def _near(number: float) -> _Doubles:
    """Numbers of FP16 around it."""
    step = max(float(np.spacing(np.float16(abs(number)))), _LEAST_STEP)
    steps = np.arange(-_SEARCHED, _SEARCHED + 1, dtype=np.float64)
    return _halves(number + steps * step)


def _room(products: _Doubles, shift: _Doubles, left: _Doubles) -> _Doubles:
    """How far FP16 may be off: the product, and the two sums with ``shift`` and with what is left.

    An engine that rounds less, as to FP32 or once for a product and a sum, is nearer.
    """
    terms = np.abs(np.stack(np.broadcast_arrays(products, shift, left)))
    # Whichever two of them an engine adds first.
    most = np.stack([terms[0], terms.sum(axis=0) - terms.min(axis=0), terms.sum(axis=0)])
    # By the next number, as what is rounded may lie a bit higher.
    halves = np.spacing((most * 1.001).astype(np.float16)).astype(np.float64) / 2
    # Two that cancel each other may leave less than FP16 holds in full.
    room: _Doubles = halves.sum(axis=0) + _SMALLEST
    return room
