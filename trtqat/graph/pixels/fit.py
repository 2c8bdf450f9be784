"""Numbers of an affine form whose codes are the host's, whatever an engine rounds on its way.

The host divides, subtracts and divides in float32, and so rounds three times. ``a·p + b`` rounds
elsewhere, and an engine may fuse the two, or multiply by a reciprocal of the quantizer's scale.
What decides is only whether each of the 256 bytes falls between the same two borders of codes. So
``a`` and ``b`` are moved, by far less than a code, until every byte keeps a distance from the
borders that no such rounding crosses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.numerics import quantize
from trtqat.tensors import BYTES

_Doubles = NDArray[np.float64]

# An engine rounds a few times by half a last bit of float32 (2^-24) each: the product, the sum,
# the reciprocal of the scale and the product with it. So many last bits are room for each of them
# several times over.
_ROUNDINGS = 16
_LAST_BIT = 2.0**-24
_LOW, _HIGH = -128, 127
# In steps of the distance that is to be kept.
_SEARCHED = 24


@dataclass(frozen=True, eq=False)
class Wanted:
    """What bytes have to become.

    Attributes:
        values: Float32 ``(C, 256)``: what the host's normalisation makes of each byte.
        scale: Of the quantizer that alone reads the input; None where anything else reads it.
    """

    values: NDArray[np.float32]
    scale: float | None

    @property
    def channels(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def codes(self) -> NDArray[np.int8]:
        """What the host's quantization makes of them, ``(C, 256)``.

        Only of a quantized input.
        """
        assert self.scale is not None
        codes: NDArray[np.int8] = quantize(self.values, self.scale)
        return codes

    def fewest_codes(self) -> int | None:
        """How many codes are made in the channel with the fewest; None without a quantizer."""
        if self.scale is None:
            return None
        return min(len(np.unique(each)) for each in self.codes)

    def near_borders(self) -> int:
        """How many bytes of all channels lie so near a border that a rounding may cross it.

        Where an engine computes the formula as it is, these are the codes that may differ.
        """
        assert self.scale is not None
        values = self.values.astype(np.float64) / float(np.float32(self.scale))
        room = _room(np.abs(values).max(axis=1))[:, None]
        # Beyond the last border of each side all is saturated.
        inside = (values > _LOW) & (values < _HIGH)
        distance = np.abs(np.abs(values - np.floor(values)) - 0.5)
        return int((inside & (distance < room)).sum())


@dataclass(frozen=True, eq=False)
class Affine:
    """``a·(p - offset) + b`` for each channel.

    Attributes:
        a: Float32, shape ``(C,)``.
        b: Float32, shape ``(C,)``.
        offset: What is taken from a byte first; exact.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    offset: int


def fit(wanted: Wanted, offset: int = 0) -> Affine | None:
    """Finds an affine form of the same codes, as near to the host's values as can be.

    Args:
        wanted: Of a quantized input.
        offset: Of the form.

    Returns:
        The numbers; None where no such line passes between the borders with room to spare, as
        where bytes fall on ties of the rounding to even.
    """
    assert wanted.scale is not None
    step = float(np.float32(wanted.scale))
    p = np.arange(BYTES, dtype=np.float64) - offset
    a = np.empty(wanted.channels, np.float32)
    b = np.empty(wanted.channels, np.float32)
    for channel, (values, codes) in enumerate(zip(wanted.values, wanted.codes, strict=True)):
        # The line itself, through its ends: the host's roundings are within.
        ends = values[[0, -1]].astype(np.float64) / step
        lines = _lines(ends, codes.astype(np.float64))
        stored = (_rounded(each, p, step) for each in lines)
        found = next((each for each in stored if _passes(each, p, step, codes)), None)
        if found is None:
            return None
        a[channel], b[channel] = found
    return Affine(a, b, offset)


def _lines(ends: _Doubles, codes: _Doubles) -> _Doubles:
    """Lines by their values at both ends, in codes, the nearest to the host's first."""
    room = 2 * _room(np.abs(ends).max())
    moves = np.arange(-_SEARCHED, _SEARCHED + 1) * room / 2
    first, last = (each.ravel() for each in np.meshgrid(moves, moves))
    part = np.arange(BYTES) / (BYTES - 1)
    line = ends[0] + (ends[1] - ends[0]) * part
    low, high = borders(codes)
    # Bytes that no move brings near a border need not be looked at for each of the moves.
    near = np.minimum(line - low, high - line) < (_SEARCHED + 2) * room
    moved = line[near] + first[:, None] * (1 - part[near]) + last[:, None] * part[near]
    kept = np.minimum(moved - low[near], high[near] - moved).min(axis=1, initial=np.inf) >= room
    order = np.argsort(np.abs(first[kept]) + np.abs(last[kept]), kind="stable")
    return np.stack([ends[0] + first[kept][order], ends[1] + last[kept][order]], axis=1)


def _rounded(ends: _Doubles, p: _Doubles, step: float) -> tuple[np.float32, np.float32]:
    a = (ends[1] - ends[0]) * step / (p[-1] - p[0])
    return np.float32(a), np.float32(ends[0] * step - a * p[0])


def _passes(line: tuple[np.float32, np.float32], p: _Doubles, step: float, codes: object) -> bool:
    """Whether the numbers as they are stored keep their distance from the borders."""
    a, b = map(float, line)
    values = (a * p + b) / step
    low, high = borders(np.asarray(codes, np.float64))
    largest = max(np.abs(a * p).max() / step, abs(b) / step, np.abs(values).max())
    return bool((np.minimum(values - low, high - values) >= _room(largest)).all())


def borders(codes: _Doubles) -> tuple[_Doubles, _Doubles]:
    """Between which values, in codes, each code lies; saturated ones have none beyond.

    Args:
        codes: Whole numbers of any shape, which both of what is returned have.
    """
    low = np.where(codes <= _LOW, -np.inf, codes - 0.5)
    high = np.where(codes >= _HIGH, np.inf, codes + 0.5)
    return low, high


def _room(largest: _Doubles | float) -> _Doubles:
    """How far from a border a value has to stay, in codes.

    Args:
        largest: The largest number that is rounded on the way, in codes.
    """
    return np.asarray(_ROUNDINGS * _LAST_BIT * np.maximum(largest, 1.0))
