"""Pass: nodes that hand on what they get go, where no name is lost by it.

1. ``y = Identity(x)`` goes, and what reads y reads x. So does a Cast to the type that x has.
2. Where y is an output of the graph, x gets its name.
3. It stays where x cannot: it is an input or an initializer, an output with a name of its own,
   or a tensor of an outer graph. So one tensor that a model returns twice keeps both names.

``onnx_ir``'s own pass looks at neither of the last two: it gives both outputs the same name, and a
branch of an If that hands on an outer tensor an output that no node of it makes. It looks through
all outputs of the graph for each node that goes, too; a model may return thousands of tensors.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.passes.protocol import Changed


def remove_identities(model: ir.Model) -> Changed:
    """Removes Identity nodes and idle Casts, in place, also in subgraphs; counts them."""
    outputs = _Outputs()
    removed: dict[ir.Graph | ir.Function, list[ir.Node]] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if not _hands_on(node):
            continue
        source, result = node.inputs[0], node.outputs[0]
        if source is None or (result.is_graph_output() and not _may_be_renamed(source, node)):
            continue
        if source.shape is None:
            source.shape = result.shape
        if source.type is None:
            source.type = result.type
        if result.is_graph_output():
            outputs.replace(result, source)
            source.name = result.name
        result.replace_all_uses_with(source)
        node.replace_input_with(0, None)
        assert node.graph is not None
        removed.setdefault(node.graph, []).append(node)
    for graph, nodes in removed.items():
        graph.remove(nodes, safe=True)
    return Changed(sum(map(len, removed.values())))


def _hands_on(node: ir.Node) -> bool:
    """Whether a node computes nothing, as far as the types of tensors are known."""
    if node.domain or len(node.inputs) != 1:
        return False
    if node.op_type != "Cast":
        return node.op_type == "Identity"
    # ``x.to(y.dtype)`` becomes one; a sum before it would not be fused with the pair behind.
    source = node.inputs[0]
    wanted = node.attributes.get_int("to", None)
    return source is not None and source.dtype is not None and source.dtype.value == wanted


class _Outputs:
    """The outputs of the graphs of a model, found without a look at all of them."""

    def __init__(self) -> None:
        self._positions: dict[ir.Graph | ir.Function, dict[ir.Value, list[int]]] = {}

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Lets the graph that a tensor is an output of return another one in its place."""
        graph = old.graph
        assert graph is not None
        if graph not in self._positions:
            positions: dict[ir.Value, list[int]] = {}
            for position, value in enumerate(graph.outputs):
                positions.setdefault(value, []).append(position)
            self._positions[graph] = positions
        replaced = self._positions[graph].pop(old)
        for position in replaced:
            graph.outputs[position] = new
        self._positions[graph].setdefault(new, []).extend(replaced)


def _may_be_renamed(value: ir.Value, node: ir.Node) -> bool:
    if value.is_graph_input() or value.is_initializer() or value.is_graph_output():
        return False
    producer = value.producer()
    return producer is not None and producer.graph is node.graph
