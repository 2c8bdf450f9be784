"""ResNets for 224x224 images with residual quantizers; weights are random, from a fixed seed.

They are here for their shape: speed, and agreement between graph, engine and PyTorch. They
were never trained, so their predictions mean nothing. The two factories make a ResNet-50
unless ``depth`` says otherwise:

    trtqat export scripts/models/resnet.py:qat --input images:1x3x224x224 -o resnet50.onnx
    trtqat eval resnet50.onnx --data random:8 --baseline scripts/models/resnet.py:fp32
"""

from __future__ import annotations

import torch
from torch import nn

# trtqat export knows this file by its path, and so its neighbours alone.
from .untrained import images, quantized, with_statistics  # noqa: TID252

# Blocks of each stage: https://arxiv.org/abs/1512.03385, table 1. The 26 is none of the paper's:
# two bottlenecks a stage, where its ResNet-18 has two blocks of another kind.
BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride, as in version 1.5) and 1x1 convolutions around a shortcut."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = width * EXPANSION
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )
        # A quantizer takes its place in the QAT model: an INT8 shortcut lets TensorRT add
        # it inside the last convolution's kernel.
        self.on_residual: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` → ``(N, 4·width, H/stride, W/stride)``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        sum_: torch.Tensor = self.relu(y + self.on_residual(self.shortcut(x)))
        return sum_


class ResNet(nn.Module):
    """With 50 layers the usual 25,557,032 parameters."""

    def __init__(self, depth: int = 50, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        blocks: list[nn.Module] = []
        channels = 64
        for stage, (count, width) in enumerate(zip(BLOCKS[depth], WIDTHS, strict=True)):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(channels, width, stride))
                channels = width * EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 3, 224, 224)`` → logits ``(N, classes)``."""
        logits: torch.Tensor = self.fc(torch.flatten(self.pool(self.blocks(self.stem(images))), 1))
        return logits


def fp32(depth: int = 50, seed: int = 0) -> ResNet:
    """The float model, with BatchNorm statistics of random images."""
    torch.manual_seed(seed)
    return with_statistics(ResNet(depth), images())


def qat(depth: int = 50, seed: int = 0) -> nn.Module:
    """The same model with quantizers on every layer and shortcut, calibrated on random images."""
    return quantized(fp32(depth, seed), images())
