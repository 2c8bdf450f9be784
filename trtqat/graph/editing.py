"""Small changes that several passes make to a graph: what is unused goes, a constant comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array
from trtqat.tensors import Array, TensorSpec

# Under this key a graph keeps, by name, the last number that was given to an initializer of it.
_NUMBERS = "trtqat.numbers"
# The first opset in which Squeeze and Unsqueeze read their axes.
_AXES_ARE_INPUTS = 13


def remove_unused(graph: ir.Graph) -> None:
    """Removes the nodes and initializers that nothing reads.

    ``onnx_ir``'s own pass removes them one by one, and looks through the outputs of the graph for
    each; it rewrites nodes that stay as well (optional outputs, ``training_mode``).
    """
    unused: set[ir.Node] = set()
    for node in reversed(graph):
        outputs = node.outputs
        if not any(value.is_graph_output() for value in outputs) and all(
            use.node in unused for value in outputs for use in value.uses()
        ):
            unused.add(node)
    graph.remove(unused, safe=True)
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
    name = _free_name(graph, name)
    value = ir.Value(
        name=name,
        shape=ir.Shape(array.shape),
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value


def written_axes(
    graph: ir.Graph, name: str, axes: Sequence[int]
) -> tuple[list[ir.Value], dict[str, Any]]:
    """The axes of a Squeeze or an Unsqueeze, as the graph's opset has them.

    Args:
        graph: The graph.
        name: Of the initializer, if there is to be one.
        axes: Which.

    Returns:
        Inputs behind the tensor, and attributes.
    """
    if graph.opset_imports[""] < _AXES_ARE_INPUTS:
        return [], {"axes": axes}
    return [add_initializer(graph, name, np.array(axes, np.int64))], {}


def _free_name(graph: ir.Graph, wanted: str) -> str:
    """The name, numbered where another initializer has it."""
    # Counting goes on from the number before; from 1 on each time it would be a square.
    numbers: dict[str, int] = graph.meta.setdefault(_NUMBERS, {})
    name, number = wanted, numbers.get(wanted, 0)
    while name in graph.initializers:
        number += 1
        name = f"{wanted}_{number}"
    numbers[wanted] = number
    return name


def write_ranks(graph: ir.Graph, given: Mapping[str, TensorSpec]) -> None:
    """Gives inputs without a rank the shapes that the user named, with an open batch, in place.

    No builder reads a graph without them.

    Args:
        graph: Any.
        given: What the user named, by input.
    """
    for value in graph.inputs:
        if value.shape is None and (spec := given.get(str(value.name))) is not None:
            value.shape = ir.Shape([None, *spec.shape[1:]])
