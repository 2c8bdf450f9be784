from __future__ import annotations

import math

import pytest
import torch

from trtqat.quant.fake_quantize import PER_TENSOR, fake_quantize


@pytest.mark.parametrize(("low", "high"), [(-128.0, 127.0), (-127.0, 127.0), (-3.4, 90.2)])
@pytest.mark.parametrize("axis", [PER_TENSOR, 1])
def test_it_computes_the_formula_and_leaves_its_input(axis: int, low: float, high: float) -> None:
    generator = torch.Generator().manual_seed(3)
    x = 3 * torch.randn(4, 5, 6, generator=generator)
    x[0, 0, :3] = torch.tensor([math.nan, math.inf, -math.inf])
    scale = torch.tensor(0.02)
    step = scale
    if axis != PER_TENSOR:
        scale = 0.01 + 0.02 * torch.rand(5, generator=generator)
        step = scale.reshape(1, -1, 1)
    given = x.clone()
    y = fake_quantize(x, scale, axis, low, high, "q")
    clipped = torch.minimum(torch.maximum(x, low * step), high * step)
    expected = torch.round(clipped / step).clamp(-128, 127) * step
    torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(x, given, rtol=0, atol=0, equal_nan=True)
    assert y.data_ptr() != x.data_ptr()
