"""A U-Net for 224x224 images, half as wide as the first one; random weights from a fixed seed.

Here for its skips: each Concat joins a tensor that was computed long before. Its transposed
convolutions stay in floating point on TensorRT 8.6, which builds no quantized one.

    trtqat export scripts/models/unet.py:qat --input images:1x3x224x224 -o unet.onnx
"""

from __future__ import annotations

import itertools

import torch
from torch import nn

import trtqat

# trtqat export knows this file by its path, and so its neighbours alone.
from .untrained import images, with_statistics  # noqa: TID252

# Half of https://arxiv.org/abs/1505.04597, figure 1; convolutions are padded.
WIDTHS = (32, 64, 128, 256, 512)
CLASSES = 2


def _twice(channels: int, out: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inner in (channels, out):
        layers += [
            nn.Conv2d(inner, out, 3, padding=1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


class Up(nn.Module):
    """Doubles height and width, and joins what was computed at that size on the way down."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.enlarge = nn.ConvTranspose2d(channels, out, 2, 2)
        self.layers = _twice(2 * out, out)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """``(N, channels, H, W)`` and ``(N, out, 2H, 2W)`` → ``(N, out, 2H, 2W)``."""
        y: torch.Tensor = self.layers(torch.cat([skip, self.enlarge(x)], dim=1))
        return y


class UNet(nn.Module):
    """7,763,074 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = _twice(3, WIDTHS[0])
        pairs = list(itertools.pairwise(WIDTHS))
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2), _twice(channels, out)) for channels, out in pairs
        )
        self.up = nn.ModuleList(Up(channels, out) for out, channels in reversed(pairs))
        self.head = nn.Conv2d(WIDTHS[0], CLASSES, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 3, H, W)``, both sides divisible by 16 → logits ``(N, CLASSES, H, W)``."""
        skips = [self.first(images)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = skips.pop()
        for up in self.up:
            x = up(x, skips.pop())
        logits: torch.Tensor = self.head(x)
        return logits


def fp32(seed: int = 0) -> UNet:
    """The float model, with BatchNorm statistics of random images."""
    torch.manual_seed(seed)
    return with_statistics(UNet(), images())


def qat(seed: int = 0) -> nn.Module:
    """The same model, quantized for TensorRT 8.6 on random images."""
    return trtqat.quantize(fp32(seed), images(), for_="8.6").model
