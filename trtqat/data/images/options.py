"""How images become inputs: what stands behind the folder in ``images:DIR,resize=256,crop=224``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trtqat.checks import check_choice, check_kind, check_least
from trtqat.errors import UsageError

# Pillow's filters, by the names that torchvision has for them.
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")

Size = tuple[int, int]


@dataclass(frozen=True)
class ImageOptions:
    """From a file to an input, in this order; all sizes are height and width.

    Attributes:
        resize: One number is the shorter side, as of torchvision's ``Resize(256)``; a size is made
            whatever the image's proportions are. None leaves images as they are.
        crop: The middle of the image, black where the image is smaller, as of ``CenterCrop``.
        letterbox: Instead of both: the largest size of the image's proportions that fits in, in
            the middle.
        fill: What is beside a letterboxed image, 0 to 255.
        interpolation: Pillow's filter; all but ``nearest`` weigh every pixel when they shrink.
        bgr: Whether the channels are blue, green, red.
        scale: Pixels are divided by it, as by ``ToTensor``. For inputs in floating point.
        mean: Subtracted from that, a number or one per channel, as by ``Normalize``.
        std: Divides the difference.
        as_stored: Whether to leave an image as its file has it, as torchvision's ImageFolder does,
            instead of turning it as its EXIF orientation says.
        skip_broken: Whether to leave out images that cannot be decoded: all are decoded once more.
    """

    resize: int | Size | None = None
    crop: Size | None = None
    letterbox: Size | None = None
    fill: int = 114
    interpolation: str = "bilinear"
    bgr: bool = False
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    as_stored: bool = False
    skip_broken: bool = False

    def __post_init__(self) -> None:
        if self.letterbox is not None and (self.resize is not None or self.crop is not None):
            raise UsageError(
                "An image is either put into a letterbox, or resized and cropped.",
                "Leave out letterbox, or resize and crop.",
            )
        for name in ("resize", "crop", "letterbox"):
            _check_size(name, getattr(self, name), alone=name == "resize")
        check_kind("fill", self.fill, int, "114")
        if not 0 <= self.fill <= 255:
            raise UsageError(f"fill is {self.fill}.", "Give 0 to 255.")
        check_choice("interpolation", self.interpolation, INTERPOLATIONS)
        _check_numbers("scale", (self.scale,), positive=True)
        _check_numbers("mean", self.mean, positive=False)
        _check_numbers("std", self.std, positive=True)

    @property
    def changes_values(self) -> bool:
        """Whether pixels are scaled or normalized otherwise than to 0 to 1."""
        return (self.scale, self.mean, self.std) != (255.0, (0.0,), (1.0,))


@dataclass(frozen=True)
class ImageSpec:
    """A folder of images, and what is done with them.

    Attributes:
        directory: As the user wrote it.
        options: What is done with each image.
        more: What else stands in the specification, by name, where a kind of data allows more.
    """

    directory: str
    options: ImageOptions
    more: Mapping[str, str] = field(default_factory=dict)


def parse_image_spec(rest: str, *, kind: str = "images", more: tuple[str, ...] = ()) -> ImageSpec:
    """Reads what follows ``images:``.

    Args:
        rest: ``DIR`` or ``DIR,resize=256,crop=224,mean=0.485,0.456,0.406,skip-broken``: a part
            without a name is one more number of the one before.
        kind: What stands before the colon.
        more: Names that this kind of data has besides; a name with ``=`` behind takes a value.

    Raises:
        UsageError: An option is unknown, there twice, or has no such value.
    """
    directory, *parts = rest.split(",")
    given: dict[str, str] = {}
    last = ""
    for part in parts:
        name, equals, value = part.partition("=")
        is_one_number = last in _VALUES and last not in _LISTS
        if not equals and last and not is_one_number and name not in (*_FLAGS, *more):
            given[last] += f",{name}"
            continue
        if name in given:
            raise UsageError(f"'{kind}:{rest}' says '{name}' twice.", "Say it once.")
        takes_value = name in _VALUES or f"{name}=" in more
        if not (takes_value or name in (*_FLAGS, *more)) or takes_value != bool(equals):
            raise _unknown(f"{kind}:{rest}", part, more)
        given[name] = value
        last = name if equals else ""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in _VALUES:
            try:
                values[name] = _VALUES[name](value)
            except ValueError as error:
                raise UsageError(
                    f"'{kind}:{rest}' gives {name} as '{value}'.",
                    f"Write {_EXAMPLES[name]}.",
                ) from error
        elif name in _FLAGS:
            values[_FLAGS[name]] = True
    own = {name: value for name, value in given.items() if name in more or f"{name}=" in more}
    options = ImageOptions(**values)
    for name, what, needs in _NEEDS:
        if name in given and not any(each in given for each in needs):
            raise UsageError(
                f"'{kind}:{rest}' says '{name}', but no image is {what}.",
                f"Leave it out, or add {' or '.join(_EXAMPLES[each] for each in needs)}.",
            )
    return ImageSpec(directory, options, own)


def _unknown(spec: str, part: str, more: tuple[str, ...]) -> UsageError:
    options = ", ".join([*_EXAMPLES.values(), *_FLAGS, *more])
    return UsageError(
        f"'{spec}' has '{part}', which is no option of images.",
        f"Options are {options}. A folder whose name has a comma is reached by a link.",
    )


def _size(text: str) -> Size:
    """``224``, or ``480x640`` as height and width.

    Raises:
        ValueError: It is neither.
    """
    height, by, width = text.partition("x")
    return int(height), int(width if by else height)


def _side_or_size(text: str) -> int | Size:
    return _size(text) if "x" in text else int(text)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


_VALUES: Mapping[str, Callable[[str], object]] = {
    "resize": _side_or_size,
    "crop": _size,
    "letterbox": _size,
    "fill": int,
    "interpolation": str,
    "scale": float,
    "mean": _numbers,
    "std": _numbers,
}
# Of several numbers, with commas between them as well.
_LISTS = ("mean", "std")
# Options that say how something is done: what that is, and which options have it done.
_NEEDS = (
    ("fill", "put into a letterbox", ("letterbox",)),
    ("interpolation", "resized", ("resize", "letterbox")),
)
_FLAGS = {"bgr": "bgr", "as-stored": "as_stored", "skip-broken": "skip_broken"}
_EXAMPLES = {
    "resize": "resize=256 or resize=480x640",
    "crop": "crop=224 or crop=192x224",
    "letterbox": "letterbox=640 or letterbox=384x640",
    "fill": "fill=114",
    "interpolation": "interpolation=bicubic",
    "scale": "scale=255",
    "mean": "mean=0.485,0.456,0.406",
    "std": "std=0.229,0.224,0.225",
}


def _check_size(name: str, value: object, *, alone: bool) -> None:
    """Refuses what is no size of at least one pixel."""
    if value is None:
        return
    sides = (value,) if alone and isinstance(value, int) else value
    check_kind(name, sides, tuple, "(480, 640)")
    if not isinstance(sides, tuple) or len(sides) not in ((1, 2) if alone else (2,)):
        raise UsageError(f"{name} is {value!r}.", "Give height and width, as (480, 640).")
    for side in sides:
        check_kind(name, side, int, "256")
        check_least(name, side, 1)


def _check_numbers(name: str, values: object, *, positive: bool) -> None:
    """Refuses what is not some finite numbers, or above 0 where something is divided by them."""
    check_kind(name, values, tuple, "(0.5, 0.5, 0.5)")
    if not isinstance(values, tuple) or len(values) not in (1, 3):
        raise UsageError(f"{name} is {values!r}.", "Give one number, or one for each channel.")
    for value in values:
        check_kind(name, value, (int, float), "0.5")
        if not math.isfinite(value) or (positive and value <= 0):
            needed = "a number above 0" if positive else "a finite number"
            raise UsageError(f"{name} is {value!r}.", f"Give {needed}.")
