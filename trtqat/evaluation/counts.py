"""Exact counts of right predictions, and how far two models' outputs are apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.errors import DataError
from trtqat.evaluation.intervals import Interval, paired_p_value, share_interval
from trtqat.evaluation.metrics.classification import label_ranks
from trtqat.numerics import Noise, signal_and_error, sqnr_db
from trtqat.tensors import Array, Arrays, are_texts
from trtqat.typed_json import Unbounded

_TOP = 5
# A position of the batch counts as wrong if its SQNR is below the first, as of another image's
# result, and below that of the median position by the second; and if each image at it is. One
# image alone may be far off, where rounding gives a TopK another order.
_WRONG_DB = 5.0
_APART_DB = 10.0
_IMAGES_OF_A_WRONG_POSITION = 2


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
class OutputAgreement:
    """How close one output is to the baseline's of the same name.

    Attributes:
        name: Of the output.
        shape: As it was computed, the batch as -1.
        sqnr_db: SQNR over all images, the baseline as the signal. Infinite only if every element
            was compared and is equal; NaN if there was no element, or a number on one side alone.
        worst: Largest absolute difference; NaN if there is none.
    """

    name: str
    shape: tuple[int, ...]
    sqnr_db: Unbounded
    worst: Unbounded


@dataclass(frozen=True)
class Agreement:
    """How close a model is to another one on the same images.

    Attributes:
        same_top1: Images with the same prediction; None if the output is no ``(N, classes)``.
        count: Images.
        sqnr_db: Of the first output, as ``OutputAgreement`` has it; None if only the other one's
            predictions are known, or which output is the first one is not.
        worst: Largest absolute difference of the first output; None where ``sqnr_db`` is.
        wrong_positions: Positions in the batch at which an output is far from the other one's for
            each image, two at least, while it is not at most others.
        outputs: Every output, in the order of the exported model; empty if only the predictions
            are known.
    """

    same_top1: int | None
    count: int
    sqnr_db: Unbounded | None
    worst: Unbounded | None
    wrong_positions: tuple[int, ...] = ()
    outputs: tuple[OutputAgreement, ...] = ()


@dataclass(frozen=True)
class Paired:
    """Images that one of two alone got right.

    Attributes:
        lost: The other one alone.
        gained: The model alone.
        p_value: Probability that chance splits them so unevenly: above 0.05 no drop is shown.
    """

    lost: int
    gained: int
    p_value: float


def pair(labels: Sequence[int], model: Sequence[int], other: Sequence[int]) -> Paired | None:
    """Counts the images that one of two alone got right; None without labels.

    Args:
        labels: Right classes.
        model: Predicted classes, as many.
        other: What the other one predicted.
    """
    if not labels:
        return None
    right, other_right = (
        np.equal(np.asarray(labels, np.int64), np.asarray(predicted, np.int64))
        for predicted in (model, other)
    )
    lost, gained = int((other_right & ~right).sum()), int((right & ~other_right).sum())
    return Paired(lost, gained, paired_p_value(lost, gained))


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
        is_classifier = _is_classifier(logits)
        sound = ~np.isnan(logits).any(axis=1) if is_classifier else np.zeros(0, bool)
        if is_classifier:
            self.predicted += np.where(sound, logits.argmax(axis=1), -1).tolist()
        if labels is None:
            return
        if not is_classifier:
            dtype = f" of {logits.dtype}" if _are_answers(logits) else ""
            raise DataError(
                f"The data has labels, but the first output of '{self._name}' has the shape "
                f"{logits.shape}{dtype} instead of (N, classes).",
                "Name what measures such outputs by these labels (--metric), let the model return "
                "its logits first, or give data without labels.",
            )
        self.classes = logits.shape[1]
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if wrong.size:
            raise DataError(
                f"The data has the label {wrong[0]}, but '{self._name}' has {self.classes} "
                "classes.",
                "Check that data and model belong together.",
            )
        rank = label_ranks(logits, labels)
        self.top1 += int((sound & (rank == 0)).sum())
        self.top5 += int((sound & (rank < _TOP)).sum())
        self.count += len(labels)

    def result(self) -> Accuracy | None:
        """The counts; None without labels."""
        if not self.count:
            return None
        return Accuracy(self.top1, self.top5 if self.classes > _TOP else None, self.count)


class AgreementCounter:
    """How far one model's outputs are from another's of the same names, batch by batch."""

    def __init__(self) -> None:
        self._count = 0
        self._outputs: dict[str, _OutputComparison] = {}

    def add(
        self,
        expected: Arrays,
        actual: Arrays,
        *,
        model: str = "the model",
        baseline: str = "the baseline",
    ) -> None:
        """Compares a batch.

        Args:
            expected: Arrays ``(N, …)`` by output name, in the order of the exported model.
            actual: The same outputs.
            model: Whose the latter are, for messages.
            baseline: Whose the former are.

        Raises:
            DataError: The shapes differ, or an output holds texts.
        """
        for name, array in expected.items():
            if are_texts(array) or are_texts(actual[name]):
                raise DataError(
                    f"The output '{name}' of '{model}' holds texts, so there is no distance to "
                    f"that of '{baseline}'.",
                    "Leave it out of the graph, or evaluate the model alone.",
                )
            if array.shape != actual[name].shape:
                raise DataError(
                    f"'{model}' returns {actual[name].shape} for output '{name}', where "
                    f"'{baseline}' returns {array.shape}.",
                    "Give the baseline of the same model; where the size of an output depends on "
                    "the data, let it have one size, the rest filled up.",
                )
            self._outputs.setdefault(name, _OutputComparison()).add(array, actual[name])
        self._count += len(next(iter(expected.values())))

    def result(self, shapes: Mapping[str, tuple[int, ...]], prediction: str | None) -> Agreement:
        """What was found so far.

        Args:
            shapes: Of the outputs, the batch as -1.
            prediction: Name of the output that is a classifier's; None if it is not known.
        """
        found = tuple(
            OutputAgreement(name, shapes[name], each.sqnr_db, each.worst)
            for name, each in self._outputs.items()
        )
        wrong = {at for each in self._outputs.values() for at in each.wrong_positions()}
        first = next((each for each in found if each.name == prediction), None)
        return Agreement(
            self._outputs[first.name].same_top1 if first else None,
            self._count,
            first.sqnr_db if first else None,
            first.worst if first else None,
            tuple(sorted(wrong)),
            found,
        )


class _OutputComparison:
    """How far one output is from another model's, batch by batch."""

    def __init__(self) -> None:
        self._same = 0
        self._worst = 0.0
        self._is_classifier = True
        self._total = Noise()
        # By position in the batch.
        self._signals = np.zeros(0)
        self._noises = np.zeros(0)
        self._images = np.zeros(0)
        self._far = np.zeros(0)

    def add(self, expected: Array, actual: Array) -> None:
        """Compares a batch of ``(N, …)`` with one of the same shape."""
        reference, error = signal_and_error(expected, actual)
        signals, noises = (_row_sums(each) for each in (reference, error))
        self._total.add_sums(float(signals.sum()), float(noises.sum()), error.size)
        # Where the baseline has no number, the model cannot be wrong.
        known = np.isfinite(signals)
        self._signals = _add(self._signals, np.where(known, signals, 0.0))
        self._noises = _add(self._noises, np.where(known, noises, 0.0))
        self._images = _add(self._images, known.astype(float))
        self._far = _add(self._far, (known & _is_far(signals, noises)).astype(float))
        self._worst = float(np.maximum(self._worst, error.max(initial=0.0)))
        self._is_classifier = self._is_classifier and _is_classifier(expected)
        if self._is_classifier:
            sound = ~(np.isnan(expected).any(axis=1) | np.isnan(actual).any(axis=1))
            same = expected.argmax(axis=1) == actual.argmax(axis=1)
            self._same += int((same & sound).sum())

    @property
    def same_top1(self) -> int | None:
        """Images with the same prediction; None if the output is no ``(N, classes)``."""
        return self._same if self._is_classifier else None

    @property
    def sqnr_db(self) -> float:
        """Over all images; NaN without an element."""
        return self._total.sqnr_db

    @property
    def worst(self) -> float:
        """The largest absolute difference; NaN without an element."""
        return self._worst if self._total.count else math.nan

    def wrong_positions(self) -> tuple[int, ...]:
        """Positions of the batch that are far from the other model's, while most are not."""
        each = [
            sqnr_db(float(signal), float(noise))
            for signal, noise in zip(self._signals, self._noises, strict=True)
        ]
        found = np.nan_to_num(each, nan=-np.inf, posinf=np.inf, neginf=-np.inf)
        usual = float(np.median(found)) if len(found) else 0.0
        limit = min(_WRONG_DB, usual - _APART_DB)
        always = (self._far == self._images) & (self._images >= _IMAGES_OF_A_WRONG_POSITION)
        return tuple(int(position) for position in np.flatnonzero((found < limit) & always))


def _is_classifier(output: Array) -> bool:
    """Whether it is scores ``(N, classes)``: of one number the largest is no prediction.

    Integers, booleans and texts are answers already, as the class at each place of a text.
    """
    return output.ndim == 2 and output.shape[1] > 1 and not _are_answers(output)


def _are_answers(output: Array) -> bool:
    return output.dtype.kind in "iub" or are_texts(output)


def _is_far(signals: Array, noises: Array) -> NDArray[np.bool_]:
    """Which images ``(N,)`` are as far off as another image's result; NaN is."""
    found: NDArray[np.bool_] = ~(noises < signals / 10 ** (_WRONG_DB / 10)) & (noises != 0)
    return found


def _row_sums(values: Array) -> Array:
    """The sum of squares of each row: ``(N, …)`` to ``(N,)``."""
    rows: Array = np.square(values).sum(axis=tuple(range(1, values.ndim)))
    return rows


def _add(sums: Array, rows: Array) -> Array:
    """Adds each row's sum to that of its position in the batch."""
    total = np.zeros(max(len(sums), len(rows)))
    total[: len(sums)] += sums
    total[: len(rows)] += rows
    return total
