"""What a graph gets of a query that was made for another model, as a baseline gets its subject's.

By name, each array becomes what the graph takes:

1. Floats have the width of the graph's floats, and integers that of its integers.
2. Bytes of images become the floats that they mean, where the graph normalises none itself; where
   it does, they get its layout and its order of channels.
3. Codes are no matter of this file: a data set gives floats for them, which each session quantizes.

Nothing else is converted. Integers are no floats: nobody knows how they were to be normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import numpy as np

from trtqat.errors import DataError, GraphError
from trtqat.pixels import PixelSpec
from trtqat.tensors import DYNAMIC, Array, Arrays, TensorSpec, as_dtype

Feeder = Callable[[Array], Array]

_REMEDY = "Give the float graph that it was quantized from, or one with the same inputs."


def make_feeders(
    own: Iterable[TensorSpec], given: Iterable[TensorSpec], *, graph: str, other: str
) -> dict[str, Feeder]:
    """What makes of each input of another model that of a graph.

    Args:
        own: The graph's inputs.
        given: The other model's.
        graph: What the graph is called, for messages.
        other: What the other model is called.

    Raises:
        GraphError: One of the two lacks an input of the other one, or two of one name have other
            shapes or kinds of numbers.
    """
    wanted = {spec.name: spec for spec in own}
    found = {spec.name: spec for spec in given}
    for one, lacking, has, lacks in ((wanted, found, graph, other), (found, wanted, other, graph)):
        name = next((each for each in one if each not in lacking), None)
        if name is not None:
            names = ", ".join(f"'{each}'" for each in lacking) or "none"
            raise GraphError(
                f"'{has}' has an input '{name}', and '{lacks}' has none of this name ({names}).",
                _REMEDY,
            )
    return {name: _feeder(spec, found[name], graph, other) for name, spec in wanted.items()}


def feed(inputs: Arrays, feeders: Mapping[str, Feeder]) -> dict[str, Array]:
    """The arrays that a graph takes.

    Args:
        inputs: By name, as the other model takes them.
        feeders: As ``make_feeders`` made them.

    Raises:
        DataError: A number does not fit the graph's narrower type.
    """
    return {name: feeder(inputs[name]) for name, feeder in feeders.items()}


def _feeder(own: TensorSpec, given: TensorSpec, graph: str, other: str) -> Feeder:
    if isinstance(given, PixelSpec) and not isinstance(own, PixelSpec) and _kind(own) == "float":
        _check_shapes(own, given.floats, graph, other)
        pixels, narrow = given.pixels, partial(_as_type, own)
        return lambda array: narrow(pixels.normalise(array))
    if isinstance(given, PixelSpec) and isinstance(own, PixelSpec):
        _check_shapes(own.floats, given.floats, graph, other)
        return partial(_as_pixels, own, given)
    _check_shapes(own, given, graph, other)
    if _kind(own) != _kind(given):
        raise GraphError(
            f"'{graph}' takes {own.dtype} for the input '{own.name}', and '{other}' {given.dtype}.",
            _REMEDY,
        )
    return partial(_as_type, own)


def _check_shapes(own: TensorSpec, given: TensorSpec, graph: str, other: str) -> None:
    """Refuses samples of another shape; the batch is checked by who chooses its size."""
    same_rank = len(own.shape) == len(given.shape)
    if not same_rank or any(
        DYNAMIC not in (mine, theirs) and mine != theirs
        for mine, theirs in zip(own.shape[1:], given.shape[1:], strict=True)
    ):
        raise GraphError(f"'{graph}' takes {own}, and '{other}' {given}.", _REMEDY)


def _kind(spec: TensorSpec) -> str:
    kind = np.dtype(spec.dtype).kind
    return {"f": "float", "i": "integer", "u": "integer"}.get(kind, kind)


def _as_type(spec: TensorSpec, array: Array) -> Array:
    """An array in the type of the input.

    Raises:
        DataError: A number does not fit.
    """
    try:
        return as_dtype(array, np.dtype(spec.dtype))
    except OverflowError as error:
        raise DataError(
            f"The data holds {error} for the input '{spec.name}', which does not fit the "
            f"{spec.dtype} of the baseline.",
            "Give a baseline whose input is as wide as the model's.",
        ) from None


def _as_pixels(own: PixelSpec, given: PixelSpec, array: Array) -> Array:
    """Bytes of images in the layout and the order of channels of the graph."""
    planes = array.transpose(0, 3, 1, 2) if given.pixels.layout == "nhwc" else array
    return own.of_rgb(planes[:, ::-1] if given.pixels.bgr else planes)
