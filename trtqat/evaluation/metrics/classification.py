"""``top1``, ``top5``, ``topK``: the share of samples whose label is among the K largest logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.checks import check_least
from trtqat.data.labels import Labels
from trtqat.errors import DataError
from trtqat.evaluation.metrics.metric import PerSample, SumMetric, ratios
from trtqat.tensors import Array, Arrays

# What is counted exactly where it is asked for, as an evaluation does without any metric.
COUNTED = ("top1", "top5")


@dataclass(frozen=True, kw_only=True)
class TopK(SumMetric):
    """Right answers in percent. Reads logits ``(N, classes)`` and class numbers ``(N,)``.

    Attributes:
        k: How many of the largest logits count as an answer; of equal ones the first class's.
    """

    k: int = 1

    def __post_init__(self) -> None:
        check_least("The K of topK", self.k, 1)

    @property
    def name(self) -> str:
        """``top1``, ``top5``."""
        return f"top{self.k}"

    def statistics(self, outputs: Arrays, labels: Labels) -> Array:
        """Whether the answer is right, and 1: ``(N, 2)``."""
        what, logits = self.chosen(outputs)
        if not isinstance(labels, np.ndarray) or labels.ndim != 1 or labels.dtype.kind != "i":
            raise self.unfit_labels(labels, "class numbers")
        if logits.ndim != 2:
            raise DataError(
                f"The metric {self.label} reads logits (N, classes), but {what} has the shape "
                f"{logits.shape}.",
                "Name the output with the logits, as in top1@logits, or choose another --metric.",
            )
        classes = logits.shape[1]
        if classes <= self.k:
            raise DataError(
                f"The metric {self.label} of {classes} classes is 100 % whatever the model says.",
                "Choose fewer, as in top1.",
            )
        unknown = labels[(labels < 0) | (labels >= classes)]
        if unknown.size:
            raise DataError(
                f"The data has the label {unknown[0]}, but {what} has {classes} classes.",
                "Check that data and model belong together.",
            )
        right = label_ranks(logits, labels) < self.k
        return np.stack([right, np.ones(len(labels))], axis=1)

    def value(self, sums: Array) -> Array:
        """In percent."""
        return 100 * ratios(sums[:, 0], sums[:, 1])

    def right(self, found: PerSample) -> NDArray[np.bool_]:
        """Those whose label is among the K largest."""
        right: NDArray[np.bool_] = found.rows[:, 0] == 1
        return right


def label_ranks(logits: Array, labels: Array) -> Array:
    """How many classes come before the right one: 0 where it is the prediction.

    Of equal logits the first class wins, as with argmax. A row with NaN predicts nothing, so all
    classes come before the right one there.

    Args:
        logits: ``(N, classes)``.
        labels: Classes ``(N,)`` from 0 on, each below the number of classes.

    Returns:
        int64 ``(N,)``.
    """
    classes = logits.shape[1]
    # Not by sorting, which takes longer than the engine does.
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(classes) < labels[:, None]
    ranks = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    # NumPy ranks NaN somewhere all the same.
    found: Array = np.where(np.isnan(logits).any(axis=1), classes, ranks)
    return found
