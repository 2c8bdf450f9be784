"""Lines, bars and axes: sound markup inside its frame, round numbers, whole names."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.evaluation.intervals import Interval
from trtqat.report.axes import linear, logarithmic, number
from trtqat.report.bars import Bar, bars, dots
from trtqat.report.charts import curve, distribution, histogram

QUANTILES = st.lists(st.floats(1e-3, 1e4), min_size=2, max_size=50).map(sorted)
# Times in ms to the nanosecond, and percent.
FINITE = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


def drawing(chart: str) -> ET.Element:
    found = ET.fromstring(chart).find("svg")
    assert found is not None
    return found


def lines_of(chart: str) -> list[list[tuple[float, float]]]:
    found = []
    for each in drawing(chart).findall("polyline"):
        points = [point.split(",") for point in each.attrib["points"].split()]
        found.append([(float(x), float(y)) for x, y in points])
    return found


@given(QUANTILES, QUANTILES)
def test_charts_are_sound_svg_inside_their_frame(one: list[float], other: list[float]) -> None:
    for chart in (distribution({"a<b": one, "c": other}), histogram({"a<b": one, "c": other})):
        _, _, width, height = map(float, drawing(chart).attrib["viewBox"].split())
        lines = lines_of(chart)
        assert len(lines) == 2
        for line in lines:
            for x, y in line:
                assert 0 <= x <= width
                assert 0 <= y <= height


def test_the_histogram_shows_where_the_times_are() -> None:
    times = [*np.linspace(1, 2, 100), *np.linspace(9, 10, 101)]
    (line,) = lines_of(histogram({"x": times}, bins=10))
    heights = [y for _, y in line]
    # Two hills at the ends, nothing between them; y grows downwards.
    middle = heights[len(heights) // 2]
    assert min(heights[:4]) < middle
    assert min(heights[-4:]) < middle


def test_a_curve_marks_its_batches_and_round_rates() -> None:
    name = "a model whose name is longer than any legend would be if it were cut somewhere"
    chart = curve({name: [(1, 13), (8, 50), (32, 1900)]}, "batch", "images/s")
    texts = [each.text for each in drawing(chart).findall("text")]
    assert texts[:3] == ["1", "8", "32"]
    assert {"10", "30", "100", "300", "1,000", "3,000"} <= set(texts)
    assert len(drawing(chart).findall("circle")) == 3
    assert name in chart


@pytest.mark.parametrize("points", [[(1.0, 5.0)], [(4.0, 5.0), (8.0, 5.0)]])
def test_a_curve_of_one_value(points: list[tuple[float, float]]) -> None:
    (line,) = lines_of(curve({"a": points}, "batch", "images/s"))
    assert len(line) == len(points)


@given(FINITE, FINITE)
def test_marks_are_round_and_inside(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    for to_marks in (False, True):
        axis = linear("", low, high, 0, 100, to_marks=to_marks)
        assert axis.low < axis.high
        places = [place for place, _ in axis.marks]
        assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
        assert places == sorted(places)
        assert len(places) <= 8
        labels = [label for _, label in axis.marks]
        assert len(set(labels)) == len(labels)
        steps = {f"{b - a:.1e}" for a, b in zip(axis.marked, axis.marked[1:], strict=False)}
        assert all(re.match("(1.0|2.0|2.5|5.0)e", step) for step in steps), steps
        if to_marks:
            # What is nearer than a pixel may lie beyond the last mark.
            pixel = 1e-6 * (axis.high - axis.low)
            assert axis.low <= low + pixel
            assert axis.high >= high - pixel


def test_small_values_are_told_apart() -> None:
    # As mean squared errors are of a model that is nearly exact.
    axis = linear("", 3e-10, 5e-10, 0, 100, to_marks=True)
    assert axis.at(3e-10) == pytest.approx(0)
    assert axis.at(5e-10) == pytest.approx(100)
    assert [label for _, label in axis.marks][::4] == ["3e-10", "5e-10"]
    for low in (1e-9, 1.0):
        labels = [label for _, label in linear("", low, low + 2.2e-9, 0, 100).marks]
        assert len(labels) > 3
        assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("value", [0.0, 99.5, -1e9, 1e16, -1e17, 1e300])
def test_an_axis_of_one_value(value: float) -> None:
    axis = linear("", value, value, 0, 100, to_marks=True)
    assert axis.low < value < axis.high
    assert 40 <= axis.at(value) <= 60
    labels = [label for _, label in axis.marks]
    assert len(set(labels)) == len(labels) >= 3


@given(st.floats(1e-4, 1e7), st.floats(1, 1e6))
def test_logarithmic_marks_hold_the_values(low: float, ratio: float) -> None:
    axis = logarithmic("", low, low * ratio, 100, 0)
    assert axis.low <= low * 1.001
    assert axis.high >= low * ratio * 0.999
    assert 2 <= len(axis.marked) <= 9
    assert all(f"{each:.3e}"[:5] in ("1.000", "2.000", "3.000", "5.000") for each in axis.marked)
    # The ends are where the axis ends.
    assert axis.at(axis.low) == pytest.approx(100)
    assert axis.at(axis.high) == pytest.approx(0)


def test_numbers_of_an_axis() -> None:
    axis = linear("", 99.81, 100, 0, 1, to_marks=True)
    assert [label for _, label in axis.marks] == ["99.80", "99.85", "99.90", "99.95", "100.00"]
    assert [label for _, label in linear("", 0, 5000, 0, 1).marks][-2:] == ["4,000", "5,000"]
    written = [number(each) for each in (0.0, -0.0, 0.715, 12.0, 1234567.0)]
    assert written == ["0", "0", "0.715", "12", "1,234,567"]


def test_bars_have_their_whole_names_and_lengths() -> None:
    name = "/a/very/long/name/of/a/layer/that/no/bar/may/cut/<Conv> + another one fused with it"
    drawn = bars(
        [
            Bar(name, 1.0, "1 dB why", "subject", Interval(0.5, 2.0)),
            Bar("b", math.inf, "inf"),
            Bar("c", math.nan, "no number"),
        ]
    )
    root = ET.fromstring(drawn)
    labels = [each.text for each in root.iter("span") if each.attrib["class"] == "label"]
    assert labels == [name, "b", "c"]
    fills = [each.attrib["style"] for each in root.iter("span") if each.attrib["class"] == "fill"]
    # The interval's end is the longest that is drawn.
    assert fills == ["width: 50.0%", "width: 100.0%", "width: 0.0%"]
    (whisker,) = (each for each in root.iter("span") if each.attrib["class"] == "whisker")
    assert whisker.attrib["style"] == "left: 25.0%; width: 75.0%"
    assert root[0].attrib["class"] == "subject"


@pytest.mark.parametrize(
    ("values", "widths"),
    [
        ((-3.0, -9.0, -math.inf), ("0.0", "0.0", "0.0")),
        ((-3.0, math.nan, 0.0), ("0.0", "0.0", "0.0")),
        ((-3.0, 5.0, math.inf), ("0.0", "100.0", "100.0")),
    ],
)
def test_what_is_below_zero_has_no_bar(values: tuple[float, ...], widths: tuple[str, ...]) -> None:
    """As a signal that is weaker than its noise, in dB."""
    drawn = bars([Bar("a", each, f"{each} dB") for each in values])
    assert tuple(re.findall('class="fill" style="width: ([0-9.]+)%"', drawn)) == widths


@given(st.lists(st.tuples(FINITE, st.floats(0, 100)), min_size=1, max_size=6))
def test_dots_and_whiskers_are_on_the_track(values: list[tuple[float, float]]) -> None:
    drawn = dots(
        [Bar("a", value, "", "", Interval(value - wide, value + wide)) for value, wide in values]
    )
    # The marks stand behind the list.
    styles = re.findall(
        r'class="(dot|whisker)" style="left: ([-0-9.]+)%(?:; width: ([0-9.]+)%)?', drawn
    )
    assert len(styles) == 2 * len(values)
    for kind, left, width in styles:
        assert 0 <= float(left) <= 100
        assert kind == "dot" or 0 <= float(left) + float(width) <= 100.11
    assert drawn.count('class="marks"') == 1
