"""Segmentation: which shape each pixel belongs to. A small encoder and decoder with skips.

python -m scripts.tasks.segmentation --output runs/tasks/segmentation.pt
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.tasks.fitting import fit, save, shuffled, train_by_command
from scripts.tasks.shapes import KINDS, LabelledScenes, Scene, Scenes

CLASSES = 1 + len(KINDS)
TEST_SCENES = 500
_WIDTHS = (32, 64, 128)
_BATCH = 32


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
        nn.Conv2d(out, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


class Segmenter(nn.Module):
    """Three levels down, two up by the nearest neighbour, each joined with its skip.

    The first level has half of the image's resolution: its head answers for four pixels at once.
    """

    def __init__(self) -> None:
        super().__init__()
        first, second, third = _WIDTHS
        self.first, self.second, self.third = (
            _block(3, first, stride=2),
            _block(first, second),
            _block(second, third),
        )
        self.pool = nn.MaxPool2d(2)
        self.larger = nn.Upsample(scale_factor=2, mode="nearest")
        self.up_second = _block(third + second, second)
        self.up_first = _block(second + first, first)
        self.head = nn.Conv2d(first, 4 * CLASSES, 1)
        self.pixels = nn.PixelShuffle(2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """``(N, 3, 64, 64)`` → logits ``(N, 5, 64, 64)``."""
        first = self.first(images)
        second = self.second(self.pool(first))
        third = self.third(self.pool(second))
        x = self.up_second(torch.cat([self.larger(third), second], dim=1))
        x = self.up_first(torch.cat([self.larger(x), first], dim=1))
        logits: torch.Tensor = self.pixels(self.head(x))
        return logits


def fp32() -> nn.Module:
    """The model, for ``--checkpoint``."""
    return Segmenter()


def _masks(scenes: Sequence[Scene]) -> NDArray[np.int64]:
    return np.stack([each.mask for each in scenes])


def test_data() -> LabelledScenes:
    """Scenes that no model was trained on, for ``--data``."""
    return LabelledScenes(Scenes(TEST_SCENES, is_test=True), _masks)


def training_data() -> LabelledScenes:
    """The first training scenes, to calibrate on."""
    return LabelledScenes(Scenes(512), _masks)


def train(output: Path, count: int, epochs: int) -> None:
    """Trains the model and writes its state dict.

    Args:
        output: The file.
        count: Training scenes.
        epochs: Passes over them.
    """
    torch.manual_seed(0)
    scenes = Scenes(count)
    images = torch.from_numpy(scenes.images(0, count))
    masks = torch.from_numpy(np.stack([scenes[index].mask for index in range(count)]))
    steps = count // _BATCH

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, object]]:
        for chosen in shuffled(count, _BATCH, epoch):
            mirrored = epoch % 2 == 1
            x, y = images[chosen], masks[chosen]
            yield (x.flip(-1), y.flip(-1)) if mirrored else (x, y)

    def loss(logits: object, target: object) -> torch.Tensor:
        assert isinstance(logits, torch.Tensor)
        assert isinstance(target, torch.Tensor)
        return nn.functional.cross_entropy(logits, target)

    model = fp32()
    fit(model, batches, loss, epochs=epochs, steps=steps, lr=4e-3, title="segmentation")
    save(model, output)


if __name__ == "__main__":
    train_by_command(train, (__doc__ or "").splitlines()[0], scenes=1200, epochs=12)
