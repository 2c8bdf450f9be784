"""``miou``: mean intersection over union of classes, pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from trtqat.checks import check_least
from trtqat.data.labels import Labels
from trtqat.errors import DataError
from trtqat.evaluation.metrics.metric import SumMetric, ratios
from trtqat.tensors import Array, Arrays


@dataclass(frozen=True, kw_only=True)
class MeanIou(SumMetric):
    """Mean over the classes of intersection over union, each summed over all pixels, in percent.

    Reads logits ``(N, classes, H, W)``, a single logit ``(N, 1, H, W)`` whose sign parts two
    classes, or class numbers ``(N, H, W)``; and masks of class numbers ``(N, H, W)``. A class that
    neither model nor labels have anywhere does not count.

    Attributes:
        classes: How many there are; None takes it from the logits.
        ignore: The class number of pixels that do not count.
    """

    OPTIONS: ClassVar[Mapping[str, Callable[[str], Any]]] = {"classes": int, "ignore": int}

    classes: int | None = None
    ignore: int | None = None

    def __post_init__(self) -> None:
        if self.classes is not None:
            check_least("The classes of miou", self.classes, 2)

    @property
    def name(self) -> str:
        """``miou``."""
        return "miou"

    def statistics(self, outputs: Arrays, labels: Labels) -> Array:
        """Pixels in the intersection and in the union, by class: ``(N, 2 * classes)``."""
        what, output = self.chosen(outputs)
        if not isinstance(labels, np.ndarray) or labels.ndim < 2 or labels.dtype.kind not in "biu":
            raise self.unfit_labels(labels, "masks of class numbers (N, H, W)")
        predicted, classes = self._predicted(what, output, labels)
        # Either may have a channel that the other one lacks.
        labels = labels.reshape(predicted.shape)
        counted = np.ones(labels.shape, bool) if self.ignore is None else labels != self.ignore
        self._check_masks(labels[counted], classes)
        return _intersections_and_unions(predicted, labels, counted, classes)

    def value(self, sums: Array) -> Array:
        """Mean of the classes that are there."""
        classes = sums.shape[1] // 2
        each = ratios(sums[:, :classes], sums[:, classes:])
        there = ~np.isnan(each)
        return 100 * ratios(np.where(there, each, 0.0).sum(axis=1), there.sum(axis=1))

    def _predicted(self, what: str, output: Array, labels: Array) -> tuple[Array, int]:
        """Class numbers of the masks' pixels, -1 where the output is NaN; and how many classes."""
        count, *lengths = output.shape
        is_float = output.dtype.kind == "f"
        # More classes than a sign tells apart: of a single channel these are class numbers.
        is_scored = is_float and (lengths[:1] != [1] or self.classes in (None, 2))
        if is_scored and labels.shape in ((count, *lengths[1:]), (count, 1, *lengths[1:])):
            return self._largest(what, output)
        if _without_channel(output.shape) != _without_channel(labels.shape):
            raise DataError(
                f"The masks of the data have the shape {labels.shape}, but {what} has "
                f"{output.shape}.",
                "Give masks of the output's height and width.",
            )
        if self.classes is None:
            raise DataError(
                f"How many classes there are is not known: {what} has the shape {output.shape} "
                f"for masks of {labels.shape}.",
                f"Say it, as in {replace(self, classes=5).spec}.",
            )
        sound = np.isfinite(output) if is_float else True
        return np.where(sound, output, -1).astype(np.int64), self.classes

    def _largest(self, what: str, output: Array) -> tuple[Array, int]:
        width = max(output.shape[1], 2)
        if self.classes not in (None, width):
            raise DataError(
                f"The metric {self.spec} counts {self.classes} classes, but {what} has the shape "
                f"{output.shape}, of {width}.",
                "Leave out classes=, which is for outputs that are class numbers.",
            )
        is_single = output.shape[1] == 1
        predicted = output[:, 0] > 0 if is_single else output.argmax(axis=1)
        return np.where(np.isnan(output).any(axis=1), -1, predicted), width

    def _check_masks(self, labels: Array, classes: int) -> None:
        unknown = labels[(labels < 0) | (labels >= classes)] if labels.size else labels
        if unknown.size:
            found = int(unknown.flat[0])
            raise DataError(
                f"The masks hold {found}, but there are {classes} classes.",
                f"If such pixels do not count, say so: {replace(self, ignore=found).spec}"
                if self.ignore is None
                else f"Write {self.ignore} into them if they do not count, as into others.",
            )


def _without_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """``(N, 1, H, W)`` as ``(N, H, W)``."""
    return (shape[0], *shape[2:]) if len(shape) > 3 and shape[1] == 1 else shape


def _intersections_and_unions(
    predicted: Array, labels: Array, counted: Array, classes: int
) -> Array:
    count = len(labels)
    # Which sample a pixel is of, and its class: one number.
    places = np.arange(count).reshape(-1, *[1] * (labels.ndim - 1)) * classes
    known = counted & (predicted >= 0) & (predicted < classes)

    def pixels(values: Array, where: Array) -> Array:
        found = (values.astype(np.int64) + places)[where]
        return np.bincount(found, minlength=count * classes).reshape(count, classes)

    shared = pixels(labels, counted & (predicted == labels))
    unions = pixels(labels, counted) + pixels(predicted, known) - shared
    return np.concatenate([shared, unions], axis=1)
