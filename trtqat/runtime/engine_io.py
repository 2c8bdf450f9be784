"""What a loaded engine takes and returns: names, shapes, types and batch sizes."""

from __future__ import annotations

from typing import Any

from trtqat.errors import PlanError
from trtqat.host.tensorrt_library import numpy_type
from trtqat.plan.manifest import ProfileShapes
from trtqat.tensors import DYNAMIC, TensorSpec


def read_tensors(trt: Any, engine: Any) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:  # noqa: ANN401
    """Inputs and outputs of an ``ICudaEngine`` in its own order.

    Args:
        trt: The imported module.
        engine: The engine.

    Raises:
        PlanError: NumPy lacks the type of one.
    """
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        dtype = numpy_type(trt, engine.get_tensor_dtype(name))
        if dtype is None:
            raise PlanError(
                f"Tensor '{name}' has a type that NumPy lacks ({engine.get_tensor_dtype(name)}).",
                "Build the engine with FP32 or FP16 inputs and outputs.",
            )
        spec = TensorSpec(name, tuple(engine.get_tensor_shape(name)), dtype)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        (inputs if is_input else outputs).append(spec)
    return tuple(inputs), tuple(outputs)


def read_profiles(
    engine: Any,  # noqa: ANN401
    inputs: tuple[TensorSpec, ...],
) -> tuple[dict[str, ProfileShapes], ...]:
    """Shapes by input of every optimization profile of an ``ICudaEngine``, at least of one."""
    return tuple(
        {
            spec.name: ProfileShapes(
                *(tuple(shape) for shape in engine.get_tensor_profile_shape(spec.name, index))
            )
            for spec in inputs
        }
        for index in range(max(1, engine.num_optimization_profiles))
    )


def tuned_shape(shape: tuple[int, ...], optimum: tuple[int, ...]) -> tuple[int, ...]:
    """A shape with the optimum in place of its open dimensions, but for the first."""
    return tuple(
        optimum[axis] if axis and dim == DYNAMIC and optimum else dim
        for axis, dim in enumerate(shape)
    )
