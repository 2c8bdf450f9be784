"""Which dimension of an output is the batch, and a row for each image from it.

Lengths alone do not tell, where a model of a fixed batch of 4 has 4 tokens of each image. What
tells is a second query with the images moved by one: along the batch the output moves as they do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trtqat.numerics import signal_and_error
from trtqat.tensors import DYNAMIC, Array

# Moved along the batch an output is the same but for rounding; along another dimension it is as far
# off as other images' results are.
_SAME = 0.01


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
    return next(iter(possible_batch_axes(shape, batch_size, declared)), None)


def possible_batch_axes(
    shape: Sequence[int], batch_size: int, declared: Sequence[int] | None
) -> tuple[int, ...]:
    """Every dimension that may hold the images of a batch, the likeliest first.

    Args:
        shape: Of an output, as it was computed.
        batch_size: What it was computed of.
        declared: As for ``find_batch_axis``.
    """
    known = declared if declared is not None and len(declared) == len(shape) else ()
    opened = [axis for axis, length in enumerate(known) if length == DYNAMIC]
    exact = [axis for axis in opened or range(len(shape)) if shape[axis] == batch_size]
    several = [axis for axis in opened or range(len(shape))[:1] if _fits(shape[axis], batch_size)]
    return tuple(dict.fromkeys([*exact, *several]))


def moved_axis(before: Array, after: Array, axes: Sequence[int], batch_size: int) -> int | None:
    """The dimension along which an output moved by one image.

    Args:
        before: The output.
        after: The same of the images in another order: the last one, then the others.
        axes: Dimensions that may be the batch, at least two.
        batch_size: How many images there are.

    Returns:
        One of these, the first where it makes no difference; None where the output moved along
        several of them or none, as a table of images by images, or is of no numbers.
    """
    if before.dtype.kind not in "biuf":
        return None
    apart = _apart(before, after, axes, batch_size)
    if not any(apart):
        return axes[0]
    best, second, *_ = np.argsort(apart)
    return axes[best] if apart[best] < _SAME * apart[second] else None


def is_of_no_image(before: Array, after: Array, axes: Sequence[int], batch_size: int) -> bool:
    """Whether an output stayed as it was while the images moved, as a prior or a grid does.

    Args:
        before: The output.
        after: The same of the images in another order, as for ``moved_axis``.
        axes: Dimensions that may be the batch.
        batch_size: How many images there are.
    """
    if before.dtype.kind not in "biuf":
        return False
    return _squares(before, after) < _SAME * min(_apart(before, after, axes, batch_size))


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


def _apart(before: Array, after: Array, axes: Sequence[int], batch_size: int) -> list[float]:
    """How far an output is from itself, moved by one image along each of some dimensions."""
    return [
        _squares(np.roll(before, before.shape[axis] // batch_size, axis), after) for axis in axes
    ]


def _squares(one: Array, other: Array) -> float:
    """The sum of squared differences; what is no number on both sides is alike."""
    _, error = signal_and_error(one, other)
    error[np.isnan(one) & np.isnan(other)] = 0
    return float(np.square(np.nan_to_num(error, nan=np.inf)).sum())


def _fits(length: int, batch_size: int) -> bool:
    return length > 0 and length % batch_size == 0
