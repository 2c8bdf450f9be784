"""Right answers of a model, counted exactly on all samples of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from trtqat.data.batches import Dataset
from trtqat.data.labels import class_numbers
from trtqat.errors import DataError
from trtqat.evaluation.counts import Counter, Paired, pair
from trtqat.evaluation.intervals import paired_p_value
from trtqat.quant.placing.placed import only_calls
from trtqat.quant.quantize import Quantized
from trtqat.search.running import Announce, Cost, Progress, outputs_of
from trtqat.search.saved_search import SavedSearch

TASK = "accuracy"


class LabelledSamples:
    """Samples with labels, in the order of a model's forward.

    Attributes:
        labels: Class of each sample, known after the first count.
    """

    def __init__(self, dataset: Dataset, inputs: Sequence[str], batch_size: int) -> None:
        """Refuses data without labels.

        Args:
            dataset: With at least one sample.
            inputs: Names of the model's inputs, in the order of forward.
            batch_size: Samples at once.

        Raises:
            DataError: The data has no labels, or is damaged.
        """
        if dataset.batch(0, 1).labels is None:
            raise DataError(
                f"'{dataset.name}' has no labels, so there is no accuracy to hold.",
                "Give --eval-data with labels: an array 'labels' of class indices in an .npz file.",
            )
        self._dataset = dataset
        self._inputs = tuple(inputs)
        self._size = min(batch_size, len(dataset))
        self.labels: list[int] = []

    def __len__(self) -> int:
        return len(self._dataset)

    def predictions(
        self, model: torch.nn.Module, counted: Callable[[int, float], object] | None = None
    ) -> list[int]:
        """The class that a model predicts for every sample, -1 where its output is NaN.

        Args:
            model: In eval mode; its first output is ``(N, classes)``.
            counted: Called after every batch with the samples so far and the seconds of the batch,
                reading it included.

        Raises:
            DataError: The first output is no ``(N, classes)``, or a label is beyond the classes.
        """
        counter = Counter(type(model).__name__)
        labels: list[int] = []
        for start in range(0, len(self), self._size):
            began = time.monotonic()
            batch = self._dataset.batch(start, min(start + self._size, len(self)))
            if batch.labels is None:
                raise DataError(
                    f"'{self._dataset.name}' has no labels from sample {start} on.",
                    "Give every sample a label.",
                )
            tensors = tuple(torch.from_numpy(batch.inputs[name]) for name in self._inputs)
            first = next(iter(outputs_of(model, tensors).values()))
            classes = class_numbers(f"The labels of '{self._dataset.name}'", batch.labels)
            counter.add(first, classes)
            labels += classes.tolist()
            if counted is not None:
                counted(len(labels), time.monotonic() - began)
        self.labels = labels
        return counter.predicted


class Counts:
    """Counts right answers, and knows those of an earlier run."""

    def __init__(
        self,
        quantized: Quantized,
        samples: LabelledSamples,
        saved: SavedSearch,
        announce: Announce | None,
        progress: Progress | None,
    ) -> None:
        """Counts FP32, or knows it already.

        Args:
            quantized: From ``trtqat.quantize``; every model that is counted is it with some more
                layers in floating point.
            samples: With labels.
            saved: Where every count is written down, and gone on from.
            announce: Called once, after the first batch, with what it will take at most.
            progress: Called after every batch, with samples done and their most possible total.
        """
        self._samples = samples
        self._saved = saved
        self._announce = announce
        self._progress = progress
        # FP32, all in INT8, and once for each layer.
        self._runs = 2 + sum(not layer.kept for layer in quantized.layers)
        state = saved.part(TASK)
        self._counted: dict[str, tuple[int, int, int]] = {
            kept: (right, lost, gained)
            for kept, (right, lost, gained) in state.get("counted", {}).items()
        }
        samples.labels = state.get("labels", [])
        self._fp32: list[int] = state.get("fp32", [])
        self._done = len(samples) * (len(self._counted) + bool(self._fp32))
        if not self._fp32:
            with only_calls(quantized.model, ()):
                self._fp32 = self._predictions(quantized)
            self._write()

    @property
    def count(self) -> int:
        """Samples."""
        return len(self._samples)

    @property
    def fp32_right(self) -> int:
        """Right answers of the model in floating point."""
        return _right(self._samples.labels, self._fp32)

    def of(self, quantized: Quantized, kept: Sequence[str]) -> tuple[int, Paired]:
        """Right answers of a model, and how they are paired with FP32's.

        Args:
            quantized: The model.
            kept: Names of its layers that went back to floating point, in the order of the run.

        Raises:
            DataError: The samples do not fit the model.
            UsageError: The state cannot be written.
        """
        name = "\n".join(kept)
        if name not in self._counted:
            predicted = self._predictions(quantized)
            labels = self._samples.labels
            found = pair(labels, predicted, self._fp32)
            assert found is not None
            self._counted[name] = _right(labels, predicted), found.lost, found.gained
            self._write()
        right, lost, gained = self._counted[name]
        return right, Paired(lost, gained, paired_p_value(lost, gained))

    def _predictions(self, quantized: Quantized) -> list[int]:
        total = self._runs * len(self._samples)

        def counted(images: int, seconds: float) -> None:
            if self._announce is not None:
                runs = self._runs - len(self._counted) - bool(self._fp32)
                rate = seconds / images
                self._announce(
                    Cost(TASK, runs, len(self._samples), rate * len(self._samples) * runs)
                )
                self._announce = None
            if self._progress is not None:
                self._progress(TASK, self._done + images, total)

        predicted = self._samples.predictions(quantized.model, counted)
        self._done += len(self._samples)
        return predicted

    def _write(self) -> None:
        counted = {kept: list(each) for kept, each in self._counted.items()}
        state = {"labels": self._samples.labels, "fp32": self._fp32, "counted": counted}
        self._saved.write(TASK, state)


def _right(labels: Sequence[int], predicted: Sequence[int]) -> int:
    return sum(one == other for one, other in zip(labels, predicted, strict=True))
