"""The size at which an engine runs that leaves height and width open: that of the data."""

from __future__ import annotations

from collections.abc import Mapping

from trtqat.data.batches import Dataset
from trtqat.runtime.protocol import Model
from trtqat.tensors import DYNAMIC


def sizes_for(model: Model, dataset: Dataset) -> dict[str, tuple[int, ...]]:
    """The size of the first sample, for those inputs of an engine that leave theirs open.

    Args:
        model: The engine; empty for any other model, which takes every size as it comes.
        dataset: Data that fits it.

    Returns:
        Shape of one sample by input.

    Raises:
        DataError: The first sample cannot be read.
    """
    opened = [spec.name for spec in model.inputs if DYNAMIC in spec.shape[1:]]
    if model.engine is None or not opened or not len(dataset):
        return {}
    inputs = dataset.batch(0, 1).inputs
    return {name: inputs[name].shape[1:] for name in opened if name in inputs}


def take_sizes(model: Model, sizes: Mapping[str, tuple[int, ...]]) -> None:
    """Lets an engine make its sessions for these sizes; any other model needs no telling.

    Args:
        model: The model.
        sizes: Shape of one sample by input.

    Raises:
        UsageError: The engine was not built for such a size.
    """
    if model.engine is not None and sizes:
        model.engine.choose_sizes(sizes)
