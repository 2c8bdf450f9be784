"""What is written through a view is no weight: its range is that of all batches."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trtqat.quant.quantize import quantize


def by_copies(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape[0], 16, 8)
    made[:, :, :4].copy_(x.transpose(1, 2)[:, :, :4])
    made[:, :, 4:].copy_(x.transpose(1, 2)[:, :, :4] * 2)
    return made


def by_image(x: Tensor) -> Tensor:
    """As a detector pads images of several sizes into one tensor."""
    made = torch.zeros(x.shape[0], 16, 8)
    for image, place in zip(x, made, strict=True):
        place[:, : image.shape[0]].copy_(image.t())
    return made


def by_view(x: Tensor) -> Tensor:
    made = torch.zeros(x.shape[0], 16, 8)
    made.view(-1, 16, 8)[:, :, :6] = x.transpose(1, 2)
    return made


def by_numpy(x: Tensor) -> Tensor:
    return torch.from_numpy(x.numpy()).transpose(1, 2)


class Named(Tensor):
    """A class of a user's, as torchvision's images are."""


def by_subclass(x: Tensor) -> Tensor:
    return x.transpose(1, 2).as_subclass(Named)


KEPT = torch.zeros(8, 16, 6)


def by_data(x: Tensor) -> Tensor:
    """What is written to ``data`` is not counted as a version of the tensor."""
    KEPT.data.copy_(x.transpose(1, 2))
    return KEPT


class Product(nn.Module):
    """A layer, and a product with what is made of the input."""

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.make = nn.Linear(16, 16), make

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(torch.relu(self.layer(x)) @ self.make(x))


@pytest.mark.parametrize("make", [by_copies, by_image, by_view, by_numpy, by_subclass, by_data])
def test_what_is_written_through_a_view_is_seen_in_all_batches(
    make: Callable[[Tensor], Tensor],
) -> None:
    generator = torch.Generator().manual_seed(1)
    # The first batch is quiet.
    batches = [torch.randn(8, 6, 16, generator=generator) * scale for scale in (0.1, 1, 1, 1)]
    model = Product(make).eval()
    quantized = quantize(model, batches)
    assert [layer.kept for layer in quantized.layers] == ["", ""]
    # The layer's input and both operands of the product; the layer's weight is the only one.
    assert sorted(each.is_weight for each in quantized.ranges) == [False] * 3 + [True]
    x = torch.randn(8, 6, 16, generator=generator)
    with torch.no_grad():
        exact, rounded = model(x), quantized.model(x)
    sqnr_db = 10 * torch.log10(exact.square().sum() / (exact - rounded).square().sum())
    assert sqnr_db > 25
