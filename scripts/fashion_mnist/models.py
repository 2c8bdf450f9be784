"""The five models, and a small one for scripts/demo.

All take pixels from 0 to 1, shape (N, 1, 28, 28), and give ten logits.

They are float models as anybody writes them: what is to be quantized is found, not marked. Each
factory needs no argument:

    trtqat export scripts/fashion_mnist/models.py:resnet18 --checkpoint int8.pt …
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

# trtqat export knows this file by its path, and so its neighbours alone.
from .inverted import EfficientNetLite0, MobileNetV2  # noqa: TID252
from .pixels import CLASSES, normalize  # noqa: TID252
from .vit import VisionTransformer  # noqa: TID252


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut: https://arxiv.org/abs/1512.03385, figure 2."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` → ``(N, out, H/stride, W/stride)``."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        sum_: torch.Tensor = self.relu(y + self.shortcut(x))
        return sum_


class ResNet18(nn.Module):
    """ResNet-18 with a 3x3 stem that leaves the 28x28 pixels; 11,172,810 parameters."""

    def __init__(self, width: int = 64) -> None:
        """``width``: channels of the stem."""
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        channels = width
        for factor, stride in ((1, 1), (2, 2), (4, 2), (8, 2)):
            out = factor * width
            blocks += [BasicBlock(channels, out, stride), BasicBlock(out, out, 1)]
            channels = out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 1, 28, 28)`` → logits ``(N, 10)``."""
        features = self.blocks(self.stem(normalize(images)))
        logits: torch.Tensor = self.fc(torch.flatten(self.pool(features), 1))
        return logits


POOL = 0
# "Configuration D" of https://arxiv.org/abs/1409.1556 without its last two pools: three leave 3x3
# of 28x28 pixels.
VGG_LAYERS = (
    *(64, 64, POOL),
    *(128, 128, POOL),
    *(256, 256, 256, POOL),
    *(512, 512, 512),
    *(512, 512, 512),
)
HIDDEN = 512


class VGG16(nn.Module):
    """VGG-16 with BatchNorm: thirteen convolutions and three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for out in VGG_LAYERS:
            if out == POOL:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [
                nn.Conv2d(channels, out, 3, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(inplace=True),
            ]
            channels = out
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(channels, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(HIDDEN, CLASSES),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 1, 28, 28)`` → logits ``(N, 10)``."""
        features = self.pool(self.features(normalize(images)))
        logits: torch.Tensor = self.classifier(torch.flatten(features, 1))
        return logits


def resnet18() -> nn.Module:
    """ResNet-18: residual additions."""
    return ResNet18()


def resnet18_quarter() -> nn.Module:
    """ResNet-18 at a quarter of its width: two CPU cores train it in a minute."""
    return ResNet18(width=16)


def mobilenet_v2() -> nn.Module:
    """MobileNetV2: depthwise convolutions."""
    return MobileNetV2()


def vgg16() -> nn.Module:
    """VGG-16: a chain without branches."""
    return VGG16()


def vit() -> nn.Module:
    """A small vision transformer: products of two activations."""
    return VisionTransformer()


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0: depthwise convolutions whose weights were trained on ImageNet."""
    return EfficientNetLite0()


COMPARED: dict[str, Callable[[], nn.Module]] = {
    "resnet18": resnet18,
    "mobilenet_v2": mobilenet_v2,
    "vgg16": vgg16,
    "vit": vit,
    "efficientnet_lite0": efficientnet_lite0,
}
MODELS = {**COMPARED, "resnet18_quarter": resnet18_quarter}
