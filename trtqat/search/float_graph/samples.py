"""The samples that ranges of a graph are chosen on, and others that it is measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trtqat.data.batches import Dataset
from trtqat.errors import DataError
from trtqat.search.samples import MOST_HELD_OUT, SpreadSamples, spread
from trtqat.tensors import Array

# Where all samples would be taken, one of so many is not.
_ONE_OF = 8


@dataclass(frozen=True)
class GraphSamples:
    """Samples of a data set, by their numbers.

    Attributes:
        dataset: Where they are from.
        names: Of the graph's inputs.
        indices: Which, ascending.
    """

    dataset: Dataset
    names: tuple[str, ...]
    indices: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.indices)

    def batches(self, size: int) -> Iterator[dict[str, Array]]:
        """Batches by input, of so many samples; the last one may have fewer."""
        for start in range(0, len(self.indices), size):
            yield self.batch(self.indices[start : start + size])

    def batch(self, indices: Sequence[int]) -> dict[str, Array]:
        """Some samples of the data set as one batch.

        Raises:
            DataError: They have several sizes, as images may where the graph leaves sizes open.
        """
        samples = [self.dataset.batch(index, index + 1).inputs for index in indices]
        for name in self.names:
            first = samples[0][name].shape
            for index, each in zip(indices, samples, strict=True):
                if each[name].shape != first:
                    raise DataError(
                        f"'{self.dataset.name}' gives input '{name}' {first[1:]} at sample "
                        f"{indices[0]} and {each[name].shape[1:]} at sample {index}; a batch has "
                        "one size.",
                        "Bring all to one size, as by images:DIR,resize=480x640.",
                    )
        return {name: np.concatenate([each[name] for each in samples]) for name in self.names}


def choose_samples(
    dataset: Dataset, names: Sequence[str], count: int, seed: int, fixed_batch: int | None
) -> tuple[GraphSamples, GraphSamples]:
    """Chooses samples as for a PyTorch model, and others that no range is chosen on.

    Where the data has no others, one of eight is held out; a single sample is both.

    Args:
        dataset: With at least one sample.
        names: Of the graph's inputs.
        count: Samples to choose ranges on, at most.
        seed: Same seed, same samples.
        fixed_batch: The batch size that the graph fixes: both are multiples of it.

    Raises:
        DataError: There are fewer samples than the graph takes at once.
    """
    unit = fixed_batch or 1
    if len(dataset) < unit:
        raise DataError(
            f"'{dataset.name}' has {len(dataset)} samples, but the graph takes {unit} at once.",
            f"Give {unit} samples or more, or a graph whose batch is open.",
        )
    chosen = SpreadSamples(dataset, names, max(count, unit), unit, seed).indices
    others = sorted(set(range(len(dataset))) - set(chosen))
    if len(others) >= unit:
        held = spread(others, max(MOST_HELD_OUT, unit))
    else:
        held = chosen[_ONE_OF // 2 :: _ONE_OF][:MOST_HELD_OUT] or chosen[-1:]
        held = held if len(held) >= unit else chosen[-unit:]
        chosen = [each for each in chosen if each not in set(held)]
    chosen, held = (each[: len(each) // unit * unit] for each in (chosen, held))
    return tuple(  # type: ignore[return-value]
        GraphSamples(dataset, tuple(names), tuple(each)) for each in (chosen or held, held)
    )
