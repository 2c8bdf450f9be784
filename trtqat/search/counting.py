"""Right answers of a model, counted exactly on all samples of a data set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.evaluation.counts import Counter
from trtqat.search.running import outputs_of


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
            counted: Called after every batch with the samples so far and the seconds of the batch.

        Raises:
            DataError: The first output is no ``(N, classes)``, or a label is beyond the classes.
        """
        counter = Counter(type(model).__name__)
        labels: list[int] = []
        for start in range(0, len(self), self._size):
            batch = self._dataset.batch(start, min(start + self._size, len(self)))
            if batch.labels is None:
                raise DataError(
                    f"'{self._dataset.name}' has no labels from sample {start} on.",
                    "Give every sample a label.",
                )
            began = time.monotonic()
            tensors = tuple(torch.from_numpy(batch.inputs[name]) for name in self._inputs)
            first = next(iter(outputs_of(model, tensors).values()))
            counter.add(first, batch.labels)
            labels += batch.labels.tolist()
            if counted is not None:
                counted(len(labels), time.monotonic() - began)
        self.labels = labels
        return counter.predicted
