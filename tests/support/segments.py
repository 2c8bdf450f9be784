"""A quantized model that takes images of any size."""

from __future__ import annotations

import torch
from torch import nn

from trtqat.quant.training import calibrate, insert_quantizers


class Segments(nn.Module):
    """A class for each pixel: sides are halved twice, doubled, and brought to the image's."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        x = torch.relu(self.norm(self.first(images)))
        y = nn.functional.interpolate(torch.relu(self.second(x)), scale_factor=2.0)
        z = self.head(torch.cat([x, y], 1))
        whole = nn.functional.interpolate(z, size=images.shape[-2:], mode="bilinear")
        return {"classes": whole, "mean": z.mean((2, 3))}


def quantized(build: type[nn.Module]) -> nn.Module:
    """A model quantized and calibrated on random images of 16 x 16, in eval mode."""
    torch.manual_seed(0)
    model = build()
    insert_quantizers(model)
    calibrate(model, [(torch.randn(8, 3, 16, 16),)])
    return model.eval()
