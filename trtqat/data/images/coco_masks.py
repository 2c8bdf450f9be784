"""The class of each pixel, from COCO's segmentations: polygons, or run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trtqat.data.images.coco_file import CocoImage
from trtqat.data.images.decoding import lay
from trtqat.data.images.placing import Placement
from trtqat.errors import DataError
from trtqat.extras import require

BACKGROUND = 0
# Of crowds: what is predicted there is neither right nor wrong.
IGNORED = 255


def class_map(image: CocoImage, placement: Placement) -> NDArray[np.int64]:
    """The class of each pixel of the input, int64 ``(H, W)``.

    0 is the background, 1 the class 0 and so on, and 255 a crowd. A pixel of several objects is of
    the one that covers the fewest.

    Args:
        image: With its segmentations.
        placement: Where its pixels go.

    Raises:
        DataError: A mask is of another size than the image.
    """
    width, height = placement.canvas
    found = np.zeros((height, width), np.int64)
    for each in image.segmentations:
        if isinstance(each, dict) and tuple(each["size"]) != placement.stored[::-1]:
            raise DataError(
                f"A mask of '{image.file}' is of {each['size'][0]}x{each['size'][1]}, the image of "
                f"{placement.stored[1]}x{placement.stored[0]} (height x width).",
                "Give the images that were annotated.",
            )
    masks = [_mask(each, placement) for each in image.segmentations]
    by_size = sorted(range(len(masks)), key=lambda index: -int(masks[index].sum()))
    for index in by_size:
        value = IGNORED if image.crowd[index] else image.classes[index] + 1
        found[masks[index]] = value
    return found


def check_masks(source: str, images: Sequence[CocoImage]) -> None:
    """Refuses segmentations that cannot be drawn, before anything is measured.

    Args:
        source: The data in words, the subject of a message.
        images: With their segmentations.

    Raises:
        MissingError: There are packed run lengths, and no pycocotools.
        DataError: A segmentation is none, or there are more classes than a map has numbers for.
    """
    for image in images:
        if max(image.classes, default=0) + 1 >= IGNORED:
            raise DataError(
                f"{source} has more than {IGNORED - 1} classes.", "Use file.py:factory for them."
            )
        for each in image.segmentations:
            if _are_packed(each):
                require("pycocotools.mask", extra="coco", purpose="Reading COCO's packed masks")
                _check_packed(each, image.file)
            if not (_are_polygons(each) or _are_packed(each) or _are_runs(each)):
                raise DataError(
                    f"{source} has no segmentation that can be drawn for an object in "
                    f"'{image.file}'.",
                    "Leave out ',masks', or give annotations with polygons or run lengths.",
                )


def _mask(
    segmentation: Any,  # noqa: ANN401
    placement: Placement,
) -> NDArray[np.bool_]:
    """Which pixels of the input an object covers."""
    from PIL import Image

    if isinstance(segmentation, list):
        drawn = np.zeros(placement.canvas[::-1], bool)
        for polygon in segmentation:
            drawn |= _inside(placement.points(np.reshape(polygon, (-1, 2))), placement.canvas)
        return drawn
    stored = _packed(segmentation) if _are_packed(segmentation) else _runs(segmentation)
    image = Image.fromarray(stored.astype(np.uint8))
    image = image.resize(placement.resized, Image.Resampling.NEAREST)
    covered: NDArray[np.bool_] = lay(image, placement, 0)[..., 0] > 0
    return covered


def _inside(points: NDArray[np.float64], canvas: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels whose middle is inside of a polygon; Pillow's polygons are wider by a pixel.

    Args:
        points: Its corners ``(K, 2)``.
        canvas: Width and height.
    """
    width, height = canvas
    (left, top), (right, bottom) = points.T[:, None], np.roll(points, -1, axis=0).T[:, None]
    middles = np.arange(height)[:, None] + 0.5
    # Each row by each side of the polygon: does it cross the row's middle, and where?
    crosses = (top <= middles) != (bottom <= middles)
    rows, sides = np.nonzero(crosses)
    slope = (right - left)[0, sides] / (bottom - top)[0, sides]
    at = left[0, sides] + (middles[rows, 0] - top[0, sides]) * slope
    first = np.ceil(at - 0.5).clip(0, width).astype(int)
    # From each crossing on pixels are inside, until the next one.
    turns = np.zeros((height, width + 1), int)
    np.add.at(turns, (rows, first), 1)
    inside: NDArray[np.bool_] = turns.cumsum(axis=1)[:, :width] % 2 == 1
    return inside


def _packed(segmentation: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    from pycocotools import mask

    decoded: NDArray[np.uint8] = mask.decode(segmentation)
    return decoded


def _check_packed(segmentation: Any, file: Path) -> None:  # noqa: ANN401
    """Refuses run lengths that are damaged, or do not cover the mask.

    pycocotools decodes those too: what they do not reach is whatever stood in memory.
    """
    height, width = segmentation["size"]
    runs = _unpacked(segmentation["counts"])
    if runs is None or min(runs, default=0) < 0:
        why = "they are damaged"
    elif sum(runs) != height * width:
        why = f"they cover {sum(runs)} pixels of {height}x{width}"
    else:
        return
    raise DataError(
        f"The packed run lengths of a mask of '{file}' are none: {why}.",
        "Pack them with pycocotools, or give polygons or plain run lengths.",
    )


def _unpacked(text: str) -> list[int] | None:
    """The run lengths of COCO's packed text; None if it is none.

    A character has five bits of a number, the lowest ones first, and a sixth if more follow. From
    the fourth number on each is how much longer the run is than the one two before it.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    return None if shift else runs


def _runs(segmentation: Any) -> NDArray[np.uint8]:  # noqa: ANN401
    """A mask by columns: so many pixels outside, so many inside, and so on."""
    height, width = segmentation["size"]
    counts = segmentation["counts"]
    values = np.arange(len(counts), dtype=np.uint8) % 2
    decoded: NDArray[np.uint8] = np.repeat(values, counts).reshape(width, height).T
    return decoded


def _are_polygons(segmentation: object) -> bool:
    return isinstance(segmentation, list) and all(
        isinstance(polygon, list)
        and len(polygon) >= 6
        and len(polygon) % 2 == 0
        and all(isinstance(each, (int, float)) and abs(each) < 2**31 for each in polygon)
        for polygon in segmentation
    )


def _are_packed(segmentation: object) -> bool:
    return _has_size(segmentation) and isinstance(segmentation["counts"], str)  # type: ignore[index]


def _are_runs(segmentation: object) -> bool:
    if not _has_size(segmentation):
        return False
    height, width = segmentation["size"]  # type: ignore[index]
    counts = segmentation["counts"]  # type: ignore[index]
    return (
        isinstance(counts, list)
        and all(isinstance(each, int) and each >= 0 for each in counts)
        and sum(counts) == height * width
    )


def _has_size(segmentation: object) -> bool:
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        return False
    size = segmentation.get("size")
    return (
        isinstance(size, list)
        and len(size) == 2
        and all(isinstance(each, int) and each > 0 for each in size)
    )
