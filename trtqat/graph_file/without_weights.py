"""A graph as onnx's inference of shapes needs it: without its large constants."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import onnx
import onnx_ir as ir

# The inference reads small constants only (axes, shapes).
_LARGE_BYTES = 1000


def proto_without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model, with its initializers as inputs and the large ones as nothing else.

    Args:
        model: Initializers that have no shape or type get those of their values.
    """
    with _without_large_constants(model.graph):
        proto: onnx.ModelProto = ir.to_proto(model)
    return proto


@contextmanager
def _without_large_constants(graph: ir.Graph) -> Iterator[None]:
    """All initializers are inputs as well, and those that are large nothing else."""
    inputs, initializers = list(graph.inputs), list(graph.initializers.values())
    known = set(inputs)
    large = []
    for value in initializers:
        constant = value.const_value
        if constant is not None:
            value.shape = value.shape or ir.Shape(constant.shape.numpy())
            value.dtype = value.dtype or constant.dtype
        if constant is None or constant.nbytes > _LARGE_BYTES:
            large.append(value)
    graph.inputs.extend(value for value in initializers if value not in known)
    for value in large:
        graph.initializers.pop(str(value.name))
    try:
        yield
    finally:
        for value in large:
            graph.initializers.add(value)
        graph.inputs.clear()
        graph.inputs.extend(inputs)
