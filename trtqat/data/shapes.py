"""The shapes of a model's inputs, as far as the data tells them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trtqat.data.cifar10 import IMAGE_SHAPE
from trtqat.data.dataset import no_kind
from trtqat.data.factory import as_array, made_samples, pair_at
from trtqat.data.idx import read_split
from trtqat.data.images.coco import shape_of_coco
from trtqat.data.images.dataset import shape_of_images
from trtqat.data.npz import IMAGES
from trtqat.data.npz_file import read_arrays
from trtqat.errors import DataError
from trtqat.tensors import DYNAMIC, Array, TensorSpec
from trtqat.user_code import user_code


def specs_from_data(spec: str, parameters: Mapping[str, bool]) -> list[TensorSpec]:
    """The inputs of a model, by what its data holds for them.

    Floating-point arrays are for float32 inputs, bytes for uint8, other integers for int64.

    Args:
        spec: As ``open_dataset`` reads it.
        parameters: Names of the parameters of forward in their order, and whether each must be
            given.

    Returns:
        Specifications with an open batch, in the order of forward; empty if the data does not
        tell, as random data.

    Raises:
        UsageError: The kind of data is unknown.
        DataError: The data is missing or damaged, or has nothing for a parameter that must be
            given.
    """
    kind, _, rest = spec.partition(":")
    if kind == "images" and rest:
        return _of_one(shape_of_images(rest), parameters)
    if kind == "coco" and rest:
        return _of_one(shape_of_coco(rest), parameters)
    if kind == "cifar10" and rest:
        return _of_one(IMAGE_SHAPE, parameters)
    if kind == "idx" and rest:
        images, _ = read_split(rest, "test")
        return _of_one(images.shape[1:], parameters)
    if kind == "npz" and rest:
        arrays, available = read_arrays(Path(rest), {*parameters, IMAGES})
        samples: Any = {name: array[:1] for name, array in arrays.items() if array.ndim}
        return _of_arrays(f"'{rest}'", samples, available, parameters)
    if spec.rpartition(":")[0].endswith(".py"):
        samples = _first_sample(spec)
        available = tuple(samples) if isinstance(samples, Mapping) else ()
        return _of_arrays(spec, samples, available, parameters)
    if kind != "random":
        raise no_kind(spec)
    return []


def _of_one(shape: tuple[int, ...], parameters: Mapping[str, bool]) -> list[TensorSpec]:
    return [TensorSpec(name, (DYNAMIC, *shape)) for name in list(parameters)[:1]]


def _of_arrays(
    source: str,
    samples: Mapping[str, Array] | Array,
    available: tuple[str, ...],
    parameters: Mapping[str, bool],
) -> list[TensorSpec]:
    """Specifications by arrays ``(1, …)``, or by the one array for the only input."""
    required = [name for name, is_required in parameters.items() if is_required]
    alone = required or list(parameters)[:1]
    if not isinstance(samples, Mapping):
        samples = {alone[0]: samples} if len(alone) == 1 else {}
    elif len(alone) == 1 and alone[0] not in samples and IMAGES in samples:
        samples = {**samples, alone[0]: samples[IMAGES]}
    lacking = [name for name in alone if name not in samples]
    if lacking:
        if lacking[0] in available:
            raise DataError(
                f"Array '{lacking[0]}' of {source} is a single number.", "Save an array of samples."
            )
        held = ", ".join(f"'{name}'" for name in available) or "one array without a name"
        raise DataError(
            f"{source} has no array for input '{lacking[0]}'; it holds {held}.",
            f"Name its arrays like the parameters of forward: {', '.join(alone)}.",
        )
    return [
        TensorSpec(name, (DYNAMIC, *samples[name].shape[1:]), _dtype(samples[name]))
        for name in parameters
        if name in samples
    ]


def _dtype(array: Array) -> str:
    if array.dtype == np.uint8:
        return "uint8"
    return {"i": "int64", "u": "int64", "b": "bool"}.get(array.dtype.kind, "float32")


def _first_sample(pointer: str) -> dict[str, Array] | Array:
    """The first sample of what a function of the user's makes, as arrays ``(1, …)``."""
    samples, _ = made_samples(pointer)
    with user_code(pointer, DataError, "Return samples (inputs, label), or what has batch()."):
        is_batch = hasattr(samples, "batch")
        inputs = samples.batch(0, 1).inputs if is_batch else pair_at(pointer, samples, 0)[0]

        def array(value: object) -> Array:
            return as_array(value) if is_batch else as_array(value)[None]

        if isinstance(inputs, Mapping):
            return {str(name): array(each) for name, each in inputs.items()}
        return array(inputs)
