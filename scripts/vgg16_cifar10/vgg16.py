"""VGG-16 with BatchNorm for 32x32 images and ten classes, plain and quantized.

The two factories are what ``trtqat export`` and ``trtqat eval --baseline`` are pointed to:

    trtqat export scripts/vgg16_cifar10/vgg16.py:qat --checkpoint out/qat.pt -o model.onnx
"""

from __future__ import annotations

import torch
from torch import nn

from trtqat.quant.training import insert_quantizers

POOL = 0
# Output channels of the 3x3 convolutions of "configuration D" in https://arxiv.org/abs/1409.1556.
LAYERS = (
    *(64, 64, POOL),
    *(128, 128, POOL),
    *(256, 256, 256, POOL),
    *(512, 512, 512, POOL),
    *(512, 512, 512, POOL),
)
CLASSES = 10
# 13 convolutions and 3 linear layers with two each, and the input of the average pool.
QUANTIZERS = 33


class VGG16(nn.Module):
    """Thirteen convolutions, an average pool, three linear layers."""

    def __init__(self, width: float = 1.0, classifier: int = 4096) -> None:
        """Builds the model with fresh weights.

        Args:
            width: Factor on the channels of the convolutions.
            classifier: Width of the two hidden linear layers.
        """
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for size in LAYERS:
            if size == POOL:
                layers.append(nn.MaxPool2d(2))
                continue
            scaled = max(1, round(size * width))
            layers += [
                nn.Conv2d(channels, scaled, 3, padding=1),
                nn.BatchNorm2d(scaled),
                nn.ReLU(inplace=True),
            ]
            channels = scaled
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(channels, classifier),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(classifier, classifier),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(classifier, CLASSES),
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``(N, 10)`` of normalized images ``(N, 3, 32, 32)``."""
        logits: torch.Tensor = self.classifier(self.pool(self.features(images)).flatten(1))
        return logits


def vgg16(width: float = 1.0, classifier: int = 4096) -> VGG16:
    """The model in floating point; 33,646,666 parameters at full size."""
    return VGG16(width, classifier)


def qat(width: float = 1.0, classifier: int = 4096) -> VGG16:
    """The same model with its 33 quantizers, not calibrated: a checkpoint brings their amax."""
    model = VGG16(width, classifier)
    insert_quantizers(model)
    return model
