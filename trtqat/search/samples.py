"""Samples to calibrate on: evenly spread over the data, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from trtqat.data.batches import Batch as DataBatch
from trtqat.data.batches import Dataset
from trtqat.data.cifar10 import Cifar10
from trtqat.data.dataset import open_dataset
from trtqat.data.idx import Idx
from trtqat.search.running import Batch
from trtqat.tensors import TensorSpec

# Whose data has a split to train on and one to test on, by the kind of data.
_SPLITS: Mapping[str, type[Cifar10] | type[Idx]] = {"cifar10": Cifar10, "idx": Idx}
# More tell little more of an SQNR, and cost as much as the calibration.
MOST_HELD_OUT = 64
_LEAST_HELD_OUT = 8
# Two models run on them, so one of so many costs a quarter of the calibration.
_ONE_OF = 8


def has_splits(data: str) -> bool:
    """Whether the same words name a training and a test split."""
    return data.partition(":")[0] in _SPLITS


def open_training(data: str, inputs: Sequence[TensorSpec], seed: int) -> Dataset:
    """Opens data to calibrate on: the training split, where the data has splits.

    Args:
        data: As ``open_dataset`` reads it.
        inputs: The model's inputs.
        seed: For random data.

    Raises:
        UsageError: The kind of data is unknown.
        DataError: The data is missing or damaged, or does not fit the inputs.
    """
    kind, _, rest = data.partition(":")
    if kind in _SPLITS and rest:
        return _SPLITS[kind](rest, inputs, split="train")
    return open_dataset(data, inputs, seed=seed)


def spread(indices: Sequence[int], count: int) -> list[int]:
    """So many of some samples, evenly spread; all of them where there are no more."""
    at = np.linspace(0, len(indices) - 1, min(count, len(indices)))
    return [indices[int(each)] for each in at]


class SpreadSamples(Sequence[Batch]):
    """Batches of samples that are spread over a data set; read anew whenever they are asked for.

    Of as many equal stretches of the data as there are samples, each gives one, at a place that
    the seed chooses: so all classes are there, also where the data is sorted by class.

    Attributes:
        indices: Of the samples, ascending.
    """

    def __init__(
        self, dataset: Dataset, inputs: Sequence[str], count: int, batch_size: int, seed: int
    ) -> None:
        """Chooses the samples; none is read.

        Args:
            dataset: Where they are from.
            inputs: Names of the model's inputs, in the order of forward.
            count: How many; all of them where there are no more.
            batch_size: Samples at once.
            seed: Same seed, same samples.
        """
        count = min(count, len(dataset))
        edges = np.arange(count + 1) * len(dataset) // count
        chosen = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
        self.indices: list[int] = chosen.tolist()
        self._dataset = dataset
        self._inputs = tuple(inputs)
        self._size = batch_size

    def some(self, count: int) -> SpreadSamples:
        """So many of these samples, evenly spread as well; all of them where there are no more."""
        fewer = SpreadSamples(self._dataset, self._inputs, 1, self._size, 0)
        fewer.indices = spread(self.indices, count)
        return fewer

    def others(self) -> SpreadSamples:
        """Samples of the data that are none of these, to measure on what was chosen on these.

        An eighth as many, from 8 to 64, in batches that are no larger than those of these. Where
        the data has too few others, they are some of these.
        """
        count = min(max(len(self.indices) // _ONE_OF, _LEAST_HELD_OUT), MOST_HELD_OUT)
        size = min(self._size, len(self.indices), count)
        left = sorted(set(range(len(self._dataset))) - set(self.indices))
        pool = left if len(left) >= size else self.indices
        found = SpreadSamples(self._dataset, self._inputs, 1, size, 0)
        found.indices = spread(pool, min(count, len(pool)) // size * size)
        return found

    def __len__(self) -> int:
        return -(-len(self.indices) // self._size)

    def __getitem__(self, number: int) -> Batch:  # type: ignore[override]
        """A batch, as positional arguments of forward."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        chosen = self.indices[number * self._size : (number + 1) * self._size]
        samples = [self._dataset.batch(index, index + 1) for index in chosen]
        return tuple(self._joined(samples, name) for name in self._inputs)

    def __iter__(self) -> Iterator[Batch]:
        return (self[number] for number in range(len(self)))

    @staticmethod
    def _joined(samples: Sequence[DataBatch], name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([each.inputs[name] for each in samples]))
