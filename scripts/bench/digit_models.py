"""Two small models that learn the digits of scripts/vgg16_cifar10/prepare_data.py in seconds."""

from __future__ import annotations

import torch
from torch import nn


def _convolution(inputs: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    )


class Residual(nn.Module):
    """Two 3x3 convolutions and a skip, as ResNet-18 has them."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, out, 3, stride)
        self.second = _convolution(out, out, 3)
        self.skip = _convolution(inputs, out, 1, stride) if stride != 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, inputs, H, W)`` → ``(N, out, H/stride, W/stride)``."""
        y = self.second(torch.relu(self.first(x)))
        return torch.relu(y + self.skip(x))


class Inverted(nn.Module):
    """1x1 up, depthwise 3x3, 1x1 down and a skip, as MobileNetV2 has them."""

    def __init__(self, inputs: int, out: int, stride: int) -> None:
        super().__init__()
        hidden = 4 * inputs
        self.up = _convolution(inputs, hidden, 1)
        self.depthwise = _convolution(hidden, hidden, 3, stride, groups=hidden)
        self.down = _convolution(hidden, out, 1)
        self.has_skip = stride == 1 and inputs == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, inputs, H, W)`` → ``(N, out, H/stride, W/stride)``."""
        hidden = nn.functional.relu6(self.depthwise(nn.functional.relu6(self.up(x))))
        y: torch.Tensor = self.down(hidden)
        return y + x if self.has_skip else y


class DigitNet(nn.Module):
    """A stem, four blocks of a kind, and a linear layer over the mean."""

    def __init__(self, block: type[Residual] | type[Inverted], width: int = 16) -> None:
        super().__init__()
        self.stem = _convolution(3, width, 3, 2)
        self.blocks = nn.Sequential(
            block(width, width, 1),
            block(width, 2 * width, 2),
            block(2 * width, 2 * width, 1),
            block(2 * width, 4 * width, 2),
        )
        self.fc = nn.Linear(4 * width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 3, 32, 32)`` → logits ``(N, 10)``."""
        features = self.blocks(torch.relu(self.stem(images)))
        logits: torch.Tensor = self.fc(features.mean((2, 3)))
        return logits


MODELS: dict[str, type[Residual] | type[Inverted]] = {"residual": Residual, "depthwise": Inverted}
