"""The IDX files of MNIST and its family: Fashion-MNIST, KMNIST and others with the same names.

The format is at http://yann.lecun.com/exdb/mnist/, section "The IDX file format": two zero bytes,
the type of a value (8: an unsigned byte), the number of dimensions, the size of each dimension as
four bytes, the most significant first; then the values, the last dimension fastest. Images have
three dimensions (N, H, W), labels one. A file may be compressed by gzip, whatever its name says.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Batch, Shown, check_input, check_range, only_input
from trtqat.errors import DataError
from trtqat.files import check_input as check_path
from trtqat.files import open_input, why_unreadable
from trtqat.memory import check_fits
from trtqat.pixels import PixelSpec
from trtqat.tensors import DYNAMIC, Array, TensorSpec

_PREFIXES = {"train": "train", "test": "t10k"}
_UNSIGNED_BYTE = 8
_GZIP_MAGIC = b"\x1f\x8b"
# Deflate makes no more than 1032 bytes of one.
_MOST_PER_BYTE = 1032
_COPY_AGAIN = "Copy or download it again."


class Idx(Shown):
    """A split, bound to a model's only input.

    Images stay uint8 in memory, 8 MB for the real test splits, and are scaled per batch.
    """

    def __init__(
        self,
        directory: str | Path,
        inputs: Sequence[TensorSpec],
        *,
        split: Literal["train", "test"] = "test",
    ) -> None:
        """Reads the split.

        Args:
            directory: The folder with t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, or
                with both as .gz.
            inputs: The model's inputs.
            split: ``"train"`` to calibrate on, whose files begin with ``train``; ``"test"`` to
                evaluate on.

        Raises:
            DataError: The model has not one floating-point input of shape (N, 1, H, W) or
                (N, H, W), or a file is missing or damaged.
        """
        self.name = f"idx:{directory}"
        self._spec = only_input(self.name, inputs)
        images, self._labels = read_split(directory, split)
        self._images = images.reshape(len(images), *_sample_shape(self.name, self._spec, images))

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, start: int, stop: int) -> Batch:
        """Images with their labels: from 0 to 1, of shape ``(B, 1, H, W)`` or ``(B, H, W)``.

        Where the input takes the bytes of images, these, in its layout.
        """
        check_range(start, stop, len(self))
        raw = self._images[start:stop]
        images: Array
        if isinstance(self._spec, PixelSpec):
            images = self._spec.of_rgb(raw)
        else:
            images = scale(raw).astype(self._spec.dtype, copy=False)
        return Batch({self._spec.name: images}, self._labels[start:stop])


def scale(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the model sees: ``pixel / 255``.

    Nothing else, as the files do not say which mean and deviation a model was trained with.

    Args:
        images: Of any shape.

    Returns:
        Float32 of the same shape, from 0 to 1.
    """
    pixels = images.astype(np.float32)
    pixels /= np.float32(255)
    return pixels


def read_split(
    directory: str | Path, split: Literal["train", "test"]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads the images and the labels of a split.

    Args:
        directory: The folder with the files.
        split: ``"train"`` or ``"test"``, whose files begin with ``t10k``.

    Returns:
        Images ``(N, 1, H, W)`` and labels ``(N,)``; 28x28 pixels in MNIST's family.

    Raises:
        UsageError: No directory can have such a name, or the images do not fit into memory.
        DataError: The directory or a file is missing, a file is damaged, or there are more of
            the one than of the other.
    """
    files = split_files(directory, split)
    missing = [file for file in files if not file.exists()]
    if missing:
        names = ", ".join(file.name for file in missing)
        raise DataError(
            f"'{directory}' has no {names}.",
            "Give the folder that holds it, as it is or as .gz; MNIST, Fashion-MNIST and KMNIST "
            "name their files so.",
        )
    images, labels = read_idx(files[0], 3), read_idx(files[1], 1)
    if len(images) != len(labels):
        raise DataError(
            f"'{files[0]}' holds {len(images)} images, but '{files[1]}' {len(labels)} labels.",
            "Take both files from the same data set and split.",
        )
    return images[:, None], labels.astype(np.int64)


def split_files(directory: str | Path, split: Literal["train", "test"]) -> list[Path]:
    """The file of the images and that of the labels, whether they are there or not.

    A name may have a dot for its second hyphen, and .gz behind it. An unpacked file goes before a
    packed one.

    Args:
        directory: The folder with the files.
        split: ``"train"`` or ``"test"``.

    Raises:
        UsageError: No directory can have such a name.
        DataError: The directory is missing.
    """
    check_path(directory)
    folder = Path(directory)
    if not folder.is_dir():
        raise DataError(
            f"The directory '{directory}' does not exist.",
            "Give the folder with the IDX files, such as train-images-idx3-ubyte.gz.",
        )
    found = []
    for content, kind in (("images", "idx3-ubyte"), ("labels", "idx1-ubyte")):
        names = [
            folder / f"{_PREFIXES[split]}-{content}{mark}{kind}{packed}"
            for packed in ("", ".gz")
            for mark in "-."
        ]
        found.append(next((name for name in names if name.exists()), names[0]))
    return found


def read_idx(path: str | Path, dimensions: int) -> NDArray[np.uint8]:
    """Reads one IDX file of unsigned bytes.

    Args:
        path: The file, as it is or compressed by gzip.
        dimensions: 3 for images, 1 for labels.

    Returns:
        An array of that many dimensions, at least one sample long.

    Raises:
        DataError: The file is missing, holds another type or number of dimensions, is cut off,
            goes on behind the last value, or is empty.
        UsageError: The array does not fit into memory.
    """
    path = Path(path)
    try:
        with open_input(path) as file:
            packed = file.read(2) == _GZIP_MAGIC
            size = file.seek(0, 2)
            file.seek(0)
            if not packed:
                return _read_values(path, file, dimensions, size)
            with gzip.open(file) as unpacked:
                return _read_values(path, unpacked, dimensions, size * _MOST_PER_BYTE)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"'{path}' is cut off or damaged: its gzip data do not unpack.", _COPY_AGAIN
        ) from error
    except OSError as error:
        raise DataError(
            f"'{path}' cannot be read: {why_unreadable(error)}.", _COPY_AGAIN
        ) from error


def _read_values(
    path: Path, stream: BinaryIO | gzip.GzipFile, dimensions: int, most_bytes: int
) -> NDArray[np.uint8]:
    """The array of an unpacked file that holds at most so many bytes."""
    header = stream.read(4 + 4 * dimensions)
    expected = bytes((0, 0, _UNSIGNED_BYTE, dimensions))
    if len(header) < 4 + 4 * dimensions and header[:4] in (expected, expected[: len(header)]):
        raise DataError(f"'{path}' is cut off in its header.", _COPY_AGAIN)
    if header[:4] != expected:
        raise DataError(
            f"'{path}' is no IDX file of {'images' if dimensions == 3 else 'labels'}: it begins "
            f"with {header[:4].hex(' ')} instead of {expected.hex(' ')}.",
            "Only unsigned bytes are read, in three dimensions for images and in one for labels.",
        )
    shape = struct.unpack(f">{dimensions}I", header[4:])
    count = math.prod(shape)
    declared = f"declares {' x '.join(str(size) for size in shape)} values"
    if count == 0:
        raise DataError(f"'{path}' {declared}, so it is empty.", _COPY_AGAIN)
    # Before anything is allocated: four changed bytes can declare any size.
    if count > most_bytes:
        raise DataError(f"'{path}' {declared}, more than the file can hold.", _COPY_AGAIN)
    check_fits(count, f"The values of '{path}'")
    values = stream.read(count)
    if len(values) < count:
        raise DataError(f"'{path}' {declared}, but ends after {len(values)}.", _COPY_AGAIN)
    # gzip compares its checksum when it is read to the end.
    if stream.read(1):
        raise DataError(f"'{path}' {declared}, and goes on behind them.", _COPY_AGAIN)
    # A copy, as bytes cannot be written to, which PyTorch wants of an array that it takes.
    array: NDArray[np.uint8] = np.frombuffer(values, np.uint8).reshape(shape).copy()
    return array


def _sample_shape(source: str, spec: TensorSpec, images: NDArray[np.uint8]) -> tuple[int, ...]:
    """The shape of a sample that the input takes: with a dimension for the channel, or without.

    Raises:
        DataError: It takes neither, or no floating point.
    """
    _, _, height, width = images.shape
    if isinstance(spec, PixelSpec):
        check_input(source, spec, images.shape[1:], images.dtype)
        return images.shape[1:]
    wanted = spec.shape[1:]
    if np.dtype(spec.dtype).kind != "f":
        raise DataError(
            f"{source} gives pixels as floating point from 0 to 1, but input '{spec.name}' takes "
            f"{spec.dtype}.",
            "Write the images as the model takes them to an .npz file and use npz:FILE.",
        )
    for shape in ((1, height, width), (height, width)):
        if len(shape) == len(wanted) and all(
            want in (DYNAMIC, have) for want, have in zip(wanted, shape, strict=True)
        ):
            return shape
    raise DataError(
        f"{source} has images of 1x{height}x{width}, but the model takes {spec}.",
        f"They fit an input of (N, 1, {height}, {width}) or (N, {height}, {width}); for other "
        "sizes or three channels, resize and repeat inside the model or in a file.py:factory.",
    )
