"""A model of three convolutions and a function, and the places of its quantizers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trtqat.quant.placing.placement import Layer
from trtqat.quant.quantize import Quantized, quantize

IMAGES = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))


class Computing(nn.Module):
    """Three convolutions and a function of the user's."""

    def __init__(self, compute: Callable[[Computing, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second, self.last = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.narrow = nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.position = nn.Parameter(torch.randn(8, 1, 1))
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(self, x)

    # What a convolution returns, for the type checker.
    def end(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(x)
        return y


def quantized(
    compute: Callable[[Computing, Tensor], Tensor], batch: Tensor = IMAGES, **options: Any
) -> Quantized:
    """The model with that function, quantized with one batch."""
    return quantize(Computing(compute), [batch], **options)


def groups(found: Quantized) -> set[frozenset[str]]:
    """The places of each quantizer of an activation."""
    return {frozenset(each.places) for each in found.ranges if not each.is_weight}


def layers(found: Quantized) -> list[Layer]:
    """Those that ran: a model here has more than each function calls."""
    return [each for each in found.layers if "did not run" not in each.kept]


def places(found: Quantized) -> set[str]:
    """All places where an activation is quantized."""
    return {place for group in groups(found) for place in group}
