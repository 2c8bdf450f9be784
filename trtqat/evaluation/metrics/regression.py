"""``mse`` and ``psnr``: how far numbers are from those that the labels are."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from trtqat.data.labels import Labels
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.metric import SumMetric, ratios
from trtqat.tensors import Array, Arrays


class _OfSquares(SumMetric):
    """Reads an output, and an array of as many numbers for each sample."""

    def statistics(self, outputs: Arrays, labels: Labels) -> Array:
        """Sum of squared differences and number of elements: ``(N, 2)``."""
        what, output = self.chosen(outputs)
        if not isinstance(labels, np.ndarray):
            raise self.unfit_labels(labels, "arrays of numbers")
        if _without_ones(output) != _without_ones(labels):
            raise DataError(
                f"The labels have the shape {labels.shape}, but {what} has {output.shape}.",
                "Give labels of the output's shape.",
            )
        unsound = labels[~np.isfinite(labels)]
        if unsound.size:
            raise DataError(
                f"The labels hold {unsound[0]:g}, so there is no {self.label}.",
                "Leave out such samples, or measure the known numbers by a function of yours, "
                "--metric file.py:function.",
            )
        count = len(output)
        difference = output.reshape(count, -1).astype(np.float64) - labels.reshape(count, -1)
        squares = np.square(difference).sum(axis=1)
        return np.stack([squares, np.full(count, difference.shape[1])], axis=1)

    @abstractmethod
    def value(self, sums: Array) -> Array:
        """Of the mean square."""


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError(_OfSquares):
    """Mean of the squared differences over all elements of all samples."""

    unit: str = field(default="", init=False)
    higher_is_better: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """``mse``."""
        return "mse"

    def value(self, sums: Array) -> Array:
        """In the square of the labels' unit."""
        return ratios(sums[:, 0], sums[:, 1])


@dataclass(frozen=True, kw_only=True)
class PeakSignalToNoise(_OfSquares):
    """Peak signal-to-noise ratio in dB, of the mean squared error over all samples.

    Attributes:
        range: From the smallest possible number to the largest: 1 for images from 0 to 1.
    """

    OPTIONS: ClassVar[Mapping[str, Callable[[str], Any]]] = {"range": float}

    unit: str = field(default="dB", init=False)
    range: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.range < math.inf:
            raise UsageError(
                f"The range of psnr is {self.range!r}.",
                "Give the largest possible number less the smallest, as psnr:range=255.",
            )

    @property
    def name(self) -> str:
        """``psnr``."""
        return "psnr"

    def value(self, sums: Array) -> Array:
        """Infinite where nothing differs."""
        with np.errstate(divide="ignore"):
            return np.asarray(
                20 * math.log10(self.range) - 10 * np.log10(ratios(sums[:, 0], sums[:, 1]))
            )


def _without_ones(array: Array) -> tuple[int, ...]:
    """The shape of a sample, without dimensions that make no difference."""
    return (len(array), *(length for length in array.shape[1:] if length != 1))
