"""Small images in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def drawn(seed: int, height: int = 24, width: int = 32) -> NDArray[np.uint8]:
    """Noise ``(H, W, 3)``."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_image(
    path: Path, pixels: NDArray[np.uint8], *, mode: str = "RGB", orientation: int | None = None
) -> Path:
    """Writes an image, in the format of its name's end, and returns the path.

    Args:
        path: Its folder is made.
        pixels: ``(H, W, 3)``.
        mode: Pillow's name for what is stored.
        orientation: EXIF's number; None writes no EXIF.
    """
    from PIL import Image

    image = Image.fromarray(pixels)
    image = image.quantize(64) if mode == "P" else image.convert(mode)
    path.parent.mkdir(parents=True, exist_ok=True)
    if orientation is None:
        image.save(path)
    else:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(path, exif=exif)
    return path


def write_classes(folder: Path, count: int = 4, *, height: int = 24, width: int = 32) -> list[int]:
    """Writes images into the folders ``ants`` and ``bees``, and returns their classes in order.

    Args:
        folder: Where to.
        count: Images in each.
        height: Of each.
        width: Of each.
    """
    for number, name in enumerate(("ants", "bees")):
        for index in range(count):
            pixels = drawn(number * count + index, height, width)
            write_image(folder / name / f"{index:03}.png", pixels)
    return [0] * count + [1] * count
