"""What ``torch.vmap`` computes of an input is no weight; what multiplies in it stays float."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trtqat.quant.quantize import quantize

pytestmark = pytest.mark.usefixtures("one_thread")


class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 6), nn.Linear(5, 3)
        self.weight = nn.Parameter(torch.randn(6, 5))

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.vmap(lambda row: torch.tanh(row @ self.weight))(self.first(x))
        y: Tensor = self.last(rows)
        return y


def test_what_reads_a_mapped_function_is_quantized() -> None:
    result = quantize(Mapped().eval(), [torch.randn(4, 7, 8)])
    assert {layer.name: (layer.kept, layer.macs) for layer in result.layers} == {
        "first": ("", 7 * 8 * 6),
        "matmul": ("it multiplies in a way that takes no quantizer", 7 * 6 * 5),
        "last": ("", 7 * 5 * 3),
    }
    assert result.model(torch.randn(2, 7, 8)).shape == (2, 7, 3)
