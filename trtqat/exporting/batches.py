"""The batches that a graph is verified with, from data or at random."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np

from trtqat.data.dataset import open_dataset
from trtqat.pixels import Pixels, normalised
from trtqat.tensors import Array, Arrays, TensorSpec, random_arrays

# So many samples of the data are looked at, as many at once as a GPU would not notice.
_SAMPLES = 64
_AT_ONCE = 8


def read_samples(
    spec: str | None, inputs: Sequence[TensorSpec], pixels: Mapping[str, Pixels]
) -> dict[str, Array]:
    """The first samples of a data set.

    Args:
        spec: As ``--data`` names it; None for no data.
        inputs: Of the model.
        pixels: By input that is to take bytes of images: the data holds these, too.

    Returns:
        Arrays of shape ``(N, …)`` by input as the model takes them, N at most 64; none without
        data.

    Raises:
        UsageError: The kind of data is unknown.
        DataError: The data is missing or damaged, or does not fit the inputs.
    """
    if spec is None:
        return {}
    given = [pixels[each.name].of_floats(each) if each.name in pixels else each for each in inputs]
    dataset = open_dataset(spec, given, limit=_SAMPLES)
    count = len(dataset)
    read = [
        normalised(dataset.batch(start, min(start + _AT_ONCE, count)).inputs, pixels)
        for start in range(0, count, _AT_ONCE)
    ]
    return {spec.name: np.concatenate([each[spec.name] for each in read]) for spec in inputs}


def taken(samples: Arrays, start: int, count: int) -> dict[str, Array]:
    """So many samples, from the first on again where they end."""
    return {
        name: np.ascontiguousarray(array[np.arange(start, start + count) % len(array)])
        for name, array in samples.items()
    }


def in_batches(samples: Arrays, size: int | None) -> Iterator[dict[str, Array]]:
    """All samples, in batches of eight or of the size that the graph fixes."""
    count = len(next(iter(samples.values()), ()))
    for start in range(0, count, size or _AT_ONCE):
        yield taken(samples, start, min(count - start, _AT_ONCE) if size is None else size)


def sized(inputs: Sequence[TensorSpec], batch_size: int | None) -> list[TensorSpec]:
    """The inputs with their first dimension replaced; as they are for None."""
    return [spec if batch_size is None else spec.with_batch(batch_size) for spec in inputs]


def random_batch(
    specs: Sequence[TensorSpec],
    seed: int,
    amaxes: Mapping[str, float] | None = None,
    pixels: Mapping[str, Pixels] | None = None,
) -> dict[str, Array]:
    """Random inputs (``tensors.random_arrays``), as large as what quantizes them can write.

    Numbers around 1 say nothing of a model whose input is 0 to 255. Images are random bytes,
    normalised where the model takes floats.

    Args:
        specs: Their names, dtypes and shapes, none of them open.
        seed: Same seed, same numbers.
        amaxes: The largest magnitude by input, for those that a quantizer reads.
        pixels: What bytes mean, by input that will take such.
    """
    arrays = random_arrays(specs, seed)
    for name, amax in (amaxes or {}).items():
        largest = float(np.abs(arrays[name]).max(initial=0.0))
        if np.issubdtype(arrays[name].dtype, np.floating) and largest > 0:
            arrays[name] = (arrays[name] * (amax / largest)).astype(arrays[name].dtype)
    to_come = [
        pixels[spec.name].of_floats(spec) for spec in specs if pixels and spec.name in pixels
    ]
    return {**arrays, **normalised(random_arrays(to_come, seed), pixels or {})}


def notes_on_ranges(inputs: Sequence[TensorSpec], known: Container[str]) -> list[str]:
    """What the user should know where FP16 depends on random numbers.

    Args:
        inputs: Of the model.
        known: Names of those of which it is known how large they are.
    """
    return [
        f"Input '{spec.name}' is not quantized as it is: how large its values are is not known, so "
        "what fits FP16 before the first quantizer was found on random numbers around 1. Give "
        "--data for certainty."
        for spec in inputs
        if spec.name not in known and np.issubdtype(np.dtype(spec.dtype), np.floating)
    ]
