"""Giving an execution context its profile and shapes, and asking it for those of its outputs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from trtqat.errors import InferenceError
from trtqat.host.tensorrt_log import Reasons
from trtqat.runtime.streams import Streams
from trtqat.tensors import DYNAMIC, TensorSpec


def set_shapes(
    context: Any,  # noqa: ANN401
    inputs: Iterable[TensorSpec],
    *,
    profile: int | None,
    streams: Streams,
    name: str,
    reasons: Reasons,
) -> None:
    """Sets the profile, and then the shapes.

    Args:
        context: An ``IExecutionContext``.
        inputs: Inputs with their final shapes.
        profile: The index of the shape profile; None for the only one, which a context has.
        streams: On whose compute stream it will run.
        name: Of the engine, for messages.
        reasons: Why TensorRT refuses, since the context was made.

    Raises:
        InferenceError: TensorRT refuses the profile or a shape.
    """
    if profile is not None:
        with streams.lock:
            is_set = context.set_optimization_profile_async(profile, streams.address)
        if not is_set:
            raise InferenceError(
                f"TensorRT refuses profile {profile} of '{name}': {reasons.reason()}.",
                "Close other sessions of that profile, or build the engine with trtqat build, "
                "whose profiles several sessions share.",
            )
        # It may copy on the stream, and what follows is not all on that stream.
        streams.settle()
    for spec in inputs:
        if not context.set_input_shape(spec.name, spec.shape):
            raise InferenceError(
                f"TensorRT refuses the shape {spec.shape} for input '{spec.name}' of "
                f"'{name}': {reasons.reason()}.",
                "Build the engine for that shape.",
            )


def resolve_outputs(
    context: Any,  # noqa: ANN401
    outputs: Iterable[TensorSpec],
    name: str,
) -> list[TensorSpec]:
    """Outputs with the shapes that follow from the inputs'.

    Args:
        context: An ``IExecutionContext`` whose shapes are set.
        outputs: As the engine declares them.
        name: Of the engine, for messages.

    Raises:
        InferenceError: A size depends on the data.
    """
    resolved = []
    for spec in outputs:
        shape = tuple(context.get_tensor_shape(spec.name))
        if DYNAMIC in shape:
            raise InferenceError(
                f"The size of output '{spec.name}' of '{name}' depends on the data {shape}.",
                "Export the model without that operation, and do it after the engine.",
            )
        resolved.append(TensorSpec(spec.name, shape, spec.dtype))
    return resolved
