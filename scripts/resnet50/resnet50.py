"""ResNet-50 for 224x224 images with residual quantizers; weights are random, from a fixed seed.

It is here for its shape: speed, and agreement between graph, engine and PyTorch. It was
never trained, so its predictions mean nothing. The two factories:

    trtqat export scripts/resnet50/resnet50.py:qat --input images:1x3x224x224 -o resnet50.onnx
    trtqat eval resnet50.onnx --data random:8 --baseline scripts/resnet50/resnet50.py:fp32
"""

from __future__ import annotations

import torch
from torch import nn

from trtqat.quant.training import calibrate, insert_quantizers

# Blocks and width of each stage: https://arxiv.org/abs/1512.03385, table 1.
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
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
        self.residual_quantizer: nn.Module = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, C, H, W)`` → ``(N, 4·width, H/stride, W/stride)``."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        sum_: torch.Tensor = self.relu(y + self.residual_quantizer(self.shortcut(x)))
        return sum_


class ResNet50(nn.Module):
    """The usual 25,557,032 parameters."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        blocks: list[nn.Module] = []
        channels = 64
        for stage, (count, width) in enumerate(STAGES):
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


def fp32(seed: int = 0) -> ResNet50:
    """The float model, with BatchNorm statistics of random images."""
    torch.manual_seed(seed)
    model = ResNet50()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # None averages over all batches: two are enough for sound statistics.
            module.momentum = None
    model.train()
    with torch.no_grad():
        for images in _images(2):
            model(images)
    return model.eval()


def qat(seed: int = 0) -> ResNet50:
    """The same model with quantizers on every layer and shortcut, calibrated on random images."""
    from pytorch_quantization import nn as quant_nn

    model = fp32(seed)
    insert_quantizers(model)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            module.residual_quantizer = quant_nn.TensorQuantizer().eval()
    calibrate(model, _images(2))
    return model


def _images(batches: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 224, 224, generator=generator) for _ in range(batches)]
