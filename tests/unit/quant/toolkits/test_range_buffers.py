"""Room for the ranges of a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trtqat.quant.training import calibrate, insert_quantizers


def inserted() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    insert_quantizers(model)
    return model.eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_ranges_become_float32_as_weights_do(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 8, 8)
    model, fresh = inserted(), inserted()
    calibrate(model, [x])
    fresh.load_state_dict(model.to(dtype).state_dict())
    assert {each.dtype for each in fresh.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(fresh(x), model.float()(x))
