"""Every image once: predictions, exact counts, and how far two models' outputs are apart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.evaluation.protocol import Model, Session
from trtqat.evaluation.statistics import Interval, paired_p_value, share_interval
from trtqat.numerics import signal_and_error, sqnr_db
from trtqat.tensors import Array

Progress = Callable[[int, int], None]

_TOP = 5


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
    """

    same_top1: int | None
    count: int
    sqnr_db: float | None
    worst: float | None


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


@dataclass(frozen=True)
class Predictions:
    """Image by image, for a comparison on another host.

    Attributes:
        labels: Right classes; empty without labels.
        model: Predicted classes, -1 where an output is NaN; empty if the first output is no
            ``(N, classes)``.
        baseline: The baseline's, likewise; empty if there was none.
        data_sha256: Of the labels and the first image: whether it is the same data.
    """

    labels: tuple[int, ...]
    model: tuple[int, ...]
    baseline: tuple[int, ...]
    data_sha256: str


@dataclass(frozen=True)
class AccuracyResult:
    """What ``measure_accuracy`` found; None where it does not apply."""

    model: Accuracy | None
    baseline: Accuracy | None
    agreement: Agreement | None
    paired: Paired | None
    predictions: Predictions


def measure_accuracy(
    model: Model,
    baseline: Model | None,
    dataset: Dataset,
    *,
    batch_size: int,
    progress: Progress | None = None,
) -> AccuracyResult:
    """Runs every image of a dataset once through a model and its baseline.

    The last batch is as small as it is; a model that does not take so small a one gets
    its rows repeated, and the results of the repetition are dropped.

    Args:
        model: What is measured.
        baseline: What it is compared with, on the same batches.
        dataset: Images, with labels or without.
        batch_size: Of all batches but the last.
        progress: Called with the number of images done and their total.

    Raises:
        DataError: There are labels, but the first output is not ``(N, classes)``.
        InferenceError: A runtime failed.
    """
    mine, theirs = _Counter(), _Counter()
    same = _Comparison()
    digest = hashlib.sha256()
    labels: list[int] = []
    runner = Batches(model)
    other = None if baseline is None else Batches(baseline)
    total = len(dataset)
    try:
        for start in range(0, total, batch_size):
            stop = min(start + batch_size, total)
            batch = dataset.batch(start, stop)
            output = runner.first_output(batch.inputs, stop - start)
            mine.add(output, batch.labels)
            if batch.labels is not None:
                labels += batch.labels.tolist()
            if start == 0:
                for _, array in sorted(batch.inputs.items()):
                    digest.update(np.ascontiguousarray(array[0]).tobytes())
            if other is not None:
                expected = other.first_output(batch.inputs, stop - start)
                theirs.add(expected, batch.labels)
                same.add(expected, output)
            if progress:
                progress(stop, total)
    finally:
        runner.close()
        if other is not None:
            other.close()
    digest.update(np.asarray(labels, np.int64).tobytes())
    predictions = Predictions(
        tuple(labels), tuple(mine.predicted), tuple(theirs.predicted), digest.hexdigest()
    )
    if other is None:
        return AccuracyResult(mine.result(), None, None, None, predictions)
    paired = pair(labels, mine.predicted, theirs.predicted)
    return AccuracyResult(mine.result(), theirs.result(), same.result(), paired, predictions)


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


class Batches:
    """Runs batches of any size, one session at a time: an engine may allow no second one."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._session: Session | None = None
        self._size = 0

    def first_output(self, inputs: dict[str, Array], size: int) -> Array:
        """The first output of ``run``."""
        outputs = self.run(inputs, size)
        name = self._model.outputs[0].name if self._model.outputs else next(iter(outputs))
        return outputs[name]

    def run(self, inputs: dict[str, Array], size: int) -> dict[str, Array]:
        """All outputs, ``(size, …)`` each; rows are repeated where the model takes no fewer.

        Args:
            inputs: Arrays ``(size, …)`` by input name.
            size: At most the model's largest batch.
        """
        low, _ = self._model.batch_range
        padded = max(size, low)
        if padded > size:
            rows = np.arange(padded) % size
            inputs = {name: array[rows] for name, array in inputs.items()}
        if self._session is None or padded != self._size:
            self.close()
            self._session, self._size = self._model.session(padded), padded
        return {name: array[:size] for name, array in self._session.run(inputs).items()}

    def close(self) -> None:
        """Frees the session, not the model."""
        if self._session is not None:
            self._session.close()
        self._session = None


class _Counter:
    def __init__(self) -> None:
        self.top1 = self.top5 = self.count = self.classes = 0
        self.predicted: list[int] = []

    def add(self, logits: Array, labels: NDArray[np.int64] | None) -> None:
        if logits.ndim == 2:
            # A model that returns NaN predicts nothing; NumPy ranks it somewhere all the same.
            sound = ~np.isnan(logits).any(axis=1)
            self.predicted += np.where(sound, logits.argmax(axis=1), -1).tolist()
        if labels is None:
            return
        if logits.ndim != 2:
            raise DataError(
                f"The data has labels, but the model's first output has the shape {logits.shape} "
                "instead of (N, classes).",
                "Let the model return its logits first, or give data without labels.",
            )
        self.classes = logits.shape[1]
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if wrong.size:
            raise DataError(
                f"The data has the label {wrong[0]}, but the model has {self.classes} classes.",
                "Check that data and model belong together.",
            )
        ranked = np.argsort(-logits, axis=1, kind="stable")[:, :_TOP]
        # NumPy ranks NaN somewhere all the same; a model that returns it is never right.
        hits = (ranked == labels[:, None]) & ~np.isnan(logits).any(axis=1, keepdims=True)
        self.top1 += int(hits[:, 0].sum())
        self.top5 += int(hits.any(axis=1).sum())
        self.count += len(labels)

    def result(self) -> Accuracy | None:
        if not self.count:
            return None
        return Accuracy(self.top1, self.top5 if self.classes > _TOP else None, self.count)


class _Comparison:
    def __init__(self) -> None:
        self.same = self.count = 0
        self.signal = self.noise = self.worst = 0.0
        self.is_classifier = True

    def add(self, expected: Array, actual: Array) -> None:
        if expected.shape != actual.shape:
            raise DataError(
                f"The model returns {actual.shape} where the baseline returns {expected.shape}.",
                "Give the baseline of the same model.",
            )
        reference, error = signal_and_error(expected, actual)
        self.signal += float(np.sum(reference**2))
        self.noise += float(np.sum(error**2))
        self.worst = float(np.maximum(self.worst, error.max(initial=0.0)))
        self.count += len(expected)
        self.is_classifier = self.is_classifier and expected.ndim == 2
        if self.is_classifier:
            sound = ~(np.isnan(expected).any(axis=1) | np.isnan(actual).any(axis=1))
            same = expected.argmax(axis=1) == actual.argmax(axis=1)
            self.same += int((same & sound).sum())

    def result(self) -> Agreement:
        same = self.same if self.is_classifier else None
        return Agreement(same, self.count, sqnr_db(self.signal, self.noise), self.worst)
