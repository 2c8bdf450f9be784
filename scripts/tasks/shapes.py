"""Coloured shapes on photographs of clothes: images with the class of each pixel, and with boxes.

Each image is made from its number alone, so that no file is needed and asking twice gives the same.
Behind the shapes lie images of Fashion-MNIST where its files are here, and stripes where not.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Batch
from trtqat.data.idx import read_split
from trtqat.data.labels import Labels

SIZE = 64
KINDS = ("disc", "square", "triangle", "ring")
# Where Debian's package puts it.
_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_TILE = SIZE // 2
_MOST_SHAPES = 4
# Half of a side, in pixels.
_SMALLEST, _LARGEST = 5, 13
# A shape of which more than this share would lie on others is drawn elsewhere.
_MOST_ON_OTHERS = 0.1
_TRIES = 20
# Images of the test set follow behind those of the training set.
_FIRST_TEST = 1_000_000


@dataclass(frozen=True)
class Scene:
    """One image and what is in it.

    Attributes:
        image: Float32 from 0 to 1, ``(3, 64, 64)``.
        mask: Class of each pixel, ``(64, 64)``: 0 behind the shapes, then ``KINDS`` from 1 on.
        boxes: Left, top, right and bottom of each shape in pixels, float64 ``(K, 4)``.
        classes: Its index in ``KINDS``, ``(K,)``.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.int64]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]


class Scenes:
    """Scenes in a fixed order; those that were drawn are kept."""

    def __init__(self, count: int, *, is_test: bool = False) -> None:
        """Draws nothing yet.

        Args:
            count: How many.
            is_test: Whether they are none of the training set's.
        """
        self._count, self._first = count, _FIRST_TEST if is_test else 0
        self._drawn: dict[int, Scene] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Scene:
        if not 0 <= index < self._count:
            raise IndexError(index)
        if index not in self._drawn:
            self._drawn[index] = draw(self._first + index)
        return self._drawn[index]

    def images(self, start: int, stop: int) -> NDArray[np.float32]:
        """Images ``(N, 3, 64, 64)``."""
        return np.stack([self[index].image for index in range(start, stop)])


class LabelledScenes:
    """Scenes with a label of each, for ``--data``."""

    def __init__(self, scenes: Scenes, label: Callable[[Sequence[Scene]], Labels]) -> None:
        """Keeps both.

        Args:
            scenes: To be read by batches.
            label: The labels of some of them.
        """
        self._scenes, self._label = scenes, label

    def __len__(self) -> int:
        return len(self._scenes)

    def batch(self, start: int, stop: int) -> Batch:
        """Images ``(N, 3, 64, 64)`` and what the task knows of them."""
        scenes = [self._scenes[index] for index in range(start, stop)]
        return Batch({"images": self._scenes.images(start, stop)}, self._label(scenes))


def draw(number: int) -> Scene:
    """The scene of a number, which is the seed of all that is in it."""
    generator = np.random.default_rng(number)
    image = _behind(generator)
    mask = np.zeros((SIZE, SIZE), np.int64)
    boxes, classes = [], []
    for _ in range(generator.integers(1, _MOST_SHAPES + 1)):
        kind = int(generator.integers(len(KINDS)))
        inside = _place(kind, mask, generator)
        if inside is None:
            continue
        colour = generator.uniform(0.15, 1.0, 3)
        shade = 1 + 0.15 * generator.standard_normal((SIZE, SIZE))
        image = np.where(inside, np.clip(colour[:, None, None] * shade, 0, 1), image)
        mask[inside] = kind + 1
        rows, columns = np.nonzero(inside)
        boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        classes.append(kind)
    noisy = np.clip(image + 0.03 * generator.standard_normal(image.shape), 0, 1)
    return Scene(
        noisy.astype(np.float32),
        mask,
        np.array(boxes, np.float64).reshape(-1, 4),
        np.array(classes, np.int64),
    )


def _behind(generator: np.random.Generator) -> NDArray[np.float64]:
    """Four tiles, each of a photograph or of stripes, in a colour of its own."""
    photographs = _photographs()
    image = np.zeros((3, SIZE, SIZE))
    for top in (0, _TILE):
        for left in (0, _TILE):
            if photographs is not None:
                one = photographs[generator.integers(len(photographs))]
                tile = np.pad(one, (_TILE - one.shape[0]) // 2).astype(np.float64) / 255
            else:
                angle, pitch = generator.uniform(0, np.pi), generator.uniform(0.3, 1.2)
                rows, columns = np.mgrid[:_TILE, :_TILE]
                along = np.cos(angle) * rows + np.sin(angle) * columns
                tile = 0.5 + 0.5 * np.sin(pitch * along)
            tint = generator.uniform(0.3, 0.9, 3)
            image[:, top : top + _TILE, left : left + _TILE] = tint[:, None, None] * tile
    return image


def _place(
    kind: int, mask: NDArray[np.int64], generator: np.random.Generator
) -> NDArray[np.bool_] | None:
    """Where a shape's pixels are; None if there is no room for it."""
    for _ in range(_TRIES):
        half = generator.uniform(_SMALLEST, _LARGEST)
        row, column = generator.uniform(half, SIZE - half, 2)
        inside = _INSIDE[KINDS[kind]](row, column, half)
        on_others = np.count_nonzero(inside & (mask > 0))
        if on_others <= _MOST_ON_OTHERS * np.count_nonzero(inside):
            return inside
    return None


def _grid(row: float, column: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return rows + 0.5 - row, columns + 0.5 - column


def _disc(row: float, column: float, half: float) -> NDArray[np.bool_]:
    down, right = _grid(row, column)
    return np.asarray(down**2 + right**2 <= half**2)


def _square(row: float, column: float, half: float) -> NDArray[np.bool_]:
    down, right = _grid(row, column)
    return np.asarray((abs(down) <= 0.85 * half) & (abs(right) <= 0.85 * half))


def _triangle(row: float, column: float, half: float) -> NDArray[np.bool_]:
    down, right = _grid(row, column)
    return np.asarray((down <= half) & (abs(right) <= (down + half) / 2))


def _ring(row: float, column: float, half: float) -> NDArray[np.bool_]:
    down, right = _grid(row, column)
    far = down**2 + right**2
    return np.asarray((far <= half**2) & (far >= (0.55 * half) ** 2))


_INSIDE: dict[str, Callable[[float, float, float], NDArray[np.bool_]]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "ring": _ring,
}


@functools.cache
def _photographs() -> NDArray[Any] | None:
    """Fashion-MNIST's training images ``(N, 28, 28)``; ``FASHION_MNIST`` names another folder."""
    folder = Path(os.environ.get("FASHION_MNIST") or _FASHION_MNIST)
    if not folder.is_dir():
        return None
    images, _ = read_split(folder, "train")
    return images.reshape(len(images), 28, 28)
