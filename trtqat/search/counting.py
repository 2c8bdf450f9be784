"""Right answers of a model, counted exactly on all samples of a data set."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import torch

from trtqat.data.batches import Dataset
from trtqat.data.labels import Labels, class_numbers
from trtqat.errors import DataError
from trtqat.evaluation.counts import Counter, pair
from trtqat.evaluation.intervals import Interval, paired_interval, paired_p_value
from trtqat.quant.kept_state import buffers_kept
from trtqat.quant.placing.placed import only_calls
from trtqat.quant.quantize import Quantized
from trtqat.search.running import Announce, Cost, Progress, outputs_of
from trtqat.search.saved_search import SavedSearch
from trtqat.tensors import Array

TASK = "accuracy"
# Called with the samples so far, and the seconds that a batch took.
Counted: TypeAlias = Callable[[int, float], object]


class LabelledSamples:
    """Samples with labels, in the order of a model's forward.

    Attributes:
        labels: Class of each sample, known after the first count.
    """

    def __init__(
        self,
        dataset: Dataset,
        inputs: Sequence[str],
        batch_size: int,
        *,
        are_classes: bool = True,
    ) -> None:
        """Refuses data without labels.

        Args:
            dataset: With at least one sample.
            inputs: Names of the model's inputs, in the order of forward.
            batch_size: Samples at once.
            are_classes: Whether labels have to be class numbers.

        Raises:
            DataError: The data has no labels, or others, or is damaged.
        """
        labels = dataset.batch(0, 1).labels
        if labels is None:
            raise DataError(
                f"'{dataset.name}' has no labels, so there is no accuracy to hold.",
                "Give --eval-data with labels: an array 'labels' of class indices in an .npz file.",
            )
        if are_classes:
            class_numbers(f"The labels of '{dataset.name}'", labels)
        self._dataset = dataset
        self._inputs = tuple(inputs)
        self._size = min(batch_size, len(dataset))
        self.labels: list[int] = []

    def __len__(self) -> int:
        return len(self._dataset)

    def predictions(self, model: torch.nn.Module, counted: Counted | None = None) -> list[int]:
        """The class that a model predicts for every sample, -1 where its output is NaN.

        Args:
            model: In eval mode; its first output is ``(N, classes)``.
            counted: Called after every batch with the samples so far and the seconds of the batch,
                reading it included.

        Raises:
            DataError: The first output is no ``(N, classes)``, labels are no class numbers, or one
                is beyond the classes.
        """
        counter = Counter(type(model).__name__)
        labels: list[int] = []
        for outputs, given in self.answers(model, counted):
            classes = class_numbers(f"The labels of '{self._dataset.name}'", given)
            counter.add(next(iter(outputs.values())), classes)
            labels += classes.tolist()
        self.labels = labels
        return counter.predicted

    def answers(
        self, model: torch.nn.Module, counted: Counted | None = None
    ) -> Iterator[tuple[dict[str, Array], Labels]]:
        """Every output of a model by name, and the labels, batch by batch.

        Args:
            model: In eval mode.
            counted: As for ``predictions``; called once the batch was used.

        Raises:
            DataError: Some samples have no label.
        """
        with buffers_kept(model):
            for start in range(0, len(self), self._size):
                began = time.monotonic()
                batch = self._dataset.batch(start, min(start + self._size, len(self)))
                if batch.labels is None:
                    raise DataError(
                        f"'{self._dataset.name}' has no labels from sample {start} on.",
                        "Give every sample a label.",
                    )
                tensors = tuple(torch.from_numpy(batch.inputs[name]) for name in self._inputs)
                yield outputs_of(model, tensors), batch.labels
                if counted is not None:
                    counted(start + len(batch), time.monotonic() - began)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What was found of one model, beside FP32.

    Attributes:
        drop: How much worse than FP32 it is, in percentage points or the metric's own unit.
        interval: Its 95 % interval, paired by sample.
        holds: Whether the drop is within the target.
        value: Of a metric; None where right answers were counted.
        right: Right answers; None of a metric, as what follows.
        lost: Samples that FP32 alone got right.
        gained: Samples that this model alone got right.
        p_value: McNemar's exact test: the probability of so uneven a split by chance.
    """

    drop: float
    interval: Interval
    holds: bool
    value: float | None = None
    right: int | None = None
    lost: int | None = None
    gained: int | None = None
    p_value: float | None = None


class Runs(ABC):
    """Runs of models over all samples, of which earlier ones are known and what is left is told."""

    def __init__(
        self,
        task: str,
        quantized: Quantized,
        samples: LabelledSamples,
        announce: Announce | None,
        progress: Progress | None,
    ) -> None:
        """Nothing is run yet.

        Args:
            task: What ``announce`` and ``progress`` call it.
            quantized: From ``trtqat.quantize``; every model that is run is it with some more
                layers in floating point.
            samples: With labels.
            announce: Called once, after the first batch, with what it will take at most.
            progress: Called after every batch, with samples done and their most possible total.
        """
        self._task = task
        self._samples = samples
        self._announce = announce
        self._progress = progress
        # FP32, all in INT8, and once for each layer.
        self._runs = 2 + sum(not layer.kept for layer in quantized.layers)
        self._known = 0

    @property
    def count(self) -> int:
        """Samples."""
        return len(self._samples)

    @abstractmethod
    def of(self, quantized: Quantized, kept: Sequence[str]) -> Score:
        """What is found of a model.

        Args:
            quantized: The model.
            kept: Names of its layers that went back to floating point, in the order of the run.

        Raises:
            DataError: The samples do not fit the model.
            UsageError: The state cannot be written.
        """

    def _told(self, images: int, seconds: float) -> None:
        """Says what is done after a batch of the next run, and before the first what is left."""
        if self._announce is not None:
            runs, rate = self._runs - self._known, seconds / images
            self._announce(Cost(self._task, runs, self.count, rate * self.count * runs))
            self._announce = None
        if self._progress is not None:
            done = self._known * self.count + images
            self._progress(self._task, done, self._runs * self.count)


class Counts(Runs):
    """Counts right answers, and knows those of an earlier run."""

    def __init__(
        self,
        quantized: Quantized,
        samples: LabelledSamples,
        max_drop_points: float,
        saved: SavedSearch,
        announce: Announce | None,
        progress: Progress | None,
    ) -> None:
        """Counts FP32, or knows it already.

        Args:
            quantized: As for ``Runs``.
            samples: With class numbers.
            max_drop_points: What the accuracy may drop, in percentage points of all samples.
            saved: Where every count is written down, and gone on from.
            announce: As for ``Runs``.
            progress: As for ``Runs``.
        """
        super().__init__(TASK, quantized, samples, announce, progress)
        self._saved = saved
        # As it was written: 0.29 of 100 points of 10,000 samples are 29.
        self._allowed = Fraction(str(max_drop_points)) / 100
        state = saved.part(TASK)
        self._counted: dict[str, tuple[int, int, int]] = {
            kept: (right, lost, gained)
            for kept, (right, lost, gained) in state.get("counted", {}).items()
        }
        samples.labels = state.get("labels", [])
        self._fp32: list[int] = state.get("fp32", [])
        self._known = len(self._counted) + bool(self._fp32)
        if not self._fp32:
            with only_calls(quantized.model, ()):
                self._fp32 = self._predictions(quantized)
            self._write()

    @property
    def fp32_right(self) -> int:
        """Right answers of the model in floating point."""
        return _right(self._samples.labels, self._fp32)

    def of(self, quantized: Quantized, kept: Sequence[str]) -> Score:
        """Right answers of a model, and how they are paired with FP32's."""
        name = "\n".join(kept)
        if name not in self._counted:
            predicted = self._predictions(quantized)
            labels = self._samples.labels
            found = pair(labels, predicted, self._fp32)
            assert found is not None
            self._counted[name] = _right(labels, predicted), found.lost, found.gained
            self._write()
        right, lost, gained = self._counted[name]
        dropped = self.fp32_right - right
        interval = paired_interval(lost, gained, self.count)
        return Score(
            drop=100 * dropped / self.count,
            interval=Interval(100 * interval.low, 100 * interval.high),
            holds=dropped <= self._allowed * self.count,
            right=right,
            lost=lost,
            gained=gained,
            p_value=paired_p_value(lost, gained),
        )

    def _predictions(self, quantized: Quantized) -> list[int]:
        predicted = self._samples.predictions(quantized.model, self._told)
        self._known += 1
        return predicted

    def _write(self) -> None:
        counted = {kept: list(each) for kept, each in self._counted.items()}
        state = {"labels": self._samples.labels, "fp32": self._fp32, "counted": counted}
        self._saved.write(TASK, state)


def _right(labels: Sequence[int], predicted: Sequence[int]) -> int:
    return sum(one == other for one, other in zip(labels, predicted, strict=True))
