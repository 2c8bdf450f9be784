"""Charts as SVG: no script, no network, sharp on paper.

What is where on a chart is computed here, in the units of its ``viewBox``. The templates
``lines.svg.jinja`` and ``bars.svg.jinja`` draw it, and colours come from ``page.css``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.report.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 14, 12, 42
# Where bars begin, how long the longest is, and from one to the next.
_BAR_LEFT, _BAR_LENGTH, _BAR_ROW = 220, 260, 18
# How many of them page.css has.
_COLOURS = 4


def distribution(quantiles_ms: Mapping[str, Sequence[float]]) -> Markup:
    """Cumulative distribution of times.

    Args:
        quantiles_ms: By series, its quantiles in equal steps from the minimum to the maximum.
    """
    low, high = _limits(quantiles_ms)
    series = {
        name: [(time_ms, 100 * i / (len(values) - 1)) for i, time_ms in enumerate(values)]
        for name, values in quantiles_ms.items()
    }
    return _lines(series, _across("ms", low, high), _up("% of queries", 0, 100))


def histogram(quantiles_ms: Mapping[str, Sequence[float]], *, bins: int = 40) -> Markup:
    """Density of times.

    Args:
        quantiles_ms: By series, its quantiles in equal steps from the minimum to the maximum.
        bins: How many columns.
    """
    low, high = _limits(quantiles_ms)
    edges = [low + (high - low) * i / bins for i in range(bins + 1)]
    shares = {
        name: [
            100 * (_share_below(values, right) - _share_below(values, left))
            for left, right in itertools.pairwise(edges)
        ]
        for name, values in quantiles_ms.items()
    }
    top = max(max(each) for each in shares.values()) or 1.0
    series = {}
    for name, heights in shares.items():
        steps = [(low, 0.0)]
        for (left, right), height in zip(itertools.pairwise(edges), heights, strict=True):
            steps += [(left, height), (right, height)]
        series[name] = [*steps, (high, 0.0)]
    return _lines(series, _across("ms", low, high), _up("% of queries", 0, top))


def curve(points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> Markup:
    """Lines through points, both axes logarithmic.

    Args:
        points: By series, positive coordinates.
        x: What the horizontal axis shows.
        y: What the vertical axis shows.
    """
    logged = {
        name: [(math.log10(a), math.log10(b)) for a, b in each] for name, each in points.items()
    }
    xs, ys = zip(*itertools.chain.from_iterable(logged.values()), strict=True)
    return _lines(
        logged,
        _across(x, min(xs), max(xs), is_logarithmic=True, marked=sorted(set(xs))),
        _up(y, min(ys), max(ys), is_logarithmic=True),
        with_points=True,
    )


def bars(
    values: Mapping[str, float],
    unit: str,
    *,
    notes: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> Markup:
    """Horizontal bars with their values.

    Args:
        values: By label, not negative; infinity fills the width.
        unit: Behind each value.
        notes: Words behind the value, by label.
        groups: Group of each label: bars of one group have one colour.
    """
    notes, groups = notes or {}, groups or {}
    order = list(dict.fromkeys(groups.values()))
    longest = max(filter(math.isfinite, values.values()), default=1.0) or 1.0
    drawn = []
    for label, value in values.items():
        figure = f"{value:.3g}" if math.isfinite(value) else f"{value}"
        drawn.append(
            _Bar(
                label,
                _BAR_LENGTH * min(value / longest, 1.0),
                f"{figure} {unit} {notes.get(label, '')}".strip(),
                order.index(groups[label]) % _COLOURS if order else 0,
            )
        )
    return render("bars.svg.jinja", bars=drawn, width=_WIDTH, left=_BAR_LEFT, row=_BAR_ROW)


@dataclass(frozen=True)
class _Bar:
    """One bar; ``series`` is the number of its colour."""

    label: str
    length: float
    words: str
    series: int


@dataclass(frozen=True)
class _Axis:
    """One axis, and where its values are.

    Attributes:
        name: What it shows.
        low: Its first value.
        high: Its last value, above the first.
        start: Where the first value is.
        end: Where the last one is.
        is_logarithmic: Whether values are logarithms (to the base of 10) of what is written.
        marked: Values with a line of the grid; five in equal steps if there are none.
    """

    name: str
    low: float
    high: float
    start: int
    end: int
    is_logarithmic: bool = False
    marked: Sequence[float] = ()

    def at(self, value: float) -> float:
        """Where a value is; one outside of the axis is at its nearer end."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Place and label of each line of the grid."""
        steps = [self.low + (self.high - self.low) * step / 4 for step in range(5)]
        return [
            (self.at(each), _number(10**each if self.is_logarithmic else each))
            for each in self.marked or steps
        ]


def _across(
    name: str,
    low: float,
    high: float,
    *,
    is_logarithmic: bool = False,
    marked: Sequence[float] = (),
) -> _Axis:
    low, high = _widened(low, high)
    return _Axis(name, low, high, _LEFT, _WIDTH - _RIGHT, is_logarithmic, marked)


def _up(name: str, low: float, high: float, *, is_logarithmic: bool = False) -> _Axis:
    low, high = _widened(low, high)
    return _Axis(name, low, high, _HEIGHT - _BOTTOM, _TOP, is_logarithmic)


def _widened(low: float, high: float) -> tuple[float, float]:
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x: _Axis,
    y: _Axis,
    *,
    with_points: bool = False,
) -> Markup:
    placed = {name: [(x.at(a), y.at(b)) for a, b in points] for name, points in series.items()}
    return render(
        "lines.svg.jinja",
        series=placed,
        x=x,
        y=y,
        with_points=with_points,
        width=_WIDTH,
        height=_HEIGHT,
        colours=_COLOURS,
    )


def _limits(quantiles_ms: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """From the least to 99 %: the rest would push everything else into a corner."""
    low = min(values[0] for values in quantiles_ms.values())
    high = max(values[round(0.99 * (len(values) - 1))] for values in quantiles_ms.values())
    return low, max(high, low * 1.001)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _share_below(quantiles: Sequence[float], value: float) -> float:
    """Share of the times up to a value, linear between quantiles."""
    last = len(quantiles) - 1
    if value >= quantiles[-1]:
        return 1.0
    if value <= quantiles[0]:
        return 0.0
    upper = next(i for i, each in enumerate(quantiles) if each > value)
    low, high = quantiles[upper - 1], quantiles[upper]
    return (upper - 1 + (value - low) / (high - low)) / last
