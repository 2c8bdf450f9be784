"""A small classifier of bars in three directions, and its samples: fine-tuning in seconds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trtqat.quant.tuning.fine_tune import fine_tune

CLASSES, SIZE = 3, 8
Batch = tuple[Tensor, Tensor]


class Net(nn.Module):
    """A convolution with BatchNorm, dropout, a skip that is added, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(8 * 16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.relu(self.conv2(x)) + x
        logits: Tensor = self.fc(self.dropout(functional.avg_pool2d(x, 2).flatten(1)))
        return logits


def samples(seed: int, count: int = 60) -> Batch:
    """Bars in three directions, under noise; another scale than 1."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    bars = torch.zeros(CLASSES, 1, SIZE, SIZE)
    bars[0, 0, 3:5] = bars[1, 0, :, 3:5] = 1
    bars[2, 0] = torch.eye(SIZE) + torch.eye(SIZE).flip(1)
    noise = torch.randn(count, 1, SIZE, SIZE, generator=generator)
    return 3 * (bars[labels] + 0.7 * noise), labels


def plain(seed: int = 0) -> list[Batch]:
    """The samples in five batches, in order."""
    images, labels = samples(seed)
    return list(zip(torch.split(images, 12), torch.split(labels, 12), strict=True))


def trained() -> Net:
    """The classifier in floating point, another one at each call."""
    torch.manual_seed(0)
    model = Net()
    fine_tune(model, plain(), epochs=6, ranges=None, lr=0.1)
    return model


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of a model's state dict."""
    return {name: value.clone() for name, value in model.state_dict().items()}


def is_same(first: nn.Module, second: nn.Module) -> bool:
    """Whether two models have the same state, bit for bit."""
    a, b = first.state_dict(), second.state_dict()
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
