"""Repair: a pair that quantizes what already lies on its grid goes.

1. The tensor comes from a DequantizeLinear of equal scale through nodes that only move or
   select values: then code times scale, divided by scale, rounds to the same code.
2. Only per tensor, and only scales whose multiples are normal FP32 numbers.
3. Not behind a Concat, though it would be as exact: TensorRT joins INT8 tensors where a pair
   stands behind the Concat, and the layer that reads it must find one before itself.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.grids import Grids
from trtqat.graph.lenses.pairs import quantized_tensor
from trtqat.graph.repair import Repair, Repairs


def remove_pairs(model: ir.Model) -> Repairs:
    """Removes pairs that change nothing, in place."""
    graph = model.graph
    grids = Grids()
    made: list[Repair] = []
    for node in list(graph):
        if not grids.changes_nothing(node):
            continue
        source = quantized_tensor(node)
        output = node.outputs[0]
        if source is None or output.is_graph_output():
            continue
        output.replace_all_uses_with(source)
        made.append(
            Repair(
                "remove-pairs",
                name_of(node),
                f"The Q/DQ pair on '{source.name}' went: the tensor is already quantized with "
                "the same scale.",
            )
        )
    if made:
        remove_unused(graph)
    return Repairs(tuple(made))
