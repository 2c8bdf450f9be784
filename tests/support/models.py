"""Small QAT models that differ in what makes an export hard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from trtqat.quant.toolkits.silence import load_toolkit
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.tensors import TensorSpec


def quantizer() -> nn.Module:
    """A per-tensor activation quantizer, not calibrated."""
    made: nn.Module = load_toolkit().nn.TensorQuantizer()
    return made


class Residual(nn.Module):
    """A shortcut with a quantizer of its own, BatchNorm, an average pool."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.conv1 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.shortcut = quantizer()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        x = torch.relu(y + self.shortcut(x))
        logits: torch.Tensor = self.fc(self.pool(x).flatten(1))
        return logits


class Depthwise(nn.Module):
    """Inverted residual of MobileNet: 1x1, depthwise 3x3, 1x1, ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 24, 1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU6(),
            nn.Conv2d(24, 24, 3, stride=2, padding=1, groups=24, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU6(),
            nn.Conv2d(24, 16, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return y.mean((2, 3))


class Transposed(nn.Module):
    """An encoder and a decoder with a transposed convolution; the output is an image."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 2, stride=2)
        self.head = nn.Conv2d(16, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.down(x))
        y = torch.relu(self.up(y))
        image: torch.Tensor = self.head(torch.cat([y, nn.functional.pad(x, (0, 0, 0, 0, 0, 5))], 1))
        return image


class Attention(nn.Module):
    """One head of self-attention: quantized linears and quantized MatMul operands."""

    def __init__(self, size: int = 32) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(size)
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)
        self.out = nn.Linear(size, size)
        self.on_query, self.on_key = quantizer(), quantizer()
        self.on_weights, self.on_value = quantizer(), quantizer()
        self.scale = size**-0.5

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.norm(tokens)
        scores = self.on_query(self.query(x)) @ self.on_key(self.key(x)).transpose(1, 2)
        weights = torch.softmax(scores * self.scale, dim=-1)
        mixed = self.on_weights(weights) @ self.on_value(self.value(x))
        y: torch.Tensor = tokens + self.out(mixed)
        return y


class TwoInputs(nn.Module):
    """An image and a vector in, a dict of two tensors out; a layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.shared = nn.Linear(8, 8)
        self.fc = nn.Linear(16, 4)

    def forward(self, image: torch.Tensor, vector: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.shared(self.conv(image).mean((2, 3)))
        y = self.shared(vector)
        return {"logits": self.fc(torch.cat([x, y], 1)), "features": x}


@dataclass(frozen=True)
class Plain:
    """A model and its inputs."""

    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]

    def batch(self, size: int, seed: int = 7) -> tuple[torch.Tensor, ...]:
        """Random inputs of a batch size."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            torch.randint(0, 50, (size, *spec.shape[1:]), generator=generator)
            if spec.dtype == "int64"
            else torch.randn(size, *spec.shape[1:], generator=generator)
            for spec in self.inputs
        )


@dataclass(frozen=True)
class Example(Plain):
    """One that has quantizers, and how many Q/DQ pairs it must have."""

    pairs: int

    def qat(self, seed: int = 0) -> nn.Module:
        """The model, quantized and calibrated on random data, in eval mode."""
        torch.manual_seed(seed)
        model = self.build()
        insert_quantizers(model, transposed=True)
        _give_batch_norm_statistics(model)
        calibrate(model, [self.batch(8)])
        return model.eval()


def _give_batch_norm_statistics(model: nn.Module) -> None:
    """Weights of both signs, and statistics that are neither 0 nor 1."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, std=0.5)
            nn.init.normal_(module.bias, std=0.2)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)


_IMAGE = TensorSpec("x", (1, 3, 16, 16))

EXAMPLES = {
    "residual": Example(Residual, (_IMAGE,), pairs=10),
    "depthwise": Example(Depthwise, (_IMAGE,), pairs=6),
    "transposed": Example(Transposed, (_IMAGE,), pairs=6),
    "attention": Example(Attention, (TensorSpec("tokens", (1, 9, 32)),), pairs=12),
    "two_inputs": Example(
        TwoInputs,
        (TensorSpec("image", (1, 3, 8, 8)), TensorSpec("vector", (1, 8))),
        # The shared layer runs twice: one pair for its weight, two for its inputs.
        pairs=7,
    ),
}
