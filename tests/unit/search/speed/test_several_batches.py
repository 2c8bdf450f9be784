"""Several batches as one figure: means, weights that add up, and intervals."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.evaluation.intervals import Interval, Ratio
from trtqat.search.speed.several_batches import inverse, mean_ratio, mean_regions, mean_time

times = st.floats(0.01, 100.0)


def ratio(value: float, half: float) -> Ratio:
    return Ratio(value, Interval(value * (1 - half), value * (1 + half)), 9)


def test_one_batch_is_itself() -> None:
    assert mean_time({8: 0.1}) == 0.1
    assert mean_regions({8: {0: 0.1, 2: 0.3}}, {8: 0.4}) == pytest.approx({0: 0.1, 2: 0.3})
    found = ratio(1.3, 0.01)
    assert mean_ratio({8: found}) is found


def test_a_batch_counts_by_its_ratio_not_by_its_time() -> None:
    slower, faster = mean_time({1: 1.0, 32: 100.0}), mean_time({1: 0.9, 32: 110.0})
    assert faster < slower
    assert mean_ratio({1: ratio(1 / 0.9, 0.01), 32: ratio(1 / 1.1, 0.01)}).value > 1


@given(st.dictionaries(st.integers(1, 64), times, min_size=1, max_size=4))
def test_regions_of_the_reference_add_up_to_its_mean_time(reference: dict[int, float]) -> None:
    halves = {batch: {0: 0.25 * time, 1: 0.75 * time} for batch, time in reference.items()}
    found = mean_regions(halves, reference)
    assert sum(found.values()) == pytest.approx(mean_time(reference))
    assert found[1] == pytest.approx(3 * found[0])


def test_what_one_batch_does_not_tell_is_not_told() -> None:
    assert set(mean_regions({1: {0: 0.1, 1: 0.2}, 32: {1: 2.0}}, {1: 1.0, 32: 9.0})) == {1}
    assert mean_regions({}, {1: 1.0}) == {}


def test_the_interval_of_several_is_that_of_independent_logarithms() -> None:
    found = mean_ratio({1: ratio(2.0, 0.1), 32: ratio(0.5, 0.1)})
    assert found.value == pytest.approx(1.0)
    # Of two equal ones it is narrower by the square root of two.
    assert math.log(found.interval.high) == pytest.approx(math.log(1.1) / math.sqrt(2))
    assert math.log(found.interval.low) == pytest.approx(math.log(0.9) / math.sqrt(2))


@given(times, times, st.floats(0, 0.2))
def test_the_inverse_is_of_all_at_once(one: float, other: float, half: float) -> None:
    ratios = {1: ratio(one, half), 32: ratio(other, half)}
    there = inverse(mean_ratio(ratios))
    back = mean_ratio({batch: inverse(each) for batch, each in ratios.items()})
    assert there.value == pytest.approx(back.value)
    assert there.interval.low == pytest.approx(back.interval.low)
    assert there.interval.high == pytest.approx(back.interval.high)
