"""EfficientNet-Lite0 for 224x224 images with residual quantizers; random weights from a fixed seed.

Here for its 5x5 depthwise convolutions, beside MobileNetV2's 3x3.

    trtqat export scripts/models/efficientnet.py:qat --input images:1x3x224x224 -o efficientnet.onnx
"""

from __future__ import annotations

import torch
from torch import nn

# trtqat export knows this file by its path, and so its neighbours alone.
from .mobilenet import MobileNet  # noqa: TID252
from .untrained import images, quantized, with_statistics  # noqa: TID252

# Expansion, kernel, channels, blocks and stride of EfficientNet-B0
# (https://arxiv.org/abs/1905.11946, table 1). Lite0 has ReLU6 for swish, and no squeeze and
# excitation.
STAGES = (
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
)


class EfficientNetLite0(MobileNet):
    """The usual 4,652,008 parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__(classes, STAGES)


def fp32(seed: int = 0) -> EfficientNetLite0:
    """The float model, with BatchNorm statistics of random images."""
    torch.manual_seed(seed)
    return with_statistics(EfficientNetLite0(), images())


def qat(seed: int = 0) -> nn.Module:
    """The same model with quantizers on every layer and shortcut, calibrated on random images."""
    return quantized(fp32(seed), images())
