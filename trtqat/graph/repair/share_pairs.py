"""Repair: pairs of equal scale on one tensor become one pair that all consumers read.

TensorRT quantizes a tensor once for each QuantizeLinear that it cannot merge, and a
fork of different nodes keeps the producer from fusing with any of them.

1. Of all QuantizeLinear nodes on a tensor with equal scale, zero-point and axis the first
   stays.
2. So does the first of equal DequantizeLinear nodes on one QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Hashable

import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, consumers_of, parameters_of
from trtqat.graph.repair import Repair, Repairs


def share_pairs(model: ir.Model) -> Repairs:
    """Merges equal pairs, in place."""
    graph = model.graph
    made: list[Repair] = []
    values = [*graph.inputs, *graph.initializers.values()]
    values.extend(output for node in graph for output in node.outputs)
    for value in values:
        merged = _merge_equal(value, QUANTIZE, graph)
        halves = 0
        for quantize in consumers_of(value):
            if quantize.op_type != QUANTIZE or quantize.inputs[0] is not value:
                continue
            halves += _merge_equal(quantize.outputs[0], DEQUANTIZE, graph)
        if merged or halves:
            made.append(
                Repair(
                    "share-pairs",
                    str(value.name),
                    f"{max(merged, halves) + 1} Q/DQ pairs of equal scale on '{value.name}' "
                    "became one.",
                )
            )
    if made:
        remove_unused(graph)
        graph.sort()
    return Repairs(tuple(made))


def _merge_equal(value: ir.Value, op_type: str, graph: ir.Graph) -> int:
    """Lets the consumers of equal nodes read the first one; returns how many were merged."""
    kept: dict[Hashable, ir.Node] = {}
    merged = 0
    for node in consumers_of(value):
        # What a branch of an If makes cannot be read outside of it.
        if node.op_type != op_type or node.inputs[0] is not value or node.graph is not graph:
            continue
        key = parameters_of(node).key
        first = None if key is None else kept.get(key)
        if first is None or node.outputs[0].is_graph_output():
            if key is not None:
                kept.setdefault(key, node)
            continue
        node.outputs[0].replace_all_uses_with(first.outputs[0])
        merged += 1
    return merged
