"""CIFAR-10's binary files, https://www.cs.toronto.edu/~kriz/cifar.html.

A file is records of 3073 bytes without a header: the label, then 32x32 pixels, all red ones
first, then green, then blue, row by row. The training split is data_batch_1.bin to
data_batch_5.bin, the test split test_batch.bin. The real files hold 10,000 records each;
any other whole number is read as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Batch, Shown, check_input, check_range, only_input
from trtqat.errors import DataError
from trtqat.files import check_input as check_path
from trtqat.files import write_atomically
from trtqat.pixels import PixelSpec
from trtqat.tensors import Array, TensorSpec

IMAGE_SHAPE = (3, 32, 32)
RECORD_BYTES = 3073
CLASSES = 10
TRAIN_FILES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_FILES = ("test_batch.bin",)

# Of the training split, per channel R, G, B, for pixels scaled to 0..1. The second is the mean of
# the images' own deviations, as much training code has it; that of all pixels is larger.
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)

_REAL_FILE_BYTES = 10_000 * RECORD_BYTES
_ARCHIVE_FOLDER = "cifar-10-batches-bin"


class Cifar10(Shown):
    """A split, bound to a model's only input.

    Images stay uint8 in memory, 30 MB for the real test split, and are normalized per batch.
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
            directory: The folder with the .bin files, or its parent.
            inputs: The model's inputs.
            split: ``"train"`` to calibrate on, ``"test"`` to evaluate on.

        Raises:
            DataError: The model has not one float input of shape (N, 3, 32, 32), or a file
                is missing or damaged.
        """
        self.name = f"cifar10:{directory}"
        self._spec = only_input("CIFAR-10", inputs)
        given = np.uint8 if isinstance(self._spec, PixelSpec) else np.float32
        check_input("CIFAR-10", self._spec, IMAGE_SHAPE, np.dtype(given))
        self._images, self._labels = read_split(directory, split)

    def __len__(self) -> int:
        return len(self._labels)

    def batch(self, start: int, stop: int) -> Batch:
        """Images with their labels: normalized, of shape ``(B, 3, 32, 32)``, or their bytes.

        Bytes are for an input that takes such, in its layout.
        """
        check_range(start, stop, len(self))
        raw = self._images[start:stop]
        images: Array
        if isinstance(self._spec, PixelSpec):
            images = self._spec.of_rgb(raw)
        else:
            images = normalize(raw).astype(self._spec.dtype, copy=False)
        return Batch({self._spec.name: images}, self._labels[start:stop])


def normalize(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the model sees: ``(pixel / 255 - mean) / std`` per channel.

    Args:
        images: Shape ``(N, 3, 32, 32)``, channels R, G, B.

    Returns:
        Float32 of the same shape.
    """
    mean = np.array(MEAN, np.float32).reshape(3, 1, 1)
    std = np.array(STD, np.float32).reshape(3, 1, 1)
    pixels = images.astype(np.float32)
    pixels /= np.float32(255)
    pixels -= mean
    pixels /= std
    return pixels


def read_split(
    directory: str | Path, split: Literal["train", "test"]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads all files of a split.

    Args:
        directory: The folder with the .bin files, or the parent of ``cifar-10-batches-bin``.
        split: ``"train"`` or ``"test"``.

    Returns:
        Images ``(N, 3, 32, 32)`` and labels ``(N,)``, in the order of the files.

    Raises:
        DataError: The directory or a file is missing, or a file is damaged.
    """
    files = split_files(directory, split)
    missing = [file for file in files if not file.is_file()]
    if missing:
        remedy = "Give the folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin."
        if missing[0].with_suffix("").is_file():
            remedy = "This looks like the Python version of the data; use the binary version."
        names = ", ".join(file.name for file in missing)
        raise DataError(f"'{missing[0].parent}' has no {names}.", remedy)
    parts = [read_batch_file(file) for file in files]
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def split_files(directory: str | Path, split: Literal["train", "test"]) -> list[Path]:
    """The files of a split, whether they are there or not.

    Args:
        directory: The extracted archive, or a folder that holds it.
        split: ``"train"`` or ``"test"``.

    Raises:
        UsageError: No directory can have such a name.
        DataError: The directory is missing.
    """
    check_path(directory)
    folder = _find_folder(Path(directory))
    return [folder / name for name in (TRAIN_FILES if split == "train" else TEST_FILES)]


def read_batch_file(path: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Reads one .bin file.

    Args:
        path: For example ``test_batch.bin``.

    Returns:
        Images ``(N, 3, 32, 32)`` and labels ``(N,)``.

    Raises:
        DataError: The file is missing, empty, not a whole number of records, or has a label
            above 9.
    """
    path = Path(path)
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(
            f"'{path}' cannot be read: {error.strerror or error}.", "Check the path."
        ) from error
    records, excess = divmod(raw.size, RECORD_BYTES)
    if raw.size == 0 or excess:
        problem = (
            f"is {records} whole records of {RECORD_BYTES} bytes and {excess} bytes too many"
            if raw.size
            else "is empty"
        )
        raise DataError(
            f"'{path}' {problem}.",
            f"Copy or download it again; a file of the real CIFAR-10 has {_REAL_FILE_BYTES} bytes.",
        )
    table = raw.reshape(records, RECORD_BYTES)
    labels = table[:, 0].astype(np.int64)
    wrong = np.flatnonzero(labels >= CLASSES)
    if wrong.size:
        raise DataError(
            f"Record {wrong[0]} of '{path}' has the label {labels[wrong[0]]}; labels are 0 to 9 "
            f"({wrong.size} of {records} records are wrong).",
            "The file is damaged or not CIFAR-10's binary version; download it again.",
        )
    return table[:, 1:].reshape(records, *IMAGE_SHAPE), labels


def write_batch_file(
    path: str | Path, images: NDArray[np.uint8], labels: NDArray[np.integer]
) -> None:
    """Writes one .bin file; it is whole or not there.

    Args:
        path: The file to write.
        images: Uint8 of shape ``(N, 3, 32, 32)``, channels R, G, B.
        labels: Integers 0 to 9 of shape ``(N,)``.

    Raises:
        DataError: The arrays have another shape or dtype, no sample, or a label out of range.
        UsageError: The file cannot be written.
    """
    path = Path(path)
    if images.dtype != np.uint8 or images.shape != (len(labels), *IMAGE_SHAPE) or not len(labels):
        raise DataError(
            f"'{path}' cannot hold {len(labels)} labels and {images.dtype} images of shape "
            f"{images.shape}.",
            "Images are uint8 of shape (N, 3, 32, 32), labels of shape (N,), and N is at least 1.",
        )
    if labels.min() < 0 or labels.max() >= CLASSES:
        raise DataError(
            f"'{path}' cannot hold labels from {labels.min()} to {labels.max()}.",
            "Labels are 0 to 9.",
        )
    table = np.empty((len(labels), RECORD_BYTES), np.uint8)
    table[:, 0] = labels
    table[:, 1:] = images.reshape(len(labels), -1)
    write_atomically(path, table.tobytes())


def _find_folder(directory: Path) -> Path:
    if not directory.is_dir():
        raise DataError(
            f"The directory '{directory}' does not exist.",
            "Give the folder with CIFAR-10's binary files.",
        )
    inner = directory / _ARCHIVE_FOLDER
    own = any((directory / name).exists() for name in (*TRAIN_FILES, *TEST_FILES))
    return inner if inner.is_dir() and not own else directory
