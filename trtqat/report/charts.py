"""Charts as SVG that follows the page's colours: no script, no network, sharp on paper."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from trtqat.text import escape

_WIDTH, _HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 12, 40
# Of a palette that people with colour-blindness tell apart (Okabe and Ito); also dashed apart.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


def distribution(quantiles_ms: Mapping[str, Sequence[float]]) -> str:
    """Cumulative distribution of times.

    Args:
        quantiles_ms: By series, its quantiles in equal steps from the minimum to the maximum.
    """
    low, high = _limits(quantiles_ms)
    series = {
        name: [(time_ms, 100 * i / (len(values) - 1)) for i, time_ms in enumerate(values)]
        for name, values in quantiles_ms.items()
    }
    return _lines(series, (low, high), (0, 100), "ms", "% of queries")


def histogram(quantiles_ms: Mapping[str, Sequence[float]], *, bins: int = 40) -> str:
    """Density of times, from the same quantiles.

    Args:
        quantiles_ms: See ``distribution``.
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
    return _lines(series, (low, high), (0, top), "ms", "% of queries")


def curve(points: Mapping[str, Sequence[tuple[float, float]]], x: str, y: str) -> str:
    """Lines through points, both axes logarithmic.

    Args:
        points: By series, positive coordinates.
        x: What the horizontal axis shows.
        y: What the vertical axis shows.
    """
    every = [point for each in points.values() for point in each]
    logged = {
        name: [(math.log10(a), math.log10(b)) for a, b in each] for name, each in points.items()
    }
    xs, ys = [math.log10(a) for a, _ in every], [math.log10(b) for _, b in every]
    return _lines(
        logged,
        (min(xs), max(xs)),
        (min(ys), max(ys)),
        x,
        y,
        is_logarithmic=True,
        x_ticks=sorted(set(xs)),
    )


def bars(
    values: Mapping[str, float],
    unit: str,
    *,
    notes: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
) -> str:
    """Horizontal bars with their values.

    Args:
        values: By label, not negative; infinity fills the width.
        unit: Behind each value.
        notes: Words behind the value, by label.
        groups: Group of each label: bars of one group have one colour.
    """
    order = list(dict.fromkeys((groups or {}).values()))
    row, left = 18, 220
    finite = [value for value in values.values() if math.isfinite(value)]
    longest = max(finite, default=1.0) or 1.0
    parts = []
    for index, (label, value) in enumerate(values.items()):
        top = index * row
        width = 260 * (min(value / longest, 1.0) if math.isfinite(value) else 1.0)
        shown = f"{value:.3g} {unit}" if math.isfinite(value) else f"{value} {unit}"
        note = (notes or {}).get(label, "")
        colour = _COLOURS[order.index((groups or {})[label]) % 4 if order else 0]
        parts.append(
            f'<text x="{left - 6}" y="{top + 13}" text-anchor="end">{escape(label[-32:])}</text>'
            f'<rect x="{left}" y="{top + 3}" width="{max(width, 0.5):.1f}" height="{row - 6}" '
            f'fill="{colour}"/>'
            f'<text x="{left + width + 6:.1f}" y="{top + 13}">{escape(f"{shown} {note}".strip())}'
            "</text>"
        )
    height = row * len(values)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">{"".join(parts)}</svg>'


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


def _lines(
    series: Mapping[str, Sequence[tuple[float, float]]],
    x_range: tuple[float, float],
    y_range: tuple[float, float],
    x_label: str,
    y_label: str,
    *,
    is_logarithmic: bool = False,
    x_ticks: Sequence[float] = (),
) -> str:
    x_low, x_high = _widened(x_range)
    y_low, y_high = _widened(y_range)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (min(max(x, x_low), x_high) - x_low) / (x_high - x_low)
        up = (min(max(y, y_low), y_high) - y_low) / (y_high - y_low)
        return (
            _LEFT + across * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    def shown(value: float) -> str:
        return _number(10**value if is_logarithmic else value)

    parts = []
    for x in x_ticks or [x_low + (x_high - x_low) * step / 4 for step in range(5)]:
        at, _ = place(x, y_low)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" '
            f'y2="{_HEIGHT - _BOTTOM}"/>'
            f'<text x="{at:.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="middle">'
            f"{shown(x)}</text>"
        )
    for y in [y_low + (y_high - y_low) * step / 4 for step in range(5)]:
        _, height = place(x_low, y)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" '
            f'y2="{height:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{shown(y)}</text>'
        )
    for index, (name, points) in enumerate(series.items()):
        colour, dash = _COLOURS[index % 4], _DASHES[index % 4]
        placed = [place(*point) for point in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/>'
        )
        if x_ticks:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed
            ]
        left = _LEFT + 8 + index * 250
        parts.append(
            f'<line x1="{left}" x2="{left + 24}" y1="{_HEIGHT - 6}" y2="{_HEIGHT - 6}" '
            f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
            f'<text x="{left + 30}" y="{_HEIGHT - 2}">{escape(name[:34])}</text>'
        )
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 2}" text-anchor="end">{escape(x_label)}</text>'
        f'<text transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _widened(limits: tuple[float, float]) -> tuple[float, float]:
    low, high = limits
    return (low, high) if high > low else (low - 0.5, high + 0.5)
