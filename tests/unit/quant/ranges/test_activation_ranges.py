from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from trtqat.errors import QuantizerError
from trtqat.quant.ranges.activation_ranges import ActivationMethod, activation_range
from trtqat.quant.ranges.entropy import BINS, LEVELS, divergences
from trtqat.quant.ranges.histogram import BINS_PER_OCTAVE, MagnitudeHistogram
from trtqat.quant.ranges.quantization_error import grid_errors, squared_error

METHODS: tuple[Any, ...] = get_args(ActivationMethod)
SINGLE: tuple[Any, ...] = tuple(method for method in METHODS if method != "auto")


def histogram(values: torch.Tensor) -> MagnitudeHistogram:
    made = MagnitudeHistogram()
    made.add(values)
    return made


def error(values: torch.Tensor, amax: float) -> float:
    """What quantizing the values really costs: the sum of squared errors."""
    wide = values.double()
    if not amax:
        return float(wide.square().sum())
    step = amax / 127
    return float((wide - (wide / step).round().clamp(-127, 127) * step).square().sum())


def sqnr_db(values: torch.Tensor, amax: float) -> float:
    lost = error(values, amax)
    return 10 * math.log10(float(values.double().square().sum()) / lost) if lost else math.inf


def share_beyond(values: torch.Tensor, amax: float) -> float:
    return float((values.abs() > amax).double().mean())


def distribution(kind: str, size: int = 50_000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    normal = torch.randn(size, generator=generator)
    if kind == "normal":
        return normal
    if kind == "relu":
        return normal.relu()
    if kind == "hardswish":
        return torch.nn.functional.hardswish(normal * 3)
    if kind == "relu6":
        return (normal * 4).clamp(0, 6)
    if kind == "uniform":
        return torch.rand(size, generator=generator)
    if kind == "heavy tail":
        return normal / torch.rand(size, generator=generator).sqrt()
    assert kind == "outliers"
    normal[:3] = torch.tensor([300.0, -200.0, 150.0])
    return normal


KINDS = ["normal", "relu", "hardswish", "relu6", "uniform", "heavy tail", "outliers"]

# Of mixed spread, so that the range matters; large enough that the bins are not the data.
mixtures = st.builds(
    lambda seed, spread, share, zeros: _mixture(seed, spread, share, zeros),
    st.integers(0, 2**31),
    st.floats(1, 1000),
    st.floats(0, 0.01),
    st.floats(0, 0.9),
)


def _mixture(seed: int, spread: float, share: float, zeros: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3000, generator=generator)
    chosen = torch.rand(3000, generator=generator)
    return values.where(chosen > share, values * spread).where(chosen < 1 - zeros, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", METHODS)
def test_expected_sqnr_is_what_quantizing_the_values_shows(kind: str, method: Any) -> None:
    values = distribution(kind)
    found = activation_range(histogram(values), method, name="q")
    assert found.sqnr_db == pytest.approx(sqnr_db(values, found.amax), abs=0.1)
    bin_width = found.amax / BINS_PER_OCTAVE
    assert share_beyond(values, found.amax + bin_width) <= found.clipped + 1e-9
    assert found.clipped <= share_beyond(values, found.amax - bin_width) + 1e-9


@settings(max_examples=25)
@given(mixtures)
# The grid's best is beyond the largest value here, and far from the best that is not.
@example(_mixture(114655, 1.0, 0.0, 0.75))
def test_mse_has_the_least_error_of_all_ranges_that_are_edges(values: torch.Tensor) -> None:
    seen = histogram(values)
    bins = seen.bins()
    found = activation_range(seen, "mse", name="q")
    edges = bins.edges[bins.edges > seen.largest / 2**11].flip(0)[::9].flip(0)
    errors = squared_error(bins, torch.cat([torch.tensor([found.amax]).double(), edges]))
    # Ranges of the grid are four bins apart; between two of them the error of a few outliers bends
    # by half a percent, which is 0.02 dB.
    assert float(errors[0]) <= float(errors.min()) * 1.02
    assert float(errors[0]) <= float(errors[-1]) * (1 + 1e-12)


@settings(max_examples=25)
@given(mixtures)
def test_mse_is_no_worse_than_the_others_on_the_values(values: torch.Tensor) -> None:
    seen = histogram(values)
    least = error(values, activation_range(seen, "mse", name="q").amax)
    for method in SINGLE:
        assert least <= error(values, activation_range(seen, method, name="q").amax) * 1.03


@settings(max_examples=25)
@given(mixtures)
def test_auto_is_the_best_of_all_by_the_error_on_the_data(values: torch.Tensor) -> None:
    seen = histogram(values)
    ranges = {method: activation_range(seen, method, name="q") for method in SINGLE}
    found = activation_range(seen, "auto", name="q")
    assert found.amax == ranges[found.method].amax
    assert found.clipped == ranges[found.method].clipped
    assert found.sqnr_db == pytest.approx(max(each.sqnr_db for each in ranges.values()))


@settings(max_examples=15)
@given(mixtures, st.integers(-80, 80), st.sampled_from(METHODS))
def test_ranges_follow_a_power_of_two(values: torch.Tensor, exponent: int, method: Any) -> None:
    plain = activation_range(histogram(values), method, name="q")
    scaled = activation_range(histogram(values * 2.0**exponent), method, name="q")
    assert scaled.amax == plain.amax * 2.0**exponent
    assert scaled.method == plain.method
    assert scaled.sqnr_db == pytest.approx(plain.sqnr_db)


@settings(max_examples=25)
@given(mixtures)
def test_the_grid_says_what_single_ranges_say(values: torch.Tensor) -> None:
    seen = histogram(values)
    amaxes, errors = grid_errors(seen)
    below = torch.nonzero(amaxes < seen.largest * 0.8)[:, 0][::7]
    direct = squared_error(seen.bins(), amaxes[below])
    # They differ by where in the last bin its values lie: by 1/512 of 1, seen from 0.8.
    torch.testing.assert_close(errors[below], direct, rtol=0.02, atol=0)


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=3000).map(torch.tensor))
def test_percentile_is_that_of_numpy_within_a_bin(values: torch.Tensor) -> None:
    expected = float(np.percentile(values.abs().double(), 99.99, method="inverted_cdf"))
    assume(expected > 1e-30)
    found = activation_range(histogram(values), "percentile", name="q").amax
    assert expected <= found <= expected * (1 + 1 / BINS_PER_OCTAVE)


def test_percentile_leaves_the_largest_out() -> None:
    values = torch.linspace(0, 1, 200_001)
    found = activation_range(histogram(values), "percentile", name="q")
    assert found.amax == pytest.approx(0.9999, abs=1 / BINS_PER_OCTAVE)
    assert found.clipped == pytest.approx(1e-4, abs=1e-4)


def test_percentile_of_almost_only_zeros_clips_nothing() -> None:
    values = torch.zeros(100_000)
    values[17] = 3.0
    found = activation_range(histogram(values), "percentile", name="q")
    assert (found.amax, found.clipped) == (3.0, 0.0)


def test_max_clips_nothing() -> None:
    found = activation_range(histogram(torch.tensor([-3.0, 2.0, 0.5])), "max", name="q")
    assert (found.amax, found.method, found.clipped) == (3.0, "max", 0.0)


def test_auto_keeps_what_saturates_and_cuts_a_lonely_outlier() -> None:
    saturated = activation_range(histogram(distribution("relu6")), name="q")
    assert (saturated.amax, saturated.method, saturated.clipped) == (6.0, "max", 0.0)
    # To keep one value of 1.4 beside a hundred thousand up to 1 would cost more than to clip it.
    lonely = torch.cat([torch.linspace(-1, 1, 100_001), torch.tensor([1.4])])
    cut = activation_range(histogram(lonely), name="q")
    assert cut.method == "mse"
    # Half a step beyond the range still rounds to its last code as well as any other.
    assert cut.amax == pytest.approx(127 / 127.5, abs=1 / BINS_PER_OCTAVE)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [1e-30, 0.3, -2.0, 4096.0, -1e30])
def test_a_tensor_of_one_value_is_exact(method: Any, value: float) -> None:
    seen = histogram(torch.full((50,), value))
    found = activation_range(seen, method, name="q")
    assert found.amax == pytest.approx(abs(value), rel=1e-6)
    assert (found.clipped, found.sqnr_db) == (0.0, math.inf)
    assert found.method == ("max" if method == "auto" else method)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [[0.0, 0.0], [0.0, 1e-40]])
def test_a_tensor_of_zeros_has_no_range(method: Any, values: list[float]) -> None:
    found = activation_range(histogram(torch.tensor(values)), method, name="q")
    assert found.amax == pytest.approx(0.0, abs=1e-39)
    assert (found.clipped, found.sqnr_db) == (0.0, math.inf)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [1.0, 6.0, 0.7])
def test_a_tensor_of_two_magnitudes_one_of_them_zero_is_exact(method: Any, value: float) -> None:
    values = torch.tensor([0.0, value, -value, 0.0, value])
    found = activation_range(histogram(values), method, name="q")
    assert found.amax == pytest.approx(value, rel=1e-6)
    assert found.sqnr_db > 120


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_tiny_and_huge_values_have_the_ranges_of_others(method: Any, factor: float) -> None:
    values = distribution("normal")
    plain = activation_range(histogram(values), method, name="q")
    scaled = activation_range(histogram(values * factor), method, name="q")
    # No power of two: the bins lie elsewhere, and mse finds another of nearly the same error.
    assert scaled.amax == pytest.approx(plain.amax * factor, rel=0.05)
    assert scaled.sqnr_db == pytest.approx(plain.sqnr_db, abs=0.05)


def slow_divergences(counts: np.ndarray[Any, Any], candidates: Iterable[int]) -> list[float]:
    """Relative entropies as the talk's pseudocode has them, bin by bin."""
    found = []
    for kept in candidates:
        reference = counts[:kept].copy()
        reference[-1] += counts[kept:].sum()
        level = np.arange(kept) * LEVELS // kept
        rival = np.zeros(kept)
        bounds = np.searchsorted(level, np.arange(LEVELS + 1)).tolist()
        for first, last in itertools.pairwise(bounds):
            merged = counts[first:last]
            held = merged > 0
            if held.any():
                rival[first:last][held] = merged.sum() / held.sum()
        if (rival[reference > 0] == 0).any():
            found.append(math.inf)
            continue
        p = reference / reference.sum()
        q = rival / rival.sum()
        found.append(float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))))
    return found


@pytest.mark.parametrize("kind", ["relu", "outliers"])
def test_relative_entropies_are_those_of_a_slow_loop(kind: str) -> None:
    counts = histogram(distribution(kind, 3000)).linear(BINS)
    found = activation_range(histogram(distribution(kind, 3000)), "entropy", name="q")
    largest = float(distribution(kind, 3000).abs().max())
    kept = round(found.amax / largest * BINS)
    # All remainders of dividing bins among levels are there, and what is near the least.
    near = range(max(LEVELS, kept - 30), min(BINS, kept + 30))
    candidates = np.unique([*range(LEVELS, BINS, 7), *near, kept, BINS])
    expected = slow_divergences(counts.numpy(), candidates.tolist())
    fast = divergences(counts).numpy()[candidates - LEVELS]
    np.testing.assert_allclose(fast, expected, rtol=1e-9, atol=1e-12)
    assert candidates[np.argmin(expected)] == kept
    assert found.amax == pytest.approx(kept * largest / BINS)


def test_entropy_of_pixels_is_squared_error() -> None:
    """Few pixels are white; relative entropy alone would clip a third of them."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (200_000,), generator=generator).sqrt() * 16
    pixels = (pixels.round() - 73) / 90
    found = activation_range(histogram(pixels), "entropy", name="q")
    assert found.method == "mse"
    assert found.sqnr_db > 40
    smooth = torch.randn(200_000, generator=generator).abs()
    assert activation_range(histogram(smooth), "entropy", name="q").method == "entropy"


def test_entropy_of_a_spread_that_fills_its_range_clips_nothing() -> None:
    values = torch.linspace(0, 1, 100_000)
    assert activation_range(histogram(values), "entropy", name="q").amax == pytest.approx(
        1.0, abs=0.01
    )


@pytest.mark.parametrize("method", METHODS)
def test_who_saw_nothing_is_named(method: Any) -> None:
    with pytest.raises(QuantizerError, match=r"'layer\.input' saw no data") as raised:
        activation_range(MagnitudeHistogram(), method, name="layer.input")
    assert raised.value.remedy


def test_who_saw_what_is_not_finite_is_named() -> None:
    seen = histogram(torch.tensor([1.0, math.nan, math.inf]))
    with pytest.raises(QuantizerError, match=r"'layer\.input' saw 2 values that are not finite"):
        activation_range(seen, name="layer.input")
    with pytest.raises(QuantizerError, match="'other' saw 1 values that are not finite"):
        activation_range(histogram(torch.tensor([math.nan])), name="other")


def test_an_unknown_method_is_refused() -> None:
    unknown: Any = "median"
    with pytest.raises(QuantizerError, match="no calibration method 'median'"):
        activation_range(histogram(torch.ones(3)), unknown, name="q")
