"""Small questions that several passes ask of a graph."""

from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from trtqat.tensors import Array


def constant_array(value: ir.Value) -> Array | None:
    """The value of an initializer or Constant node, or None if it is computed."""
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def name_of(node: ir.Node) -> str:
    """What to call a node: its name, or that of the tensor it makes, as not all are named."""
    return str(node.name or node.outputs[0].name)


def is_weight(value: ir.Value) -> bool:
    """Whether a value depends on initializers only, not on an input of the graph."""
    pending, seen = [value], set()
    while pending:
        current = pending.pop()
        if current in seen or current.is_initializer():
            continue
        seen.add(current)
        producer = current.producer()
        if producer is None:
            return False
        pending.extend(tensor for tensor in producer.inputs if tensor is not None)
    return True


def sole_initializer(value: ir.Value) -> ir.Value | None:
    """The value if it is an initializer with exactly one consumer, so that it may be changed."""
    return value if value.is_initializer() and len(value.uses()) == 1 else None


def remove_unused(graph: ir.Graph) -> None:
    """Removes the nodes and initializers that nothing reads."""
    for node in reversed(list(graph)):
        if all(not out.uses() and not out.is_graph_output() for out in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def add_initializer(graph: ir.Graph, name: str, array: Array) -> ir.Value:
    """An initializer of that value: an equal one of that name, or a new one.

    Where the name stands for another value, the new one's is numbered.
    """
    existing = graph.initializers.get(name)
    known = None if existing is None else constant_array(existing)
    is_equal = known is not None and known.dtype == array.dtype and np.array_equal(known, array)
    if existing is not None and is_equal:
        return existing
    wanted, number = name, 0
    while name in graph.initializers:
        number += 1
        name = f"{wanted}_{number}"
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def infer_shapes(model: ir.Model) -> None:
    """Gives values the shapes that their exporter left out, in place."""
    # It logs a traceback where it finds none; who needs a shape looks whether there is one.
    logger = logging.getLogger(common.ShapeInferencePass.__module__)
    disabled, logger.disabled = logger.disabled, True
    try:
        common.ShapeInferencePass()(model)
    finally:
        logger.disabled = disabled
