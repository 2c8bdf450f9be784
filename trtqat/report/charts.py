"""Charts of lines, as SVG: no script, no network, sharp on paper.

What is where is computed here, in the units of the ``viewBox``. ``lines.html.jinja`` draws it, and
colours come from ``page.css``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from trtqat.report.axes import Axis, linear, logarithmic
from trtqat.report.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

# Small, so that letters are large enough where a telephone shows it.
_WIDTH, _HEIGHT = 440, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 14, 10, 40
# How many of them page.css has.
_COLOURS = 5


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
        x: What the horizontal axis shows; each of its values is marked.
        y: What the vertical axis shows.
    """
    xs, ys = zip(*itertools.chain.from_iterable(points.values()), strict=True)
    across = logarithmic(x, min(xs), max(xs), _LEFT, _WIDTH - _RIGHT, marked=sorted(set(xs)))
    up = logarithmic(y, min(ys), max(ys), _HEIGHT - _BOTTOM, _TOP)
    return _lines(points, across, up, with_points=True)


def _across(name: str, low: float, high: float) -> Axis:
    return linear(name, low, high, _LEFT, _WIDTH - _RIGHT)


def _up(name: str, low: float, high: float) -> Axis:
    return linear(name, low, high, _HEIGHT - _BOTTOM, _TOP, to_marks=True)


def _lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x: Axis,
    y: Axis,
    *,
    with_points: bool = False,
) -> Markup:
    placed = {name: [(x.at(a), y.at(b)) for a, b in points] for name, points in series.items()}
    return render(
        "lines.html.jinja",
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
