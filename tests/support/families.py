"""Kinds of layers that every builder must be asked about, each in a small QAT model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from scripts.models import mobilenet, resnet, vit
from scripts.models.untrained import images, quantized, with_statistics
from scripts.vgg16_cifar10 import vgg16
from tests.support.models import EXAMPLES, Example
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.tensors import TensorSpec

VOCABULARY = 50


class Grouped(nn.Module):
    """Convolutions in groups: of 4 channels, and of 16 with a stride."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.four = nn.Conv2d(16, 32, 3, padding=1, groups=4)
        self.sixteen = nn.Conv2d(32, 32, 5, stride=2, padding=2, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.four(torch.relu(self.stem(x))))
        features: torch.Tensor = self.sixteen(y)
        return features.mean((2, 3))


class OneDimensional(nn.Module):
    """Convolutions over time, one of them depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv1d(4, 8, 3, padding=1)
        self.depthwise = nn.Conv1d(8, 8, 5, padding=2, groups=8)
        self.fc = nn.Linear(8, 3)

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.depthwise(torch.relu(self.wide(signal))))
        logits: torch.Tensor = self.fc(y.mean(2))
        return logits


class Recurrent(nn.Module):
    """An LSTM, which stays in floating point, between quantized layers."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Linear(8, 16)
        self.lstm = nn.LSTM(16, 16, batch_first=True)
        self.after = nn.Linear(16, 4)

    def forward(self, steps: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(torch.relu(self.before(steps)))
        y: torch.Tensor = self.after(states)
        return y


class Embedded(nn.Module):
    """Numbers of words in, and a block of two linears with a residual."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 32)
        self.up = nn.Linear(32, 64)
        self.down = nn.Linear(64, 32)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        x = self.embedding(words)
        y: torch.Tensor = x + self.down(nn.functional.gelu(self.up(x)))
        return y.mean(1)


class Resized(nn.Module):
    """Two kinds of Resize, and a Concat of what they make, as in a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.up = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.down(x))
        near = nn.functional.interpolate(y, scale_factor=2.0, mode="nearest")
        smooth = nn.functional.interpolate(y, scale_factor=2.0, mode="bilinear")
        image: torch.Tensor = self.head(torch.cat([torch.relu(self.up(near)), smooth], 1))
        return image


class Joined(nn.Module):
    """A Concat of three quantized branches, which one quantized layer reads."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 1)
        self.three = nn.Conv2d(3, 8, 3, padding=1)
        self.five = nn.Conv2d(3, 16, 5, padding=2)
        self.head = nn.Conv2d(32, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [self.one(x), self.three(x), self.five(x)]
        y: torch.Tensor = self.head(torch.relu(torch.cat(branches, 1)))
        return y.mean((2, 3))


@dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        example: The model and its inputs.
        layers: How many layers of its graph are quantized.
        float_layers: Those of them that TensorRT for RTX builds in floating point all the same.
        takes_codes: Whether its first layers quantize its inputs, so that codes can come in.
    """

    example: Example
    layers: int
    float_layers: tuple[str, ...] = ()
    takes_codes: bool = True


@dataclass(frozen=True)
class Scripted(Example):
    """A model that scripts/ has, small, with statistics and ranges of random images."""

    def qat(self, seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        size = self.inputs[0].shape[-1]
        batches = [batch[..., :size, :size] for batch in images()]
        return quantized(with_statistics(self.build(), batches), batches)


def _resnet() -> nn.Module:
    """Half as wide: what a builder fuses does not depend on it, what export costs does."""
    widths, resnet.WIDTHS = resnet.WIDTHS, (32, 64, 128, 256)
    try:
        return resnet.ResNet(26, classes=100)
    finally:
        resnet.WIDTHS = widths


def _mobilenet() -> nn.Module:
    """All its stages, with no block more often than twice: the first has a stride, others a sum."""
    stages = [(*stage[:3], min(stage[3], 2), stage[4]) for stage in mobilenet.STAGES]
    return mobilenet.MobileNet(100, stages)


def _transformer() -> nn.Module:
    """One block, for images of 64x64: fewer patches and classes leave all layers as they are."""
    sizes = vit.DEPTH, vit.PATCHES
    vit.DEPTH, vit.PATCHES = 1, (64 // vit.PATCH) ** 2
    try:
        return vit.VisionTransformer(100)
    finally:
        vit.DEPTH, vit.PATCHES = sizes


_IMAGE = TensorSpec("x", (1, 3, 16, 16))
_SMALL = TensorSpec("images", (1, 3, 32, 32))

FAMILIES = {
    "residual": Family(EXAMPLES["residual"], 4),
    "depthwise": Family(EXAMPLES["depthwise"], 3),
    "transposed": Family(
        EXAMPLES["transposed"], 3, float_layers=("/up/ConvTranspose",), takes_codes=False
    ),
    "attention": Family(EXAMPLES["attention"], 6, takes_codes=False),
    "two_inputs": Family(EXAMPLES["two_inputs"], 4),
    "grouped": Family(Example(Grouped, (_IMAGE,), 6), 3),
    "one_dimensional": Family(Example(OneDimensional, (TensorSpec("signal", (1, 4, 32)),), 6), 3),
    "recurrent": Family(Example(Recurrent, (TensorSpec("steps", (1, 7, 8)),), 4), 2),
    "embedded": Family(
        Example(Embedded, (TensorSpec("words", (1, 6), "int64"),), 4), 2, takes_codes=False
    ),
    "resized": Family(Example(Resized, (_IMAGE,), 6), 3),
    "joined": Family(Example(Joined, (_IMAGE,), 8), 4),
    "vgg16": Family(Scripted(lambda: vgg16.vgg16(0.125, 64), (_SMALL,), 32), 16),
    "resnet26": Family(Scripted(_resnet, (_SMALL,), 0), 30),
    "mobilenet": Family(Scripted(_mobilenet, (_SMALL,), 0), 38),
    "transformer": Family(Scripted(_transformer, (TensorSpec("images", (1, 3, 64, 64)),), 0), 10),
}

# Ways to write a graph, as options of the export. The newest opset that the parser of TensorRT for
# RTX 1.7 reads is 24.
FORMS: dict[str, dict[str, Any]] = {
    "opset17": {"exporter": "torchscript"},
    "opset24": {"exporter": "torchscript", "opset": 24},
    "fp16": {"exporter": "torchscript", "opset": 19, "precision": "fp16"},
    "repaired": {"exporter": "torchscript", "improve": ImproveOptions(repair=True)},
    "int8_weights": {
        "exporter": "torchscript",
        "opset": 19,
        "improve": ImproveOptions(int8_weights=True),
    },
    "codes": {"exporter": "torchscript", "quantized_input": True},
    "dynamo17": {"exporter": "dynamo"},
    "dynamo24": {"exporter": "dynamo", "opset": 24},
    "dynamo_fp16": {"exporter": "dynamo", "opset": 19, "precision": "fp16"},
}
