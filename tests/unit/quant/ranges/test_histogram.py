from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trtqat.quant.ranges.histogram import BINS_PER_OCTAVE, SAMPLE, MagnitudeHistogram

SMALLEST_NORMAL = 2.0**-126

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
tensors = st.lists(finite, max_size=60).map(torch.tensor)


def histogram(*batches: torch.Tensor) -> MagnitudeHistogram:
    made = MagnitudeHistogram()
    for batch in batches:
        made.add(batch)
    return made


def state(of: MagnitudeHistogram) -> list[Any]:
    bins = of.bins()
    extremes = [of.minimum, of.maximum, of.count, of.not_finite, bins.zeros]
    return [*extremes, bins.edges.tolist(), bins.counts.tolist()]


@given(tensors)
def test_each_value_is_in_the_bin_that_its_magnitude_says(values: torch.Tensor) -> None:
    bins = histogram(values).bins()
    magnitudes = values.double().abs()
    normal = magnitudes[magnitudes > SMALLEST_NORMAL]
    assert bins.zeros == len(values) - len(normal)
    expected = torch.zeros_like(bins.counts)
    # Below the sliver at the end, a bin holds its upper edge.
    expected[: len(bins.counts)] = torch.bincount(
        torch.bucketize(normal, _whole_edges(bins.edges)) - 1, minlength=len(bins.counts)
    )
    if len(expected):
        expected[-1] += expected[-2]
        expected[-2] = 0
    assert torch.equal(bins.counts, expected)


def _whole_edges(edges: torch.Tensor) -> torch.Tensor:
    """Without the edge at which the sliver begins."""
    return torch.cat([edges[:-2], edges[-1:]])


@given(tensors)
def test_edges_are_close_together(values: torch.Tensor) -> None:
    edges = histogram(values).bins().edges[:-2]
    assert (edges.diff() <= edges[:-1] / BINS_PER_OCTAVE).all()
    assert (edges.diff() > 0).all()


@given(tensors, tensors)
def test_of_parts_it_is_that_of_all_values(first: torch.Tensor, second: torch.Tensor) -> None:
    assert state(histogram(first, second)) == state(histogram(torch.cat([first, second])))


@given(tensors, st.integers(-20, 20))
def test_a_power_of_two_moves_the_edges_alone(values: torch.Tensor, exponent: int) -> None:
    values = values.clamp(-1e20, 1e20)
    values = values.where(values.abs() > 1e-20, 0)
    plain, scaled = histogram(values).bins(), histogram(values * 2.0**exponent).bins()
    assert torch.equal(scaled.edges, plain.edges * 2.0**exponent)
    assert torch.equal(scaled.counts, plain.counts)


def test_extremes_keep_their_sign() -> None:
    seen = histogram(torch.tensor([-3.0, 2.0]), torch.tensor([1.0, 2.5]))
    assert (seen.minimum, seen.maximum, seen.largest, seen.count) == (-3.0, 2.5, 3.0, 4)


def test_nothing_seen() -> None:
    seen = histogram(torch.zeros(0, 3))
    assert (seen.minimum, seen.maximum, seen.largest, seen.count) == (math.inf, -math.inf, 0.0, 0)
    assert not len(seen.bins().counts)
    assert not seen.linear(8).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1000, 3 * SAMPLE])
def test_the_dtype_of_the_batch_changes_nothing(dtype: torch.dtype, size: int) -> None:
    values = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert state(histogram(values)) == state(histogram(values.float()))


def test_shape_and_strides_change_nothing() -> None:
    values = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = state(histogram(values))
    assert state(histogram(values.to(memory_format=torch.channels_last))) == expected
    assert state(histogram(values.transpose(1, 3))) == expected


def test_batches_that_need_gradients_are_taken_and_left_as_they_are() -> None:
    values = torch.linspace(-1, 1, 9, requires_grad=True) * 2
    before = values.detach().clone()
    assert histogram(values).count == 9
    assert torch.equal(values, before)


@pytest.mark.parametrize("size", [100, 3 * SAMPLE])
def test_what_is_not_finite_is_counted_apart(size: int) -> None:
    values = torch.linspace(-2, 3, size)
    values[5], values[70], values[71] = math.nan, math.inf, -math.inf
    seen = histogram(values)
    assert seen.not_finite == 3
    assert (seen.count, seen.minimum, seen.maximum) == (size - 3, -2.0, 3.0)
    assert float(seen.bins().counts.sum()) + seen.bins().zeros == pytest.approx(size - 3)


def test_what_float32_does_not_hold_is_not_finite() -> None:
    assert histogram(torch.tensor([1.0, 1e300], dtype=torch.float64)).not_finite == 1


@pytest.mark.parametrize("shape", [(8, 64, 56, 56), (5, 197, 1024), (2**20,), (1, 2**19 + 1)])
def test_a_sample_of_a_large_batch_stands_for_it(shape: tuple[int, ...]) -> None:
    # Channels of different spread: what falls into step with them would be far off.
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values *= torch.linspace(0.1, 2, shape[1] if len(shape) > 1 else 1).reshape(
        [-1 if axis == 1 else 1 for axis in range(len(shape))] if len(shape) > 1 else [1]
    )
    seen = histogram(values)
    bins = seen.bins()
    assert seen.count == values.numel()
    assert float(bins.counts.sum()) + bins.zeros == pytest.approx(values.numel())
    below = bins.zeros + bins.counts.cumsum(0)
    magnitudes = values.flatten().abs()
    for share in (0.1, 0.25, 0.5, 0.75, 0.9, 0.99):
        edge = float(bins.edges[1:][torch.searchsorted(below, share * values.numel())])
        # Four standard deviations of what a random sample of 2**17 would show.
        tolerance = 4 * math.sqrt(share * (1 - share) / SAMPLE) + 1 / BINS_PER_OCTAVE
        assert abs(float((magnitudes <= edge).double().mean()) - share) < tolerance


def test_a_large_batch_is_counted_exactly_where_it_is_largest() -> None:
    values = torch.randn(2**20, generator=torch.Generator().manual_seed(0))
    values[123_457], values[654_321] = 1000.0, -900.0
    bins = histogram(values).bins()
    magnitudes = values.abs().double().sort().values
    edges = bins.edges[:-2]
    above = len(magnitudes) - torch.searchsorted(magnitudes, edges, right=True)
    few = above <= 60
    assert int(few.sum()) > 50
    assert torch.equal(_from_here_on(bins.counts)[:-1][few], above[few].double())
    assert float(bins.counts[bins.edges[1:] > 899].sum()) == 2


def _from_here_on(counts: torch.Tensor) -> torch.Tensor:
    return counts.flip(0).cumsum(0).flip(0)


def test_linear_bins_are_those_of_numpy() -> None:
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(0))
    seen = histogram(values)
    linear = seen.linear(128)
    expected, _ = np.histogram(values.abs().numpy(), bins=128, range=(0, seen.largest))
    assert float(linear.sum()) == pytest.approx(200_000)
    # At its two ends a linear bin shares a logarithmic one, which has at most 1/512 of its place.
    assert np.abs(linear.numpy() - expected).max() < 40
    assert np.abs(np.cumsum(linear.numpy() - expected)).max() < 40
