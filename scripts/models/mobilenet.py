"""MobileNetV2 for 224x224 images with residual quantizers; random weights from a fixed seed.

Here for its depthwise convolutions, whose INT8 kernels differ from the dense ones'.

    trtqat export scripts/models/mobilenet.py:qat --input images:1x3x224x224 -o mobilenet.onnx
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

# trtqat export knows this file by its path, and so its neighbours alone.
from .untrained import images, quantized, with_statistics  # noqa: TID252

# Expansion, kernel, channels, blocks and stride: https://arxiv.org/abs/1801.04381, table 2.
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 3, 32, 3, 2),
    (6, 3, 64, 4, 2),
    (6, 3, 96, 3, 1),
    (6, 3, 160, 3, 2),
    (6, 3, 320, 1, 1),
)
STEM, HEAD = 32, 1280


def _convolution(
    channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Module:
    """A convolution, its BatchNorm and ReLU6."""
    return nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU6(inplace=True),
    )


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, 1x1 down without an activation; a shortcut where shapes allow."""

    def __init__(self, channels: int, out: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        hidden = channels * expansion
        up = [_convolution(channels, hidden, 1)] if expansion > 1 else []
        self.layers = nn.Sequential(
            *up,
            _convolution(hidden, hidden, kernel, stride, groups=hidden),
            nn.Conv2d(hidden, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.has_shortcut = stride == 1 and channels == out
        if self.has_shortcut:
            # A quantizer takes its place in the QAT model.
            self.on_residual: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` → ``(N, out, H/stride, W/stride)``."""
        y: torch.Tensor = self.layers(x)
        return y + self.on_residual(x) if self.has_shortcut else y


class MobileNet(nn.Module):
    """A chain of inverted residuals; by its own stages the usual 3,504,872 parameters."""

    def __init__(
        self, classes: int = 1000, stages: Sequence[tuple[int, int, int, int, int]] = STAGES
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [_convolution(3, STEM, 3, 2)]
        channels = STEM
        for expansion, kernel, out, count, stride in stages:
            for block in range(count):
                step = stride if block == 0 else 1
                layers.append(InvertedResidual(channels, out, expansion, step, kernel))
                channels = out
        layers.append(_convolution(channels, HEAD, 1))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(HEAD, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 3, 224, 224)`` → logits ``(N, classes)``."""
        logits: torch.Tensor = self.fc(torch.flatten(self.pool(self.features(images)), 1))
        return logits


def fp32(seed: int = 0) -> MobileNet:
    """The float model, with BatchNorm statistics of random images."""
    torch.manual_seed(seed)
    return with_statistics(MobileNet(), images())


def qat(seed: int = 0) -> nn.Module:
    """The same model with quantizers on every layer and shortcut, calibrated on random images."""
    return quantized(fp32(seed), images())
