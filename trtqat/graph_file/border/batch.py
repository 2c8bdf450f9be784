"""Declared dimensions that are none: -1 means open, and so does a batch of 0."""

from __future__ import annotations

import onnx

BATCH = "batch"


def open_dimensions(graph: onnx.GraphProto) -> bool:
    """Makes dimensions below 0, and a first dimension of 0 in an input, open, in place.

    What other tools mean by them; ONNX Runtime and TensorRT take 0 for a batch without samples.
    The first dimensions of the inputs, and of outputs that have the same, are the batch.

    Returns:
        Whether there were any.
    """
    stored = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in stored]
    is_open = [value for value in inputs if _is_none(_first(value))]
    below = [v for v in (*inputs, *graph.output, *graph.value_info) if _is_below(v)]
    if not is_open and not below:
        return False
    taken = {dim.dim_param for value in (*inputs, *graph.output) for dim in _dims(value)}
    name = BATCH
    while name in taken:
        name += "_"
    for value in (*inputs, *graph.output):
        first = _first(value)
        if is_open and first is not None and _is_none(first):
            first.dim_param = name
        for dim in _dims(value):
            if dim.dim_value < 0:
                dim.Clear()
    # What follows from the inputs is inferred again, with their open dimensions.
    for value in graph.value_info:
        if value.type.WhichOneof("value") == "tensor_type":
            value.type.tensor_type.ClearField("shape")
    return True


def _dims(value: onnx.ValueInfoProto) -> list[onnx.TensorShapeProto.Dimension]:
    if value.type.WhichOneof("value") != "tensor_type":
        return []
    return list(value.type.tensor_type.shape.dim)


def _first(value: onnx.ValueInfoProto) -> onnx.TensorShapeProto.Dimension | None:
    return next(iter(_dims(value)), None)


def _is_none(dim: onnx.TensorShapeProto.Dimension | None) -> bool:
    return dim is not None and dim.HasField("dim_value") and dim.dim_value < 1


def _is_below(value: onnx.ValueInfoProto) -> bool:
    return any(dim.dim_value < 0 for dim in _dims(value))
