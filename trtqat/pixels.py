"""Inputs that arrive as bytes of an image: their layout, and the normalisation that a model wants.

A graph that ``trtqat export --pixels`` wrote normalises by itself. What it computes is this: for
the byte ``p`` of a channel ``(p / scale - mean) / std``, each step in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from trtqat.checks import check_choice, check_kind
from trtqat.errors import UsageError
from trtqat.tensors import BYTES, DYNAMIC, Array, Arrays, TensorSpec

Layout = Literal["nhwc", "nchw"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_EXAMPLE = "--pixels images:nhwc --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
_Each = TypeVar("_Each")


def prefix_of_nodes(name: str) -> str:
    """What the names of the nodes begin with that make an input's floats of bytes.

    Args:
        name: Of the input.
    """
    return f"{name}.pixels."


def prefix_of_half_nodes(name: str) -> str:
    """What those of them begin with whose codes are the same in FP16.

    Args:
        name: Of the input.
    """
    return f"{prefix_of_nodes(name)}half."


@dataclass(frozen=True)
class Pixels:
    """What the bytes of one input mean.

    Attributes:
        layout: ``"nhwc"`` for ``(N, H, W, C)``, as decoders and cameras write images, or
            ``"nchw"``.
        mean: One number, or one for each channel, in the order of the model's channels.
        std: The same, above 0.
        scale: What a byte is divided by first.
        bgr: Whether the bytes of a pixel are blue, green, red, and the model takes red first.
    """

    layout: Layout
    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0
    bgr: bool = False

    def __post_init__(self) -> None:
        check_choice("Pixels.layout", self.layout, LAYOUTS)
        check_kind("Pixels.bgr", self.bgr, bool, "True")
        for name in ("mean", "std"):
            numbers = getattr(self, name)
            check_kind(f"Pixels.{name}", numbers, (tuple, list), "(0.485, 0.456, 0.406)")
            for number in numbers:
                _check_number(name, number)
            # A list is as good, and frozen options hold nothing that changes.
            object.__setattr__(self, name, tuple(map(float, numbers)))
            if not numbers:
                raise UsageError(f"The {name} has no number.", f"Give it: {_EXAMPLE}")
        _check_number("scale", self.scale)
        object.__setattr__(self, "scale", float(self.scale))
        for name, number in [("scale", self.scale), *(("std", each) for each in self.std)]:
            # In float32, in which it is computed: 1e-60 is 0 there.
            if not 0 < np.float32(number) < np.inf:
                raise UsageError(
                    f"The {name} of the pixels is {number:g}, which nothing can be divided by.",
                    f"Give a number above 0: {_EXAMPLE}",
                )
        if len({len(self.mean), len(self.std)} - {1}) > 1:
            raise UsageError(
                f"The mean has {len(self.mean)} numbers, and the std {len(self.std)}.",
                "Give one number for all channels, or one for each.",
            )
        if self.bgr and max(len(self.mean), len(self.std)) not in (1, 3):
            raise UsageError(
                "BGR bytes have three channels, but mean or std has another number of values.",
                "Give one or three, red first. Leave out --bgr for an image of other channels.",
            )
        table = self._normalised(np.arange(BYTES, dtype=np.uint8)[:, None])
        if not np.isfinite(table).all():
            raise UsageError(
                "With this mean, std and scale a byte becomes infinite in float32.",
                f"Give those that the model was trained with: {_EXAMPLE}",
            )

    def check_channels(self, name: str, channels: int) -> None:
        """Refuses an input that has another number of channels than mean and std.

        Args:
            name: Of the input.
            channels: Of the model's input.

        Raises:
            UsageError: They do not fit.
        """
        for what, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, channels):
                raise UsageError(
                    f"The {what} has {len(numbers)} numbers, but input '{name}' has {channels} "
                    "channels.",
                    "Give one number for all channels, or one for each.",
                )
        if self.bgr and channels != 3:
            raise UsageError(
                f"--bgr is for three channels, but input '{name}' has {channels}.",
                "Leave out --bgr. Where another input has BGR bytes, say it of that one in Python, "
                "as in pixels={'NAME': trtqat.Pixels('nhwc', mean, std, bgr=True)}.",
            )

    def fits(self, channels: int) -> bool:
        """Whether an input of so many channels can have them."""
        try:
            self.check_channels("", channels)
        except UsageError:
            return False
        return True

    def table(self, channels: int) -> NDArray[np.float32]:
        """What each byte becomes in each of the model's channels, of shape ``(channels, 256)``."""
        column = np.arange(BYTES, dtype=np.uint8)[:, None].repeat(channels, axis=1)
        return np.ascontiguousarray(self._normalised(column).T)

    def normalise(self, array: Array) -> NDArray[np.float32]:
        """What the model takes: float32 of shape ``(N, C, H, W)``.

        Args:
            array: Bytes, ``(N, H, W, C)`` or ``(N, C, H, W)`` as ``layout`` has it.
        """
        last = array if self.layout == "nhwc" else array.transpose(0, 2, 3, 1)
        if self.bgr:
            last = last[..., ::-1]
        return np.ascontiguousarray(self._normalised(last).transpose(0, 3, 1, 2))

    def of_floats(self, spec: TensorSpec) -> PixelSpec:
        """The input of bytes, for the model's input of floats ``(N, C, H, W)``."""
        n, c, h, w = spec.shape
        shape = (n, h, w, c) if self.layout == "nhwc" else spec.shape
        return PixelSpec(spec.name, shape, "uint8", pixels=self)

    def _normalised(self, last: Array) -> NDArray[np.float32]:
        """Of bytes whose last axis is the model's channels."""
        # NumPy's float32 is IEEE's: a division is one rounding, and never a reciprocal's product.
        with np.errstate(over="ignore"):
            found = last.astype(np.float32)
            # Mean or std may have the channels, and the bytes one column for all.
            found = found / np.float32(self.scale) - np.array(self.mean, np.float32)
            normalised: NDArray[np.float32] = found / np.array(self.std, np.float32)
        return normalised


@dataclass(frozen=True)
class PixelSpec(TensorSpec):
    """An input that takes the bytes of images.

    Attributes:
        pixels: What they mean.
    """

    pixels: Pixels = field(kw_only=True)

    @property
    def channels(self) -> int:
        """How many there are."""
        return self.shape[3 if self.pixels.layout == "nhwc" else 1]

    @property
    def floats(self) -> TensorSpec:
        """The model's input, of floats ``(N, C, H, W)``."""
        n, *image = self.shape
        height, width = image[:2] if self.pixels.layout == "nhwc" else image[1:]
        return TensorSpec(self.name, (n, self.channels, height, width))

    @property
    def other_layout(self) -> tuple[int, ...]:
        """The shape that the same images have in the other layout."""
        n, c, h, w = self.floats.shape
        return (n, c, h, w) if self.pixels.layout == "nhwc" else (n, h, w, c)

    def in_layout(self, array: Array) -> Array:
        """Images in the layout of the input, contiguous: those of the other one are transposed."""
        if not _fits_shape(array.shape, self.shape) and _fits_shape(array.shape, self.other_layout):
            to_last = self.pixels.layout == "nhwc"
            array = array.transpose((0, 2, 3, 1) if to_last else (0, 3, 1, 2))
        return np.ascontiguousarray(array)

    def of_rgb(self, images: Array) -> Array:
        """The bytes that the input takes, of images ``(N, C, H, W)`` in the model's order."""
        ordered = images[:, ::-1] if self.pixels.bgr else images
        last = self.pixels.layout == "nhwc"
        return np.ascontiguousarray(ordered.transpose(0, 2, 3, 1) if last else ordered)

    @property
    def random_below(self) -> int:
        """Random bytes are all that there are."""
        return BYTES


def parse_pixels(
    named: Sequence[str],
    means: Sequence[str | float | Sequence[float]],
    stds: Sequence[str | float | Sequence[float]],
    *,
    scale: float | Sequence[float] = 255.0,
    bgr: bool = False,
) -> dict[str, Pixels]:
    """Reads what ``--pixels``, ``--mean``, ``--std`` and ``--scale`` say.

    Args:
        named: ``"images:nhwc"`` for each input.
        means: One for all, or one for each input: ``"0.485,0.456,0.406"``, or the numbers.
        stds: The same.
        scale: Of all, or one for each input.
        bgr: Of all.

    Returns:
        By input.

    Raises:
        UsageError: Something has another form, or does not fit together.
    """
    if not named:
        for option, given in {
            "--mean": bool(means),
            "--std": bool(stds),
            "--scale": scale != Pixels.scale,
            "--bgr": bgr,
        }.items():
            if given:
                raise UsageError(
                    f"{option} is of an input that takes bytes.",
                    f"Say which: {_EXAMPLE}",
                )
        return {}
    names = [_layout(each) for each in named]
    known = [name for name, _ in names]
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"Input '{twice}' is given twice.", "Give one --pixels for each input.")
    scales = scale if isinstance(scale, (tuple, list)) else [scale]
    each = zip(
        names,
        _one_each("--mean", means, names),
        _one_each("--std", stds, names),
        _one_each("--scale", scales, names),
        strict=True,
    )
    return {
        name: Pixels(layout, _numbers("--mean", mean), _numbers("--std", std), scale, bgr)
        for (name, layout), mean, std, scale in each
    }


def with_pixels(
    specs: Iterable[TensorSpec], recorded: Mapping[str, Pixels] | None
) -> Iterator[TensorSpec]:
    """The inputs of a graph or an engine, with what the bytes of images mean.

    What makes no sense is passed over: somebody may have edited it.

    Args:
        specs: The inputs as graph or engine has them.
        recorded: By name, as the export recorded it.
    """
    for spec in specs:
        pixels = (recorded or {}).get(spec.name)
        if pixels is None or spec.dtype != "uint8" or len(spec.shape) != 4:
            yield spec
            continue
        found = PixelSpec(spec.name, spec.shape, spec.dtype, pixels=pixels)
        yield found if pixels.fits(found.channels) else spec


def pixels_of(specs: Iterable[TensorSpec]) -> dict[str, Pixels]:
    """What the bytes of images mean, by input that takes such."""
    return {spec.name: spec.pixels for spec in specs if isinstance(spec, PixelSpec)}


def normalised(arrays: Arrays, pixels: Mapping[str, Pixels]) -> dict[str, Array]:
    """Arrays by input name, with floats where there were bytes of images."""
    return {
        name: pixels[name].normalise(array) if name in pixels else array
        for name, array in arrays.items()
    }


def _fits_shape(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(
        want in (DYNAMIC, have) for have, want in zip(shape[1:], wanted[1:], strict=True)
    )


def _layout(text: str) -> tuple[str, Layout]:
    check_kind("Pixels", text, str, "'images:nhwc'")
    name, _, layout = text.rpartition(":")
    found = next((each for each in LAYOUTS if each == layout.lower()), None)
    if not name or found is None:
        raise UsageError(
            f"'{text}' does not say which input takes bytes, and in which layout.",
            "Write NAME:nhwc, as decoders give images, or NAME:nchw.",
        )
    return name, found


def _one_each(option: str, given: Sequence[_Each], names: Sequence[object]) -> Sequence[_Each]:
    if len(given) == 1:
        return [given[0]] * len(names)
    if len(given) != len(names):
        what = f"{option} is missing" if not given else f"There are {len(given)} times {option}"
        raise UsageError(
            f"{what} for {len(names)} input{'s' * (len(names) > 1)} of bytes.",
            f"Give it once, or once for each --pixels: {_EXAMPLE}. A model that takes pixels from "
            "0 to 1 has --mean 0 --std 1.",
        )
    return given


def _numbers(option: str, given: str | float | Sequence[float]) -> tuple[float, ...]:
    if isinstance(given, (int, float)):
        return (float(given),)
    if not isinstance(given, str):
        return tuple(given)
    try:
        return tuple(float(each) for each in given.split(","))
    except ValueError:
        raise UsageError(
            f"'{given}' of {option} are no numbers.", f"Write them so: {_EXAMPLE}"
        ) from None


def _check_number(name: str, number: object) -> None:
    check_kind(f"The {name} of the pixels", number, (int, float), "0.5")
    if not math.isfinite(number):  # type: ignore[arg-type]
        raise UsageError(f"The {name} of the pixels is {number}.", f"Give numbers: {_EXAMPLE}")
