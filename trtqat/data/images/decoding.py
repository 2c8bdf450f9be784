"""From a file to pixels, by Pillow."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trtqat.data.images.options import ImageOptions
from trtqat.data.images.placing import Placement, place
from trtqat.errors import DataError, first_line
from trtqat.extras import require
from trtqat.files import open_input, why_unreadable

if TYPE_CHECKING:
    from PIL import Image

Pixels = NDArray[np.uint8]

# What Pillow makes 8 bits of by cutting off, which is not what the image shows. Of colours of 16
# bits it reads the upper 8 itself.
_MORE_THAN_8_BITS = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

# EXIF's tag, and what its values ask for; those from 5 on swap width and height.
_ORIENTATION = 0x0112
_TURNING = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class BrokenImageError(DataError):
    """A file is no image, or a damaged one; ``why`` says which, as the end of a sentence."""

    def __init__(self, path: Path, why: str, remedy: str = "Copy it again") -> None:
        super().__init__(
            f"'{path}' cannot be decoded: {why}.",
            f"{remedy}, or leave out such images: add ',skip-broken' to the data.",
        )
        self.path = path
        self.why = why


@dataclass(frozen=True)
class Decoded:
    """One image as it goes into a batch.

    Attributes:
        pixels: Uint8 ``(H, W, 3)`` in red, green, blue, or ``(H, W, 1)``.
        placement: Where its pixels were before.
    """

    pixels: Pixels
    placement: Placement


def require_pillow() -> None:
    """Refuses to go on without Pillow.

    Raises:
        MissingError: It is not installed.
    """
    require("PIL.Image", extra="images", purpose="Reading images")


def decode(path: Path, options: ImageOptions, channels: int) -> Decoded:
    """Reads an image, and resizes and crops it.

    Of a file with several images the first one is read. Transparency is dropped, as torchvision's
    loader drops it.

    Args:
        path: The file.
        options: What to do with the image.
        channels: 3 for colours, 1 for grey.

    Raises:
        BrokenImageError: It is no image, or a damaged one, or grey of more than 8 bits.
    """
    from PIL import Image

    with _broken(path), _opened(path) as file:
        image = _upright(file, options).convert("RGB" if channels == 3 else "L")
        width, height = image.size
        placement = place(width, height, options)
        if placement.resized != image.size:
            resampling = Image.Resampling[options.interpolation.upper()]
            image = image.resize(placement.resized, resampling)
        fill = 0 if options.letterbox is None else options.fill
        return Decoded(lay(image, placement, fill), placement)


def lay(image: Image.Image, placement: Placement, fill: int) -> Pixels:
    """The pixels of the canvas, ``(H, W, C)``.

    Args:
        image: It has been resized.
        placement: Where it goes.
        fill: What is beside it.
    """
    from PIL import Image

    if (placement.left, placement.top, *placement.canvas) != (0, 0, *image.size):
        if placement.is_covered:
            width, height = placement.canvas
            corner = -placement.left, -placement.top
            image = image.crop((*corner, corner[0] + width, corner[1] + height))
        else:
            canvas = Image.new(image.mode, placement.canvas, (fill,) * len(image.getbands()))
            canvas.paste(image, (placement.left, placement.top))
            image = canvas
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def size_of(path: Path, options: ImageOptions) -> tuple[int, int]:
    """Width and height of an image as its file says them, turned as ``options`` say.

    Args:
        path: The file.
        options: Whether to turn it.

    Raises:
        BrokenImageError: It is no image.
    """
    with _broken(path), _opened(path) as image:
        width, height = image.size
        return (width, height) if _orientation(image, options) < 5 else (height, width)


def why_broken(path: Path) -> str | None:
    """Why an image cannot be decoded, as the end of a sentence; None if it can."""
    try:
        with _broken(path), _opened(path) as image:
            image.load()
    except BrokenImageError as error:
        return error.why
    return None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """An image whose header is read.

    Raises:
        BrokenImageError: It is grey of more than 8 bits.
    """
    from PIL import Image

    with open_input(path) as file, Image.open(file) as image:
        if image.mode in _MORE_THAN_8_BITS:
            why = f"it has more than 8 bits per channel (Pillow's '{image.mode}')"
            raise BrokenImageError(path, why, "Save it with 8 bits per channel")
        yield image


def _orientation(image: Image.Image, options: ImageOptions) -> int:
    """EXIF's number of how to turn an image; 1 is as it is, also where EXIF says nothing sound."""
    # Pillow turns a TIFF itself as it loads it, and tells the turned size before.
    if options.as_stored or image.format == "TIFF":
        return 1
    try:
        found = image.getexif().get(_ORIENTATION)
    # EXIF with another beginning than that of a TIFF; the image itself may be sound.
    except SyntaxError:
        return 1
    return next((each for each in _TURNING if each == found), 1)


def _upright(image: Image.Image, options: ImageOptions) -> Image.Image:
    from PIL import Image

    turning = _TURNING.get(_orientation(image, options))
    return image if turning is None else image.transpose(Image.Transpose[turning])


@contextlib.contextmanager
def _broken(path: Path) -> Iterator[None]:
    """Around Pillow's work on a file."""
    try:
        yield
    except BrokenImageError:
        raise
    except MemoryError as error:
        raise BrokenImageError(path, "it does not fit into memory") from error
    except OSError as error:
        # Pillow's own have no number.
        why = why_unreadable(error) if error.errno else first_line(error)
        if "cannot identify image file" in why:
            why = "it is no image that Pillow knows"
        raise BrokenImageError(path, why) from error
    # Pillow's decoders raise half a dozen kinds of exceptions where bytes were changed.
    except Exception as error:
        raise BrokenImageError(path, first_line(error)) from error
