"""Intervals over samples, and pairing, against resamples that are written out."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.evaluation.metrics.bootstrap import resample
from trtqat.evaluation.metrics.classification import TopK
from trtqat.evaluation.metrics.metric import joined
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


@given(st.integers(5, 60), st.integers(0, 9))
def test_differences_are_paired_by_sample(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    one, other = random.normal(size=(2, count, 3))
    metric = TopK()
    mine, theirs = resample(metric, [metric.per_sample({"y": x}, labels) for x in (one, other)])
    # The metric of one minus the other, sample by sample, is a mean itself.
    apart = (one.argmax(1) == labels).astype(float) - (other.argmax(1) == labels)
    each = sorted(100 * apart[draws(count)].mean(axis=1))
    found = mine.less(theirs)
    assert found.value == pytest.approx(100 * apart.mean())
    assert found.low == pytest.approx(each[24])
    assert found.high == pytest.approx(each[975])
    same = mine.less(mine)
    assert (same.value, same.low, same.high) == (0, 0, 0)


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
