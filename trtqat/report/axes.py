"""The axes of a chart: where values are, and which round numbers are marked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Steps between marks are these, times a power of ten.
_ROUND = (1.0, 2.0, 2.5, 5.0, 10.0)
# About so many marks.
_MARKS = 5
_MOST_DECIMALS = 30
_MANY_DECIMALS = 9
_SAME = 1e-9
# So wide a range of a logarithmic axis, in powers of ten, has marks at these.
_OF_EACH_DECADE = ((1.0, (1, 2, 5)), (2.5, (1, 3)), (math.inf, (1,)))


@dataclass(frozen=True)
class Axis:
    """One axis, and where its values are.

    Attributes:
        name: What it shows.
        low: Its first value.
        high: Its last value, above the first.
        start: Where the first value is.
        end: Where the last one is.
        is_logarithmic: Whether equal ratios are equally far apart; its values are positive.
        marked: Values with a line of the grid.
        decimals: Of the labels of these, so that they differ; None for three digits.
    """

    name: str
    low: float
    high: float
    start: float
    end: float
    is_logarithmic: bool = False
    marked: Sequence[float] = ()
    decimals: int | None = None

    def at(self, value: float) -> float:
        """Where a value is; one outside of the axis is at its nearer end."""
        value = min(max(value, self.low), self.high)
        if self.is_logarithmic:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Place and label of each line of the grid."""
        if self.decimals is None:
            return [(self.at(each), number(each)) for each in self.marked]
        form = f",.{self.decimals}f"
        if self.decimals > _MANY_DECIMALS:
            # As many digits, without the zeros in front.
            largest = max(map(abs, self.marked))
            form = f".{max(1, self.decimals + 1 + math.floor(math.log10(largest)))}g"
        return [(self.at(each), f"{each or 0.0:{form}}") for each in self.marked]


def linear(
    name: str, low: float, high: float, start: float, end: float, *, to_marks: bool = False
) -> Axis:
    """An axis with marks at round numbers.

    Args:
        name: What it shows.
        low: The least value.
        high: The largest one.
        start: Where the axis begins.
        end: Where it ends.
        to_marks: Whether it is widened to the next marks.
    """
    # Values that only rounding tells apart are one.
    if not high - low > _SAME * max(abs(low), abs(high)):
        # Beside 1e16 a half is nothing.
        wide = max(0.5, 1e-6 * abs(low))
        low, high = low - wide, high + wide
    step = _round_step(low, high)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    marked = [index * step for index in range(first, last + 1)]
    if to_marks:
        low, high = marked[0], marked[-1]
    marked = [each for each in marked if low - 1e-9 * step <= each <= high + 1e-9 * step]
    return Axis(name, low, high, start, end, marked=marked, decimals=_decimals(step))


def logarithmic(
    name: str,
    low: float,
    high: float,
    start: float,
    end: float,
    *,
    marked: Sequence[float] = (),
) -> Axis:
    """An axis on which equal ratios are equally far apart, with marks at round numbers.

    Args:
        name: What it shows.
        low: The least value, positive.
        high: The largest one.
        start: Where the axis begins.
        end: Where it ends.
        marked: Values to mark instead; else the axis is widened to the next marks.
    """
    if marked:
        if not high > low:
            low, high = low / 2, high * 2
        return Axis(name, low, high, start, end, is_logarithmic=True, marked=marked)
    decades = math.log10(high / low)
    of_each = next(each for most, each in _OF_EACH_DECADE if decades <= most)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    candidates = [factor * 10.0**power for power in powers for factor in of_each]
    low = max(each for each in candidates if each <= low * (1 + 1e-9))
    # One value alone still has an axis.
    high = min(each for each in candidates if each >= high * (1 - 1e-9) and each > low)
    marked = [each for each in candidates if low <= each <= high]
    return Axis(name, low, high, start, end, is_logarithmic=True, marked=marked)


def number(value: float) -> str:
    """A value of an axis: three digits, thousands parted by commas."""
    value = value or 0.0
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _decimals(step: float) -> int:
    """The fewest with which a step is written whole."""
    return next(
        count
        for count in range(_MOST_DECIMALS + 1)
        if abs(round(step, count) - step) < 1e-6 * step or count == _MOST_DECIMALS
    )


def _round_step(low: float, high: float) -> float:
    raw = (high - low) / _MARKS
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in _ROUND if factor * power >= raw * (1 - 1e-9))
