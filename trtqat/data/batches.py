"""What an evaluation asks of data, and the checks that every kind of data shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trtqat.data.labels import Labels
from trtqat.errors import DataError
from trtqat.pixels import PixelSpec
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec


@dataclass(frozen=True)
class Batch:
    """Consecutive samples.

    Attributes:
        inputs: Arrays of shape ``(B, ...)`` by input name, of the dtypes that the model takes.
        labels: Class of each sample, int64 ``(B,)``; any other array ``(B, ...)``, as masks or
            images; or a tuple of B objects: texts, or dicts of arrays, as ``boxes`` float64
            ``(K, 4)`` (x1, y1, x2, y2 in pixels of the model's input) and ``classes`` int64
            ``(K,)``. None if the data has no labels.
    """

    inputs: dict[str, Array]
    labels: Labels | None = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))


class Dataset(Protocol):
    """Samples in a fixed order: asking twice gives the same batch."""

    @property
    def name(self) -> str:
        """What stands in a report, as ``--data`` names it."""

    def __len__(self) -> int: ...

    def batch(self, start: int, stop: int) -> Batch:
        """Samples ``start`` to ``stop - 1``.

        Args:
            start: Index of the first sample.
            stop: One past the last; at most ``len(self)``, so no sample is padded or repeated.
        """


class Shown:
    """A data set that shows itself on one line."""

    name: str

    def __len__(self) -> int:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}({self.name!r}, {len(self)} samples)"


def check_range(start: int, stop: int, length: int) -> None:
    """Refuses a batch that slicing would silently shorten.

    Raises:
        IndexError: Not ``0 <= start < stop <= length``.
    """
    if not 0 <= start < stop <= length:
        raise IndexError(f"samples {start} to {stop - 1} of {length}")


def only_input(source: str, inputs: Sequence[TensorSpec]) -> TensorSpec:
    """The input of a model that has one alone, as images need.

    Args:
        source: The data in words, the subject of a message.
        inputs: The model's inputs.

    Raises:
        DataError: There is none, or there are several.
    """
    if len(inputs) == 1:
        return inputs[0]
    names = ", ".join(f"'{spec.name}'" for spec in inputs) or "none"
    raise DataError(
        f"{source} feeds one input, but the model has {len(inputs)} ({names}).",
        "Write its inputs to an .npz file and use npz:FILE, or use file.py:factory.",
    )


def check_input(
    source: str, spec: TensorSpec, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Checks one array of a data set against the model's input.

    A conversion within floating point or within the integers is fine. From integers to floating
    point it is not: it is how an image gets into a model without its normalization.

    Args:
        source: The array in words, the subject of a message.
        spec: The model's input; its first dimension is the batch.
        shape: Shape of one sample, without the batch dimension.
        dtype: Dtype of the array.

    Raises:
        DataError: The shape differs where the model fixes it, or the dtype is of another kind.
    """
    if isinstance(spec, PixelSpec):
        _check_pixels(source, spec, shape, dtype)
        return
    expected = spec.shape[1:]
    if len(shape) != len(expected) or any(
        want not in (DYNAMIC, have) for want, have in zip(expected, shape, strict=True)
    ):
        raise DataError(
            f"{source} has samples of shape {_dims(shape)}, but input '{spec.name}' takes "
            f"{_dims(expected)}.",
            "Evaluate on the data that the model was trained for, preprocessed as in training.",
        )
    wanted = np.dtype(spec.dtype)
    if _kind(dtype) != _kind(wanted):
        raise DataError(
            f"{source} holds {dtype}, but input '{spec.name}' takes {wanted}.",
            f"Save it as {wanted}, preprocessed as in training; only conversions within floating "
            "point or within integers are made here.",
        )


def _check_pixels(
    source: str, spec: PixelSpec, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> None:
    """Images for an input that takes their bytes may come in either layout, but as bytes alone."""
    layouts = (spec.shape[1:], spec.other_layout[1:])
    if not any(
        len(shape) == len(each)
        and all(want in (DYNAMIC, have) for want, have in zip(each, shape, strict=True))
        for each in layouts
    ):
        raise DataError(
            f"{source} has samples of shape {_dims(shape)}, but input '{spec.name}' takes the "
            f"bytes of images {_dims(layouts[0])}.",
            f"Give images of that size, or {_dims(layouts[1])}, which are transposed.",
        )
    if _kind(dtype) != "integer":
        raise DataError(
            f"{source} holds {dtype}, but input '{spec.name}' takes the bytes of images, which the "
            "graph normalises itself.",
            "Save the images as uint8, before any normalisation; or export the model without "
            "--pixels.",
        )


def to_input(source: str, spec: TensorSpec, array: Array, *, start: int = 0) -> Array:
    """Converts an array that passed ``check_input`` to the dtype of the input, contiguous.

    Args:
        source: The array in words, the subject of a message.
        spec: The model's input.
        array: Of shape ``(N, ...)``.
        start: Index of its first sample.

    Raises:
        DataError: An integer does not fit the narrower integer type of the input, or a number is
            NaN or infinite.
    """
    wanted = np.dtype(spec.dtype)
    if wanted.kind in "iu" and array.size and not np.can_cast(array.dtype, wanted):
        low, high = int(array.min()), int(array.max())
        limits = np.iinfo(wanted)
        if low < limits.min or high > limits.max:
            raise DataError(
                f"{source} holds integers from {low} to {high}, which do not fit the {wanted} of "
                f"input '{spec.name}'.",
                "Check that this array belongs to this input.",
            )
    with np.errstate(over="ignore"):
        converted = np.ascontiguousarray(array, dtype=wanted)
    if isinstance(spec, PixelSpec):
        return spec.in_layout(converted)
    if wanted.kind == "f" and not np.isfinite(converted).all():
        _refuse_not_finite(source, spec, array, converted, start)
    return converted


def _refuse_not_finite(
    source: str, spec: TensorSpec, array: Array, converted: Array, start: int
) -> None:
    """Names the first sample that holds NaN or infinity, or does once it is converted.

    Raises:
        DataError: Always.
    """
    rows = converted.reshape(len(converted), -1)
    samples = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    first = int(samples[0])
    value = array[first][~np.isfinite(converted[first])].flat[0]
    what = f"{value:g}, which is infinite as {spec.dtype}," if np.isfinite(value) else f"{value:g}"
    raise DataError(
        f"{source} holds {what} in sample {start + first} for input '{spec.name}' "
        f"({len(samples)} of {len(rows)} samples from {start} on hold such).",
        "No figure about such a sample means anything; mend it, or leave it out.",
    )


def some_labels(source: str, start: int, stop: int) -> DataError:
    """The error that some of the samples ``start`` to ``stop - 1`` have a label, and others none.

    Args:
        source: The name of the data.
        start: Index of the first sample.
        stop: One past the last.
    """
    return DataError(
        f"{source} gave only some of the samples {start} to {stop - 1} a label.",
        "Give every sample a label, or none.",
    )


def _kind(dtype: np.dtype[Any]) -> str:
    return "integer" if dtype.kind in "iu" else dtype.kind


def _dims(shape: tuple[int, ...]) -> str:
    """``(3, ?, 32)``: an open dimension is shown as in a tensor specification."""
    dims = ", ".join("?" if dim == DYNAMIC else str(dim) for dim in shape)
    return f"({dims},)" if len(shape) == 1 else f"({dims})"


def full_batch(dataset: Dataset, batch_size: int) -> Arrays:
    """One batch of real data, to time models on; a smaller data set is repeated.

    Args:
        dataset: At least one sample.
        batch_size: Samples.
    """
    batch = dataset.batch(0, min(batch_size, len(dataset)))
    return {
        name: array[[index % len(array) for index in range(batch_size)]]
        for name, array in batch.inputs.items()
    }
