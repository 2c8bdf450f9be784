"""Intervals over samples, and pairing, against resamples that are written out."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.evaluation.intervals import paired_interval, paired_p_value
from trtqat.evaluation.metrics.bootstrap import resample
from trtqat.evaluation.metrics.classification import TopK
from trtqat.evaluation.metrics.metric import Metric, PerSample, differing_samples, joined
from trtqat.evaluation.metrics.regression import MeanSquaredError, PeakSignalToNoise
from trtqat.tensors import Array


def top1_of(x: Array, labels: Array, batch: int) -> tuple[float, Array]:
    metric = TopK()
    parts = [
        metric.per_sample({"y": x[at : at + batch]}, labels[at : at + batch])
        for at in range(0, len(x), batch)
    ]
    (found,) = resample(metric, [joined(parts)])
    return found.value, found.values


@cache
def draws(count: int) -> Array:
    """Which samples each resample has, drawn one resample after the other."""
    drawn = np.random.default_rng(0)
    return np.stack([drawn.integers(0, count, count) for _ in range(1000)])


@given(st.integers(2, 40), st.integers(1, 7), st.integers(0, 9))
def test_resamples_are_those_of_samples_drawn(count: int, batch: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x, labels = random.normal(size=(count, 3)), random.integers(0, 3, count)
    value, values = top1_of(x, labels, batch)
    right = x.argmax(axis=1) == labels
    assert value == pytest.approx(100 * right.mean())
    # The same draws, by hand.
    np.testing.assert_allclose(values, 100 * right[draws(count)].mean(axis=1))


@given(st.integers(6, 60), st.integers(0, 9))
def test_differences_are_paired_by_sample(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.normal(size=(count, 1))
    one, other = random.normal(size=(2, count, 1))
    metric = MeanSquaredError()
    mine, theirs = resample(metric, [metric.per_sample({"y": x}, labels) for x in (one, other)])
    # The metric of one minus the other, sample by sample, is a mean itself.
    apart = ((one - labels) ** 2 - (other - labels) ** 2)[:, 0]
    each = sorted(apart[draws(count)].mean(axis=1))
    found = mine.less(theirs)
    assert found.value == pytest.approx(apart.mean())
    assert found.low == pytest.approx(each[24])
    assert found.high == pytest.approx(each[975])
    same = mine.less(mine)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def answered(metric: Metric, right: Array) -> PerSample:
    """What a metric keeps of answers: right ones, and errors of 1, 2 and so on."""
    count = len(right)
    if isinstance(metric, TopK):
        return metric.per_sample({"y": np.eye(2)[1 - right.astype(int)]}, np.zeros(count, int))
    return metric.per_sample(
        {"y": np.arange(count)[:, None] * ~right[:, None]}, np.zeros((count, 1))
    )


@pytest.mark.parametrize("changed", range(13))
def test_a_difference_of_right_answers_is_shown_where_the_exact_test_shows_it(changed: int) -> None:
    metric = TopK()
    for lost in range(changed + 1):
        mine, theirs = np.ones((2, 100), bool)
        mine[:lost], theirs[lost:changed] = False, False
        one, other = resample(metric, [answered(metric, each) for each in (mine, theirs)])
        found = one.less(other)
        assert found.value == pytest.approx(changed - 2 * lost)
        counted = paired_interval(changed - lost, lost, 100)
        assert min(found.low, 0) == pytest.approx(min(100 * counted.low, 0))
        assert max(found.high, 0) == pytest.approx(max(100 * counted.high, 0))
        shows = paired_p_value(lost, changed - lost) < 0.05
        assert (found.low <= 0 <= found.high) != shows


@pytest.mark.parametrize(("changed", "shows"), [(0, False), (5, False), (6, True), (7, True)])
def test_a_few_samples_that_changed_show_nothing(changed: int, shows: bool) -> None:
    metric = MeanSquaredError()
    worse, better = np.ones((2, 1000), bool)
    worse[1 : changed + 1] = False
    one, other = resample(metric, [answered(metric, each) for each in (worse, better)])
    found, back = one.less(other), other.less(one)
    assert (found.low > 0) == shows
    assert (back.high < 0) == shows
    assert found.high >= found.value


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(0, 50))
def test_samples_that_differ_are_those_of_a_loop(lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)

    def drawn() -> list[Array]:
        of_each = [random.choice(lengths) if random.random() < 0.3 else each for each in lengths]
        return [
            random.choice([0.0, 1.0, math.nan], (each, 2), p=[0.8, 0.1, 0.1]) for each in of_each
        ]

    one, other = drawn(), drawn()
    expected = sum(
        not np.array_equal(mine, theirs, equal_nan=True)
        for mine, theirs in zip(one, other, strict=True)
    )
    kept = [
        PerSample(np.concatenate(rows), np.array([len(each) for each in rows], np.int64))
        for rows in (one, other)
    ]
    assert differing_samples(*kept) == expected


def test_an_interval_of_95_percent_holds_what_is_true_about_so_often() -> None:
    random = np.random.default_rng(0)
    metric, held = MeanSquaredError(), 0
    for _ in range(200):
        errors = random.normal(size=(200, 1))
        labels = np.zeros((200, 1))
        (found,) = resample(metric, [metric.per_sample({"y": errors}, labels)])
        estimate = found.estimate()
        held += estimate.low <= 1 <= estimate.high
    assert 0.88 <= held / 200 <= 0.98


def test_what_has_no_value_has_no_interval() -> None:
    metric = PeakSignalToNoise()
    labels = np.zeros((4, 2))
    nan = np.array([[0.0, math.nan], [0, 0], [0, 0], [0, 0]])
    identical, unknown = resample(
        metric, [metric.per_sample({"y": x}, labels) for x in (labels, nan)]
    )
    found = identical.estimate()
    assert (found.value, found.low, found.high) == (math.inf,) * 3
    for estimate in (unknown.estimate(), identical.less(unknown)):
        assert math.isnan(estimate.value)
        assert math.isnan(estimate.low)


def test_two_models_without_any_error_do_not_differ() -> None:
    metric = PeakSignalToNoise()
    labels = np.zeros((4, 2))
    one_off, half_off = labels.copy(), labels.copy()
    one_off[0], half_off[0] = 1.0, 0.5
    exact, off, less_off = resample(
        metric, [metric.per_sample({"y": x}, labels) for x in (labels, one_off, half_off)]
    )
    same = exact.less(exact)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert (exact.less(off).value, off.less(exact).value) == (math.inf, -math.inf)
    # Where the sample that is off is not drawn, both are infinite.
    found = off.less(less_off)
    assert found.value == pytest.approx(-20 * math.log10(2))
    assert found.low == pytest.approx(found.value)
    assert found.high == 0


def test_what_is_infinitely_bad_on_both_sides_may_differ() -> None:
    labels = np.zeros((4, 2))
    for metric in (MeanSquaredError(), PeakSignalToNoise()):
        (found,) = resample(metric, [metric.per_sample({"y": labels + math.inf}, labels)])
        assert math.isinf(found.value)
        assert math.isnan(found.less(found).value)
