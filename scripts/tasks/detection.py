"""Detection: a box and a class for each shape, found where a centre is most likely.

A heatmap for each class says where centres are, and four channels how far the sides are from there
(the idea of https://arxiv.org/abs/1904.07850). Peaks, the best of them and their boxes are found in
the graph, so an engine answers with boxes.

    python -m scripts.tasks.detection --output runs/tasks/detection.pt
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from scripts.tasks.fitting import fit, save, shuffled, train_by_command
from scripts.tasks.shapes import KINDS, SIZE, LabelledScenes, Scene, Scenes

TEST_SCENES = 500
# Of so many boxes the best ones are returned.
BOXES = 16
_STRIDE = 4
_CELLS = SIZE // _STRIDE
_WIDTHS = (16, 32, 64)
_BATCH = 32
# Half of the width of a centre on the heatmap, in cells.
_SPREAD = 0.7


def _conv(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()
    )


class Residual(nn.Module):
    """Two convolutions and a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _conv(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(N, channels, H, W)`` of the same shape."""
        y: torch.Tensor = self.relu(self.layers(x) + x)
        return y


class Heads(nn.Module):
    """Heatmaps and sides of every cell, which training sees."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = _WIDTHS
        self.near = nn.Sequential(
            _conv(3, first), _conv(first, second, 2), Residual(second), _conv(second, third, 2)
        )
        self.far = nn.Sequential(_conv(third, third, 2), Residual(third), Residual(third))
        self.larger = nn.Upsample(scale_factor=2, mode="nearest")
        self.joined = nn.Sequential(_conv(2 * third, third), Residual(third))
        self.heat = nn.Sequential(_conv(third, second), nn.Conv2d(second, len(KINDS), 1))
        self.sides = nn.Sequential(_conv(third, second), nn.Conv2d(second, 4, 1))
        # A centre is rare: without this the first steps only learn that.
        last = self.heat[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -3.0)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``(N, 3, 64, 64)`` → logits and sides ``(N, 4, 16, 16)``.

        The sides are left, top, right and bottom in pixels, from the middle of the cell.
        """
        near = self.near(images)
        x = self.joined(torch.cat([near, self.larger(self.far(near))], dim=1))
        heat: torch.Tensor = self.heat(x)
        sides: torch.Tensor = self.sides(x)
        return heat, sides


class Detector(nn.Module):
    """The heads, and the boxes of the most likely centres."""

    centres: torch.Tensor
    class_of: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.heads = Heads()
        self.pooled = nn.MaxPool2d(3, stride=1, padding=1)
        rows, columns = torch.from_numpy(_centres())
        centres = torch.stack([columns, rows, columns, rows], dim=2).reshape(-1, 4)
        self.register_buffer("centres", centres)
        self.register_buffer("class_of", torch.arange(len(KINDS)).repeat_interleave(BOXES))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """``(N, 3, 64, 64)`` → the 16 best boxes, best first.

        Returns:
            ``boxes`` ``(N, 16, 4)``, left, top, right and bottom in pixels; ``scores`` ``(N, 16)``
            from 0 to 1; ``classes`` ``(N, 16)``.
        """
        logits, sides = self.heads(images)
        return self.decode(logits, sides)

    def decode(self, logits: torch.Tensor, sides: torch.Tensor) -> dict[str, torch.Tensor]:
        """The best boxes of what the heads say.

        TensorRT 8.6.0 refused two forms of it that compared, divided indices, and both multiplied
        and added constants; which of that it was it does not say (``scripts.bench.refusals``). So
        here nothing is compared, no integer is computed with, and nothing is multiplied.

        Args:
            logits: ``(N, 4, 16, 16)``.
            sides: ``(N, 4, 16, 16)``.
        """
        heat = logits.sigmoid()
        # A cell beside a more likely one is the same centre: less 1 it is below 0.
        heat = torch.relu(heat - torch.sign(self.pooled(heat) - heat))
        # The best of each class, and of these the best: a division would tell class and cell, too.
        candidates, candidate_cells = heat.flatten(2).topk(BOXES, dim=2)
        scores, best = candidates.flatten(1).topk(BOXES, dim=1)
        cells = candidate_cells.flatten(1).gather(1, best)
        index = cells.unsqueeze(1).expand(-1, 4, -1)
        chosen = sides.flatten(2).gather(2, index).transpose(1, 2)
        boxes = nn.functional.embedding(cells, self.centres) + chosen
        classes = nn.functional.embedding(best, self.class_of.unsqueeze(1)).squeeze(2)
        return {"boxes": boxes, "scores": scores, "classes": classes}


def _centres() -> NDArray[np.float32]:
    """Rows and columns of the middles of cells ``(2, 16, 16)``, in pixels."""
    middles = (np.arange(_CELLS, dtype=np.float32) + 0.5) * _STRIDE
    return np.stack(np.meshgrid(middles, middles, indexing="ij"))


def fp32() -> nn.Module:
    """The model, for ``--checkpoint``."""
    return Detector()


def _boxes(scenes: Sequence[Scene]) -> tuple[dict[str, NDArray[Any]], ...]:
    return tuple({"boxes": each.boxes, "classes": each.classes} for each in scenes)


def test_data() -> LabelledScenes:
    """Scenes that no model was trained on, for ``--data``."""
    return LabelledScenes(Scenes(TEST_SCENES, is_test=True), _boxes)


def training_data() -> LabelledScenes:
    """The first training scenes, to calibrate on."""
    return LabelledScenes(Scenes(512), _boxes)


def targets(scene: Scene) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What the heads should say of a scene, ``(4, 16, 16)`` both, and which cells have sides."""
    heat = np.zeros((len(KINDS), _CELLS, _CELLS), np.float32)
    sides = np.zeros((4, _CELLS, _CELLS), np.float32)
    has_sides = np.zeros((_CELLS, _CELLS), np.float32)
    rows, columns = _centres()
    for box, kind in zip(scene.boxes, scene.classes, strict=True):
        left, top, right, bottom = box
        down, along = rows - (top + bottom) / 2, columns - (left + right) / 2
        far = (down**2 + along**2) / (2 * (_STRIDE * _SPREAD) ** 2)
        blob = np.where(far == far.min(), 1.0, np.exp(-far))
        heat[kind] = np.maximum(heat[kind], blob)
        near = far <= max(0.5, float(far.min()))
        has_sides[near] = 1
        for place, each in enumerate((left - columns, top - rows, right - columns, bottom - rows)):
            sides[place][near] = each[near]
    return torch.from_numpy(heat), torch.from_numpy(sides), torch.from_numpy(has_sides)


def _loss(found: Any, wanted: Any) -> torch.Tensor:  # noqa: ANN401
    """Focal loss of the heatmaps, and the mean distance of the sides in cells."""
    logits, sides = found
    heat, true_sides, has_sides = wanted
    chance = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    is_centre = heat == 1
    missed = -((1 - chance) ** 2) * chance.log()
    invented = -((1 - heat) ** 4) * chance**2 * (1 - chance).log()
    centres = is_centre.sum().clamp(min=1)
    focal = torch.where(is_centre, missed, invented).sum() / centres
    far = (sides - true_sides).abs().sum(dim=1) / _STRIDE
    loss: torch.Tensor = focal + (far * has_sides).sum() / has_sides.sum().clamp(min=1)
    return loss


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
    heat, sides, has_sides = map(
        torch.stack, zip(*(targets(scenes[index]) for index in range(count)), strict=True)
    )
    steps = count // _BATCH

    def batches(epoch: int) -> Iterator[tuple[torch.Tensor, object]]:
        for chosen in shuffled(count, _BATCH, epoch):
            yield images[chosen], (heat[chosen], sides[chosen], has_sides[chosen])

    model = Detector()
    fit(model.heads, batches, _loss, epochs=epochs, steps=steps, lr=3e-3, title="detection")
    model.eval()
    save(model, output)


if __name__ == "__main__":
    train_by_command(train, (__doc__ or "").splitlines()[0], scenes=2000, epochs=8)
