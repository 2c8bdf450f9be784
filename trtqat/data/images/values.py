"""From pixels to what a model's input takes: layout, dtype and normalization."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trtqat.data.images.options import ImageOptions
from trtqat.errors import DataError
from trtqat.pixels import PixelSpec
from trtqat.tensors import DYNAMIC, Array, TensorSpec


class PixelInput:
    """An input that images are for.

    Attributes:
        spec: The input.
        channels: 3 for colours, 1 for grey.
        size: Height and width that the input fixes; None for each that it leaves open.
    """

    def __init__(self, source: str, spec: TensorSpec, options: ImageOptions) -> None:
        """Finds out where channels, rows and columns are.

        Args:
            source: The data in words, the subject of a message.
            spec: ``(N, C, H, W)``, ``(N, H, W, C)`` or, of grey images, ``(N, H, W)``, in uint8 or
                floating point. Where both ends could be channels, the first one is.
            options: How pixels become values.

        Raises:
            DataError: It is another shape or dtype, or the options do not belong to it.
        """
        self.spec = spec
        rank, dtype = len(spec.shape), np.dtype(spec.dtype)
        if rank == 4 and spec.shape[1] in (1, 3):
            self._channel_axis: int | None = 0
        elif rank == 4 and spec.shape[3] in (1, 3):
            self._channel_axis = 2
        elif rank == 3:
            self._channel_axis = None
        else:
            raise _unfit(source, spec)
        if dtype.kind != "f" and dtype != np.uint8:
            raise _unfit(source, spec)
        sides = [*spec.shape[1:]]
        self.channels = 1 if self._channel_axis is None else sides.pop(self._channel_axis)
        self.size = tuple(None if side == DYNAMIC else side for side in sides)
        # A graph of bytes says itself in which order it takes channels.
        self._reversed = options.bgr or (isinstance(spec, PixelSpec) and spec.pixels.bgr)
        _check_belonging(source, self, options)
        self._table = None if dtype == np.uint8 else _table(options, self.channels, dtype)
        if self._table is not None and not np.isfinite(self._table).all():
            raise DataError(
                f"{source} is scaled and normalized to numbers that are infinite as {spec.dtype}.",
                "Check scale, mean and std.",
            )

    def shape(self, pixels: NDArray[np.uint8]) -> tuple[int, ...]:
        """The shape of a sample of such pixels, ``(H, W, C)``."""
        height, width, channels = pixels.shape
        if self._channel_axis is None:
            return height, width
        return (channels, height, width) if self._channel_axis == 0 else pixels.shape

    def write(self, pixels: NDArray[np.uint8], out: Array) -> None:
        """Writes one image into a batch.

        Args:
            pixels: ``(H, W, C)``.
            out: Where its sample belongs, of its shape and the input's dtype.
        """
        # With the channels last, as a view.
        if self._channel_axis is None:
            out = out[..., None]
        elif self._channel_axis == 0:
            out = np.moveaxis(out, 0, 2)
        if self._reversed:
            pixels = pixels[..., ::-1]
        if self._table is None:
            out[...] = pixels
            return
        for channel, values in enumerate(self._table):
            # No pixel needs clipping, but without it NumPy writes into an array of its own first.
            np.take(values, pixels[..., channel], out=out[..., channel], mode="clip")


def _table(options: ImageOptions, channels: int, dtype: np.dtype[np.generic]) -> Array:
    """The value of each pixel by channel, ``(C, 256)``: ``(pixel / scale - mean) / std``."""
    pixels = np.arange(256, dtype=np.float32) / np.float32(options.scale)
    mean, std = (
        np.resize(np.array(numbers, np.float32), channels)[:, None]
        for numbers in (options.mean, options.std)
    )
    with np.errstate(over="ignore"):
        values: Array = ((pixels - mean) / std).astype(dtype)
    return values


def _check_belonging(source: str, image_input: PixelInput, options: ImageOptions) -> None:
    """Refuses options that such an input would have no use for.

    Raises:
        DataError: There are such.
    """
    spec = image_input.spec
    if spec.dtype == "uint8" and options.changes_values:
        raise DataError(
            f"{source} is to be scaled or normalized, but input '{spec.name}' takes the pixels "
            "themselves, as uint8.",
            "Leave out scale, mean and std: the graph does that.",
        )
    if image_input.channels == 1 and (options.bgr or max(len(options.mean), len(options.std)) > 1):
        raise DataError(
            f"{source} is to have three channels, but input '{spec.name}' takes one ({spec}).",
            "Leave out bgr, and give mean and std as one number each.",
        )


def _unfit(source: str, spec: TensorSpec) -> DataError:
    return DataError(
        f"{source} are images, but the model takes {spec}.",
        "They fit float or uint8 inputs of (N, 3, H, W), (N, H, W, 3), and of one channel for grey "
        "images; for others use file.py:factory.",
    )
