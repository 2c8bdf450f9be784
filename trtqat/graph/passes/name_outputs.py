"""Pass: a graph's outputs get the names that the PyTorch model gives them.

Exporters write the names that they are asked for without looking whether the graph has them:
an output named after a parameter would be that parameter. So they are asked for names that
nothing else has, and this pass gives the wanted ones:

1. What stands in the graph under the name of an output, and is not that output, is renamed.
2. The names of inputs are the caller's, and stay: no output may be named like one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx_ir as ir

from trtqat.graph.passes.protocol import Changed


def name_outputs(model: ir.Model, names: Sequence[str]) -> Changed:
    """Renames the outputs, in place; counts those that have another name now.

    Args:
        model: Its outputs are different values, none of them an input.
        names: One for each output, all different and none that of an input.
    """
    graph = model.graph
    outputs = list(graph.outputs)
    renamed = sum(value.name != name for value, name in zip(outputs, names, strict=True))
    values = list(_values(graph))
    taken = {str(value.name) for value in values} | set(names)
    wanted = set(names)
    for value in values:
        if value.name not in wanted:
            continue
        number = 1
        while (name := f"{value.name}_inner_{number}") in taken:
            number += 1
        taken.add(name)
        value.name = name
    for value, name in zip(outputs, names, strict=True):
        value.name = name
    return Changed(renamed)


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """Every initializer and every node's output, those of subgraphs included."""
    yield from list(graph.initializers.values())
    for node in ir.traversal.RecursiveGraphIterator(graph):
        yield from node.outputs
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from list(attribute.as_graph().initializers.values())
