"""Twelve quantized models whose FP16 graphs differ in what makes them hard.

Four are those of ``scripts/models`` and the demo, two those of the tests, and six are small: what a
graph of FP32 and Q/DQ may have beside its quantized layers. Two have values that FP16 does not
hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from scripts.models import mobilenet, resnet, vit
from scripts.models.untrained import quantized, with_statistics
from scripts.vgg16_cifar10.vgg16 import vgg16
from tests.support.models import EXAMPLES
from trtqat.quant.training import calibrate, insert_quantizers
from trtqat.tensors import Arrays, TensorSpec

TOKENS = 300


@dataclass(frozen=True)
class Workload:
    """A model to make an FP16 graph of.

    Attributes:
        build: Makes it, quantized and calibrated on ``batch(8, 0)`` or on random images.
        inputs: What it takes.
        size: What the random numbers of its inputs are multiplied with.
        first: Least position where positions are asked for.
        held_out: How much larger the inputs are that graphs are compared on.
        samples: Size of the batches that values are measured on.
        classes: Whether its output is one score a class, so that the greatest can be compared.
    """

    build: Callable[[], nn.Module]
    inputs: tuple[TensorSpec, ...]
    size: float = 1.0
    first: int = 0
    held_out: float = 1.0
    samples: int = 8
    classes: bool = False

    def batch(self, count: int, seed: int) -> Arrays:
        """Random inputs ``(count, …)`` by name.

        Floats are normal, tokens are any, and positions rise from one of 400.
        """
        generator = torch.Generator().manual_seed(seed)

        def numbers(spec: TensorSpec) -> torch.Tensor:
            shape = (count, *spec.shape[1:])
            if spec.name == "positions":
                first = self.first + torch.randint(400, (count, 1), generator=generator)
                return first + torch.arange(shape[1])
            if spec.dtype == "int64":
                return torch.randint(TOKENS, shape, generator=generator)
            return torch.randn(shape, generator=generator) * self.size

        return {spec.name: numbers(spec).numpy() for spec in self.inputs}


class Sequences(nn.Module):
    """Convolutions over time, one of them depthwise, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(4, 32, 5, padding=2)
        self.depthwise = nn.Conv1d(32, 32, 5, padding=2, groups=32)
        self.head = nn.Linear(32, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, 4, T)`` → scores ``(N, 6)``."""
        y = torch.relu(self.depthwise(nn.functional.gelu(self.first(x))))
        scores: torch.Tensor = self.head(y.mean(2))
        return scores


class Recurrent(nn.Module):
    """An LSTM in FP32 between quantized linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(8, 32)
        self.lstm = nn.LSTM(32, 32, batch_first=True)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, T, 8)`` → ``(N, T, 4)``."""
        y: torch.Tensor = self.head(self.lstm(torch.relu(self.embed(x)))[0])
        return y


class Pyramid(nn.Module):
    """Two scales of an image, the coarse one resized to the fine one's size and put beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.coarse = nn.Conv2d(16, 32, 3, stride=3, padding=1)
        self.head = nn.Conv2d(48, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, 3, H, W)`` → ``(N, 8, H, W)``."""
        fine = torch.relu(self.fine(x))
        coarse = torch.relu(self.coarse(fine))
        wide = nn.functional.interpolate(coarse, size=fine.shape[2:], mode="bilinear")
        y = self.head(torch.cat([fine, wide], 1))
        return nn.functional.interpolate(y, scale_factor=2.0, mode="nearest")


class Decoder(nn.Module):
    """A block as in a language model: RMSNorm, rotary positions, a causal mask, a gated MLP.

    The mask is the least float32, as libraries of transformers write it.
    """

    def __init__(self, width: int = 64, length: int = 24) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TOKENS, width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.gate, self.up = nn.Linear(width, 4 * width), nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.head = nn.Linear(width, TOKENS)
        self.weight = nn.Parameter(torch.ones(width))
        self.frequencies: torch.Tensor
        self.mask: torch.Tensor
        self.register_buffer("frequencies", 10000.0 ** -(torch.arange(0, width, 2) / width))
        least = torch.finfo(torch.float32).min
        self.register_buffer("mask", torch.full((length, length), least).triu(1))
        self.scale = width**-0.5
        # Scores of about 3, as training makes them: attention then depends on positions.
        with torch.no_grad():
            self.query.weight *= 3
            self.key.weight *= 3

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """``(N, T)`` int64, twice → scores ``(N, T, TOKENS)``."""
        x = self.embedding(tokens)
        y = self._norm(x)
        angles = positions.float()[..., None] * self.frequencies
        query, key = (_rotated(layer(y), angles) for layer in (self.query, self.key))
        weights = torch.softmax(query @ key.transpose(1, 2) * self.scale + self.mask, -1)
        x = x + self.out(weights @ self.value(y))
        y = self._norm(x)
        x = x + self.down(nn.functional.silu(self.gate(y)) * self.up(y))
        scores: torch.Tensor = self.head(self._norm(x))
        return scores

    def _norm(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-12) * self.weight


def _rotated(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    even, odd = x.chunk(2, -1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([even * cosine - odd * sine, even * sine + odd * cosine], -1)


class Sensor(nn.Module):
    """Counts of a 16-bit sensor in, a pressure in pascals out: values above FP16's 65504.

    The power of the signal is their mean square; a BatchNorm brings its logarithm to size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(6)
        self.first = nn.Conv2d(6, 32, 3, padding=1)
        self.second = nn.Conv2d(32, 32, 3, padding=1, stride=2)
        self.head = nn.Linear(32, 5)

    def forward(self, counts: torch.Tensor) -> torch.Tensor:
        """``(N, 3, H, W)`` of some ten thousands → pascals ``(N, 5)``, about 100,000."""
        power = nn.functional.avg_pool2d(counts * counts, 3, 1, 1)
        x = self.norm(torch.cat([counts * 1e-4, torch.log(power + 1.0)], 1))
        y = torch.relu(self.second(torch.relu(self.first(x))))
        pascals: torch.Tensor = self.head(y.mean((2, 3))) * 5000.0 + 101325.0
        return pascals


class Seismic(nn.Module):
    """Metres a second in, about 1e-6: scales of its pairs are below what FP16 has all bits for."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 16, 7, padding=3, bias=False)
        self.second = nn.Conv1d(16, 32, 5, stride=2, padding=2)
        self.head = nn.Linear(32, 4)
        # Channels that training left with next to nothing, and with nothing.
        with torch.no_grad():
            self.second.weight[3] *= 1e-5
            self.second.weight[5] = 0.0

    def forward(self, velocity: torch.Tensor) -> torch.Tensor:
        """``(N, 3, T)`` → scores ``(N, 4)``."""
        x = torch.relu(self.first(velocity)) * 1e6
        scores: torch.Tensor = self.head(torch.relu(self.second(x)).mean(2))
        return scores


def _small(
    build: Callable[[], nn.Module], *inputs: TensorSpec, size: float = 1.0, classes: bool = False
) -> Workload:
    def made() -> nn.Module:
        torch.manual_seed(0)
        model = build()
        batch = tuple(torch.from_numpy(each) for each in workload.batch(8, 0).values())
        if len(batch) == 1:
            with_statistics(model, batch)
        insert_quantizers(model, transposed=True)
        calibrate(model, [batch])
        return model.eval()

    workload = Workload(made, inputs, size, classes=classes)
    return workload


def _vgg16() -> nn.Module:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(8, 3, 32, 32, generator=generator) for _ in range(2)]
    return quantized(with_statistics(vgg16(), batches), batches)


def _image(size: int) -> tuple[TensorSpec, ...]:
    return (TensorSpec("images", (1, 3, size, size)),)


def _of_tests(names: Sequence[str]) -> dict[str, Workload]:
    return {name: Workload(EXAMPLES[name].qat, EXAMPLES[name].inputs) for name in names}


WORKLOADS = {
    **_of_tests(["transposed", "two_inputs"]),
    "conv1d": _small(Sequences, TensorSpec("x", (1, 4, 64)), classes=True),
    "lstm": _small(Recurrent, TensorSpec("x", (1, 12, 8))),
    "resize": _small(Pyramid, TensorSpec("x", (1, 3, 32, 32))),
    "decoder": _small(
        Decoder,
        TensorSpec("tokens", (1, 24), "int64"),
        TensorSpec("positions", (1, 24), "int64"),
        classes=True,
    ),
    "large values": _small(Sensor, TensorSpec("counts", (1, 3, 16, 16)), size=16000.0),
    "small scales": _small(Seismic, TensorSpec("velocity", (1, 3, 64)), size=1e-6, classes=True),
    "vgg16": Workload(_vgg16, _image(32), classes=True),
    "resnet50": Workload(resnet.qat, _image(224), samples=2, classes=True),
    "mobilenet": Workload(mobilenet.qat, _image(224), samples=2, classes=True),
    "vit": Workload(vit.qat, _image(224), samples=2, classes=True),
}
