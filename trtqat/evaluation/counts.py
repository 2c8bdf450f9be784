"""Exact counts of right predictions, and how far two models' outputs are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.errors import DataError
from trtqat.evaluation.statistics import Interval, paired_p_value, share_interval
from trtqat.numerics import Noise, signal_and_error, sqnr_db
from trtqat.tensors import Array

_TOP = 5
# A position of the batch counts as wrong if its SQNR is below the first, as of another image's
# result, and below that of the median position by the second.
_WRONG_DB = 5.0
_APART_DB = 10.0


@dataclass(frozen=True)
class Accuracy:
    """Exact counts of one model.

    Attributes:
        top1: Images whose label has the largest logit.
        top5: Images whose label is among the five largest; None with five classes or fewer.
        count: Images.
    """

    top1: int
    top5: int | None
    count: int

    @property
    def top1_percent(self) -> float:
        """Top-1 accuracy in percent."""
        return 100 * self.top1 / self.count

    @property
    def top1_interval(self) -> Interval:
        """Its 95 % interval as a share, for images like these."""
        return share_interval(self.top1, self.count)


@dataclass(frozen=True)
class Agreement:
    """How close a model is to its baseline on the same images.

    Attributes:
        same_top1: Images with the same prediction; None if the output is no ``(N, classes)``.
        count: Images.
        sqnr_db: SQNR of the first output over all images, the baseline as the signal; None if
            only the baseline's predictions are known.
        worst: Largest absolute difference; None likewise.
        wrong_positions: Positions in the batch whose outputs are far from the baseline's while
            those of most are not.
    """

    same_top1: int | None
    count: int
    sqnr_db: float | None
    worst: float | None
    wrong_positions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Paired:
    """Images that one of the two alone got right.

    Attributes:
        lost: The baseline alone.
        gained: The model alone.
    """

    lost: int
    gained: int

    @property
    def p_value(self) -> float:
        """Probability that chance splits them so unevenly: above 0.05 no drop is shown."""
        return paired_p_value(self.lost, self.gained)


def pair(labels: Sequence[int], model: Sequence[int], baseline: Sequence[int]) -> Paired | None:
    """Counts the images that one of two alone got right; None without labels.

    Args:
        labels: Right classes.
        model: Predicted classes, as many.
        baseline: The other's.
    """
    if not labels:
        return None
    rights = [
        np.equal(np.asarray(labels, np.int64), np.asarray(predicted, np.int64))
        for predicted in (model, baseline)
    ]
    return Paired(int((rights[1] & ~rights[0]).sum()), int((rights[0] & ~rights[1]).sum()))


class Counter:
    """Counts one model's right predictions, batch by batch.

    Attributes:
        predicted: Its class for every image so far, -1 where an output is NaN.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.top1 = self.top5 = self.count = self.classes = 0
        self.predicted: list[int] = []

    def add(self, logits: Array, labels: NDArray[np.int64] | None) -> None:
        """Counts a batch.

        Args:
            logits: The first output; ``(N, classes)`` if there are labels.
            labels: Right classes ``(N,)``.

        Raises:
            DataError: They do not fit each other.
        """
        # A model that returns NaN predicts nothing; NumPy ranks it somewhere all the same.
        sound = ~np.isnan(logits).any(axis=1) if logits.ndim == 2 else np.zeros(0, bool)
        if logits.ndim == 2:
            self.predicted += np.where(sound, logits.argmax(axis=1), -1).tolist()
        if labels is None:
            return
        if logits.ndim != 2:
            raise DataError(
                f"The data has labels, but the first output of '{self._name}' has the shape "
                f"{logits.shape} instead of (N, classes).",
                "Let the model return its logits first, or give data without labels.",
            )
        self.classes = logits.shape[1]
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if wrong.size:
            raise DataError(
                f"The data has the label {wrong[0]}, but '{self._name}' has {self.classes} "
                "classes.",
                "Check that data and model belong together.",
            )
        # Not by sorting, which takes longer than the engine does: how many classes come before
        # the right one. Of equal logits the first class wins, as with argmax.
        own = np.take_along_axis(logits, labels[:, None], axis=1)
        earlier = np.arange(self.classes) < labels[:, None]
        rank = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
        self.top1 += int((sound & (rank == 0)).sum())
        self.top5 += int((sound & (rank < _TOP)).sum())
        self.count += len(labels)

    def result(self) -> Accuracy | None:
        """The counts; None without labels."""
        if not self.count:
            return None
        return Accuracy(self.top1, self.top5 if self.classes > _TOP else None, self.count)


class Comparison:
    """How far one model's first output is from another's, batch by batch."""

    def __init__(self) -> None:
        self._same = self._count = 0
        self._worst = 0.0
        self._is_classifier = True
        self._total = Noise()
        # By position in the batch.
        self._signals = np.zeros(0)
        self._noises = np.zeros(0)

    def add(self, expected: Array, actual: Array) -> None:
        """Compares a batch.

        Args:
            expected: ``(N, …)``.
            actual: The same.

        Raises:
            DataError: The shapes differ.
        """
        if expected.shape != actual.shape:
            raise DataError(
                f"The model returns {actual.shape} where the baseline returns {expected.shape}.",
                "Give the baseline of the same model.",
            )
        reference, error = signal_and_error(expected, actual)
        signals, noises = (_row_sums(each) for each in (reference, error))
        self._total.signal += float(signals.sum())
        self._total.noise += float(noises.sum())
        # Where the baseline has no number, the model cannot be wrong.
        known = np.isfinite(signals)
        self._signals = _add(self._signals, np.where(known, signals, 0.0))
        self._noises = _add(self._noises, np.where(known, noises, 0.0))
        self._worst = float(np.maximum(self._worst, error.max(initial=0.0)))
        self._count += len(expected)
        self._is_classifier = self._is_classifier and expected.ndim == 2
        if self._is_classifier:
            sound = ~(np.isnan(expected).any(axis=1) | np.isnan(actual).any(axis=1))
            same = expected.argmax(axis=1) == actual.argmax(axis=1)
            self._same += int((same & sound).sum())

    def result(self) -> Agreement:
        """What was found so far."""
        return Agreement(
            self._same if self._is_classifier else None,
            self._count,
            self._total.sqnr_db,
            self._worst,
            self._wrong_positions(),
        )

    def _wrong_positions(self) -> tuple[int, ...]:
        each = [
            sqnr_db(float(signal), float(noise))
            for signal, noise in zip(self._signals, self._noises, strict=True)
        ]
        found = np.nan_to_num(each, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        usual = float(np.median(found)) if len(found) else 0.0
        limit = min(_WRONG_DB, usual - _APART_DB)
        return tuple(int(position) for position in np.flatnonzero(found < limit))


def _row_sums(values: Array) -> Array:
    """The sum of squares of each row: ``(N, …)`` to ``(N,)``."""
    rows: Array = np.square(values).reshape(len(values), -1).sum(axis=1)
    return rows


def _add(sums: Array, rows: Array) -> Array:
    """Adds each row's sum to that of its position in the batch."""
    total = np.zeros(max(len(sums), len(rows)))
    total[: len(sums)] += sums
    total[: len(rows)] += rows
    return total
