"""Bars and dots with their words, as HTML: names are whole on every width, and break where needed.

Lengths and places are percent of a track, computed here. ``bars.html.jinja`` writes them, and
``page.css`` has their colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trtqat.report.axes import linear
from trtqat.report.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup

    from trtqat.evaluation.intervals import Interval

# How many colours page.css has for groups.
_COLOURS = 5


@dataclass(frozen=True)
class Bar:
    """A value with its words.

    Attributes:
        label: Whose value it is.
        value: Of a bar nothing is seen below 0.
        words: The value as it is read, with its unit.
        kind: A class of ``page.css``: ``subject``, ``baseline``, ``rival`` or ``step``.
        interval: In which the value is, if that is known.
    """

    label: str
    value: float
    words: str
    kind: str = ""
    interval: Interval | None = None


@dataclass(frozen=True)
class _Drawn:
    """One row, its places in percent of the track."""

    label: str
    words: str
    kind: str
    length: float | None = None
    dot: float | None = None
    whisker: tuple[float, float] | None = None


def bars(values: Sequence[Bar]) -> Markup:
    """Bars from 0 on, the longest as long as the track.

    Args:
        values: Infinity fills the track; NaN and what is below 0 have no bar.
    """
    ends = [each.interval.high if each.interval else each.value for each in values]
    longest = max((each for each in ends if 0 < each < math.inf), default=1.0)

    def place(value: float) -> float:
        return 0.0 if math.isnan(value) else 100 * min(max(value / longest, 0.0), 1.0)

    drawn = []
    for each in values:
        whisker = None
        if each.interval is not None:
            low, high = place(each.interval.low), place(each.interval.high)
            whisker = (low, high - low)
        length = place(each.value)
        drawn.append(_Drawn(each.label, each.words, each.kind, length=length, whisker=whisker))
    return render("bars.html.jinja", bars=drawn, marks=[])


def dots(values: Sequence[Bar]) -> Markup:
    """Dots with their intervals, on one axis that need not begin at 0.

    Args:
        values: All finite.
    """
    ends = [each.value for each in values]
    for each in values:
        ends += [each.interval.low, each.interval.high] if each.interval else []
    axis = linear("", min(ends), max(ends), 0, 100, to_marks=True)
    drawn = []
    for each in values:
        whisker = None
        if each.interval is not None:
            low, high = axis.at(each.interval.low), axis.at(each.interval.high)
            whisker = (low, high - low)
        dot = axis.at(each.value)
        drawn.append(_Drawn(each.label, each.words, each.kind, dot=dot, whisker=whisker))
    return render("bars.html.jinja", bars=drawn, marks=axis.marks)


def colour_of(group: str, groups: Sequence[str]) -> str:
    """The class of a group's colour.

    Args:
        group: One of them.
        groups: All, in the order of their colours.
    """
    return f"series-{groups.index(group) % _COLOURS}"
