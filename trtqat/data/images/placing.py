"""Where the pixels of an image go: its new size, and what of it is in the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.data.images.options import ImageOptions


@dataclass(frozen=True)
class Placement:
    """An image that is resized, and then laid on a canvas; all in pixels.

    Attributes:
        stored: Width and height before.
        resized: Width and height once resized.
        canvas: Width and height of the result.
        left: Where on the canvas the image's first column is; negative where columns are cut off.
        top: The same of its first row.
    """

    stored: tuple[int, int]
    resized: tuple[int, int]
    canvas: tuple[int, int]
    left: int
    top: int

    @property
    def is_covered(self) -> bool:
        """Whether the image covers the canvas."""
        right, bottom = self.left + self.resized[0], self.top + self.resized[1]
        return (
            max(self.left, self.top) <= 0 and right >= self.canvas[0] and bottom >= self.canvas[1]
        )

    @property
    def cuts(self) -> bool:
        """Whether a part of the image is off the canvas."""
        right, bottom = self.left + self.resized[0], self.top + self.resized[1]
        return min(self.left, self.top) < 0 or right > self.canvas[0] or bottom > self.canvas[1]

    @property
    def area_scale(self) -> float:
        """How many times as large an area is behind the resizing."""
        return float(np.prod(np.array(self.resized) / np.array(self.stored)))

    def points(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points ``(…, 2)``, x and y in the image as it was, in the result.

        Args:
            points: 0 is the left or upper edge of the first pixel.
        """
        scale = np.array(self.resized) / np.array(self.stored)
        moved: NDArray[np.float64] = points * scale + (self.left, self.top)
        return moved


def place(width: int, height: int, options: ImageOptions) -> Placement:
    """What becomes of an image of a size.

    Args:
        width: At least 1.
        height: At least 1.
        options: What to do with it.
    """
    if options.letterbox is not None:
        return _letterboxed((width, height), options.letterbox)
    resized = _resized(width, height, options.resize)
    if options.crop is None:
        return Placement((width, height), resized, resized, 0, 0)
    crop_height, crop_width = options.crop
    left, top = _offset(resized[0], crop_width), _offset(resized[1], crop_height)
    return Placement((width, height), resized, (crop_width, crop_height), left, top)


def _resized(width: int, height: int, size: int | tuple[int, ...] | None) -> tuple[int, int]:
    """Width and height behind torchvision's ``Resize``."""
    if size is None:
        return width, height
    if isinstance(size, tuple):
        return size[-1], size[0]
    # Torchvision cuts the longer side's fraction off.
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _offset(length: int, crop: int) -> int:
    """Where a side begins behind torchvision's ``CenterCrop``."""
    if crop > length:
        return (crop - length) // 2
    # Halves to the even number, as Python rounds.
    return -round((length - crop) / 2)


def _letterboxed(stored: tuple[int, int], size: tuple[int, int]) -> Placement:
    height, width = size
    ratio = min(width / stored[0], height / stored[1])
    resized = max(1, round(stored[0] * ratio)), max(1, round(stored[1] * ratio))
    # An odd pixel goes to the right and below.
    left, top = (width - resized[0]) // 2, (height - resized[1]) // 2
    return Placement(stored, resized, (width, height), left, top)
