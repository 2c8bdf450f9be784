from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trtqat.errors import QuantizerError
from trtqat.quant.ranges.weight_ranges import weight_range


def errors(weight: torch.Tensor, axis: int | None, amax: torch.Tensor) -> torch.Tensor:
    """What quantizing really costs, for each channel: the sum of squared errors."""
    rows = weight.double().reshape(1, -1) if axis is None else weight.double().movedim(axis, 0)
    rows = rows.reshape(len(rows), -1)
    step = amax.double().reshape(-1, 1) / 127
    codes = torch.where(step > 0, rows / step, 0).round().clamp(-127, 127)
    return (rows - codes * step).square().sum(1)


weights = st.builds(
    lambda seed, shape, tail: _weight(seed, shape, tail),
    st.integers(0, 2**31),
    st.sampled_from([(4, 3, 3, 3), (8, 1, 3, 3), (5, 700), (3, 5000), (1, 4000), (6,), (2, 3, 5)]),
    st.floats(0, 0.7),
)


def _weight(seed: int, shape: tuple[int, ...], tail: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    weight /= (torch.rand(shape, generator=generator) + 1e-3) ** tail
    return weight


@settings(max_examples=40)
@given(weights, st.sampled_from([0, -1, None]))
def test_mse_is_never_worse_than_max_in_any_channel(weight: torch.Tensor, axis: int | None) -> None:
    found = weight_range(weight, axis, "mse", name="w")
    largest = weight_range(weight, axis, "max", name="w")
    best, plain = errors(weight, axis, found.amax), errors(weight, axis, largest.amax)
    # They were compared in float32: a weight that is exact may have an error of a rounding.
    rounding = (largest.amax.double() * 1e-6).square() * weight.numel()
    assert (best <= plain * (1 + 1e-5) + rounding).all()
    assert found.sqnr_db >= largest.sqnr_db - 1e-4
    assert (found.amax <= largest.amax).all()


@pytest.mark.parametrize("shape", [(5, 700), (3, 5000), (1, 40_000)])
@pytest.mark.parametrize("tail", [0.0, 0.5])
@pytest.mark.parametrize("axis", [0, None])
def test_no_other_range_is_much_better(shape: Any, tail: float, axis: int | None) -> None:
    weight = _weight(1, shape, tail)
    found = weight_range(weight, axis, "mse", name="w").amax
    largest = weight_range(weight, axis, "max", name="w").amax
    tried = [errors(weight, axis, largest * (each / 400)) for each in range(20, 401)]
    assert (errors(weight, axis, found) <= torch.stack(tried).amin(0) * 1.02).all()


@settings(max_examples=40)
@given(weights, st.sampled_from([0, 1, None]), st.sampled_from(["max", "mse"]))
def test_sqnr_and_share_clipped_are_those_of_the_weight(
    weight: torch.Tensor, axis: int | None, method: Any
) -> None:
    if axis == 1 and weight.dim() == 1:
        axis = 0
    found = weight_range(weight, axis, method, name="w")
    lost = float(errors(weight, axis, found.amax).sum())
    # A channel of one weight is exact but for float32's rounding.
    if lost > 1e-9 * float(weight.double().square().sum()):
        signal = float(weight.double().square().sum())
        assert found.sqnr_db == pytest.approx(10 * math.log10(signal / lost), abs=0.01)
    bound = (
        found.amax
        if axis is None
        else found.amax.reshape([-1 if each == axis else 1 for each in range(weight.dim())])
    )
    assert found.clipped == pytest.approx(float((weight.abs() > bound).double().mean()))


@pytest.mark.parametrize(("axis", "shape"), [(0, (4,)), (1, (3,)), (-1, (5,)), (None, ())])
@pytest.mark.parametrize("method", ["auto", "max", "mse"])
def test_one_range_for_each_channel(axis: int | None, shape: tuple[int, ...], method: Any) -> None:
    weight = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    found = weight_range(weight, axis, method, name="w")
    assert found.amax.shape == shape
    assert found.amax.dtype == torch.float32


def test_max_is_the_largest_magnitude() -> None:
    weight = torch.tensor([[1.0, -3.0], [0.5, 0.25]])
    found = weight_range(weight, 0, "max", name="w")
    assert found.amax.tolist() == [3.0, 0.5]
    assert (found.method, found.clipped) == ("max", 0.0)
    assert weight_range(weight, 1, "max", name="w").amax.tolist() == [1.0, 3.0]
    assert float(weight_range(weight, None, "max", name="w").amax) == 3.0


def test_auto_is_mse() -> None:
    weight = _weight(3, (5, 700), 0.5)
    auto, mse = (weight_range(weight, 0, method, name="w") for method in ("auto", "mse"))
    assert torch.equal(auto.amax, mse.amax)
    assert auto.method == mse.method == "mse"


def test_mse_clips_a_lonely_weight_that_costs_the_others_more() -> None:
    weight = torch.linspace(-1, 1, 20_001)
    weight[0] = 1.05
    found = weight_range(weight[None], 0, "mse", name="w")
    # Half a step beyond the range still rounds to its last code as well as any other.
    assert float(found.amax) == pytest.approx(127 / 127.5, abs=0.003)
    assert found.clipped < 0.01


@pytest.mark.parametrize("method", ["max", "mse"])
def test_channels_of_zeros_are_let_be(method: Any) -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    weight[1] = 0
    found = weight_range(weight, 0, method, name="w")
    assert (found.amax > 0).tolist() == [True, False, True]
    assert math.isfinite(found.sqnr_db)
    nothing = weight_range(torch.zeros(2, 4), 0, method, name="w")
    assert nothing.amax.tolist() == [0.0, 0.0]
    assert (nothing.clipped, nothing.sqnr_db) == (0.0, math.inf)


@settings(max_examples=40)
@given(weights, st.integers(-80, 80))
def test_ranges_follow_a_power_of_two(weight: torch.Tensor, exponent: int) -> None:
    plain = weight_range(weight, 0, "mse", name="w")
    scaled = weight_range(weight * 2.0**exponent, 0, "mse", name="w")
    torch.testing.assert_close(scaled.amax, plain.amax * 2.0**exponent, rtol=1e-6, atol=0)
    assert scaled.sqnr_db == pytest.approx(plain.sqnr_db, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_dtype_of_the_weight_changes_nothing(dtype: torch.dtype) -> None:
    weight = _weight(0, (5, 700), 0.0).to(dtype)
    found = weight_range(weight, 0, "mse", name="w")
    assert torch.equal(found.amax, weight_range(weight.float(), 0, "mse", name="w").amax)


def test_a_parameter_is_taken_and_left_as_it_is() -> None:
    weight = torch.nn.Parameter(_weight(0, (5, 700), 0.0))
    before = weight.detach().clone()
    assert not weight_range(weight, 0, "mse", name="w").amax.requires_grad
    assert torch.equal(weight, before)


def test_what_is_not_finite_is_named() -> None:
    weight = torch.ones(2, 3)
    for value in (math.nan, math.inf, -math.inf):
        weight[1, 1] = value
        with pytest.raises(QuantizerError, match=r"'conv1\.weight' has values that are not finite"):
            weight_range(weight, 0, name="conv1.weight")


def test_an_empty_weight_and_an_unknown_method_are_refused() -> None:
    with pytest.raises(QuantizerError, match=r"'conv1\.weight' is empty"):
        weight_range(torch.zeros(0, 3), 0, name="conv1.weight")
    unknown: Any = "entropy"
    with pytest.raises(QuantizerError, match="no calibration method 'entropy' for weights"):
        weight_range(torch.ones(2, 3), 0, unknown, name="w")
