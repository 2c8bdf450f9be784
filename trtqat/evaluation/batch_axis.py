"""Which dimension of an output is the batch, and a row for each image from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtqat.tensors import DYNAMIC, Array


def find_batch_axis(
    shape: Sequence[int], batch_size: int, declared: Sequence[int] | None
) -> int | None:
    """The dimension that holds the images of a batch.

    Args:
        shape: Of an output, as it was computed.
        batch_size: What it was computed of.
        declared: The shape that the model declares, with open dimensions as ``DYNAMIC``. If there
            is one alone, it is the batch. None, or none of them open, says nothing: the batch may
            be fixed, or somebody have declared it so.

    Returns:
        The axis, whose length is the batch size or a multiple, as where each image has several
        tokens; None for what is of no single image, as a mean over the batch.
    """
    known = declared if declared is not None and len(declared) == len(shape) else ()
    opened = [axis for axis, length in enumerate(known) if length == DYNAMIC]
    if len(opened) != 1:
        for axis in opened or range(len(shape)):
            if shape[axis] == batch_size:
                return axis
    for axis in opened or range(len(shape))[:1]:
        if _fits(shape[axis], batch_size):
            return axis
    return None


def first_images(array: Array, axis: int | None, count: int, batch_size: int) -> Array:
    """What an output says of the first images of a batch.

    Args:
        array: The output.
        axis: The dimension that holds the images, as ``find_batch_axis`` finds it.
        count: How many images.
        batch_size: How many there are.
    """
    if axis is None or count == batch_size or not _fits(array.shape[axis], batch_size):
        return array
    return array.take(range(array.shape[axis] // batch_size * count), axis)


def by_image(array: Array, axis: int | None, count: int) -> Array:
    """A row for each image: ``(count, …)``.

    Args:
        array: The output of so many images.
        axis: The dimension that holds the images; None for what is of no single image, which is
            every image's.
        count: How many images.
    """
    if axis is None or not _fits(array.shape[axis], count):
        return np.broadcast_to(array, (count, *array.shape))
    rows = np.moveaxis(array, axis, 0)
    return rows if len(rows) == count else rows.reshape(count, -1, *rows.shape[1:])


def _fits(length: int, batch_size: int) -> bool:
    return length > 0 and length % batch_size == 0
