"""Pass: nodes that hand on what they get go, where no name is lost by it.

1. ``y = Identity(x)`` goes, and what reads y reads x.
2. Where y is an output of the graph, x gets its name.
3. It stays where x cannot: it is an input or an initializer, an output with a name of its own,
   or a tensor of an outer graph. So one tensor that a model returns twice keeps both names.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.passes.protocol import Changed


def remove_identities(model: ir.Model) -> Changed:
    """Removes Identity nodes, in place, those of subgraphs included; counts them."""
    removed = 0
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        if node.op_type != "Identity" or node.domain or len(node.inputs) != 1:
            continue
        source, result = node.inputs[0], node.outputs[0]
        if source is None or (result.is_graph_output() and not _may_be_renamed(source, node)):
            continue
        if source.shape is None:
            source.shape = result.shape
        if source.type is None:
            source.type = result.type
        is_output, name = result.is_graph_output(), result.name
        ir.convenience.replace_all_uses_with(result, source, replace_graph_outputs=True)
        assert node.graph is not None
        node.graph.remove(node, safe=True)
        if is_output:
            source.name = name
        removed += 1
    return Changed(removed)


def _may_be_renamed(value: ir.Value, node: ir.Node) -> bool:
    if value.is_graph_input() or value.is_initializer() or value.is_graph_output():
        return False
    producer = value.producer()
    return producer is not None and producer.graph is node.graph
