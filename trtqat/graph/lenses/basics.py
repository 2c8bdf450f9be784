"""What is asked of any node or tensor: its constant value, its name, who reads it."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from trtqat.tensors import Array


def constant_array(value: ir.Value) -> Array | None:
    """The value of an initializer or Constant node, or None if it is computed."""
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def is_constant(value: ir.Value) -> bool:
    """Whether a tensor is an initializer or comes out of a Constant node."""
    return ir.convenience.get_const_tensor(value) is not None


# Where a node keeps what TensorRT calls it, if it came out of a function.
NAME_IN_ENGINE = "trtqat.name_in_engine"


def name_of(node: ir.Node) -> str:
    """What to call a node: its name, or that of the tensor it makes, as not all are named."""
    return str(node.name or node.outputs[0].name)


def name_in_engine(node: ir.Node) -> str:
    """What TensorRT's parser calls a node, and its engines: they have a name for all of them."""
    return str(node.meta.get(NAME_IN_ENGINE) or node.name or f"node_of_{node.outputs[0].name}")


def integer_of(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is an integer; ONNX's default where it is not written."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def nodes_inside(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes of the graphs that an If, a Loop or a Scan holds, at any depth."""
    for attribute in node.attributes.values():
        if attribute.type is ir.AttributeType.GRAPH:
            yield from attribute.as_graph().all_nodes()
        elif attribute.type is ir.AttributeType.GRAPHS:
            for graph in attribute.as_graphs():
                yield from graph.all_nodes()


class Readers:
    """Who reads each tensor; right as long as nothing else changes the graph.

    ``onnx_ir`` copies the list of a tensor's uses for each question. Where thousands of nodes read
    one tensor (a scale that all pairs share), a pass would cost the square of that.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        # In the order in which onnx_ir has them, as a dict, which counts and changes at no cost.
        self._uses: dict[ir.Value, dict[tuple[ir.Node, int], None]] = {}
        for value in (*graph.inputs, *graph.initializers.values()):
            self._of(value)
        for node in graph:
            for value in node.outputs:
                self._of(value)

    def count(self, value: ir.Value) -> int:
        """How many inputs of nodes a tensor is."""
        return len(self._of(value))

    def first(self, value: ir.Value, count: int) -> list[ir.Node]:
        """The first nodes that read a tensor, each once."""
        seen: dict[ir.Node, None] = {}
        for node, _ in self._of(value):
            seen[node] = None
            if len(seen) == count:
                break
        return list(seen)

    def _of(self, value: ir.Value) -> dict[tuple[ir.Node, int], None]:
        if value not in self._uses:
            self._uses[value] = dict.fromkeys(value.uses())
        return self._uses[value]
