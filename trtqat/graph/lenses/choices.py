"""What a graph chooses by size: nearly equal scores may change places in a right engine, too."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.basics import nodes_inside

# Operators by the input whose largest or smallest values they choose.
CHOOSING = {"TopK": 0, "ArgMax": 0, "ArgMin": 0, "NonMaxSuppression": 1}


def outputs_of_choices(model: ir.Model) -> frozenset[str]:
    """Names of the graph's outputs that something stands before which chooses.

    Args:
        model: Its nodes are in their order, and call no functions.
    """
    chosen: set[ir.Value | None] = set()
    for node in model.graph:
        inside = list(nodes_inside(node))
        read = {*node.inputs, *(value for each in inside for value in each.inputs)} - {None}
        if any(each.op_type in CHOOSING for each in (node, *inside)) or read & chosen:
            chosen.update(node.outputs)
    return frozenset(str(value.name) for value in model.graph.outputs if value in chosen)
