"""Repair: a pair that quantizes what already lies on its grid goes.

1. The tensor comes from a DequantizeLinear of equal scale through nodes that only move or
   select values: then code times scale, divided by scale, rounds to the same code.
2. The same through Concat, when all its operands come from such a DequantizeLinear.
3. Only per tensor, and only scales whose multiples are normal FP32 numbers.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.pairs import (
    DEQUANTIZE,
    Parameters,
    parameters_of,
    quantized_tensor,
    quantizer_of,
)
from trtqat.graph.repair import COMMUTES, Repair

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def remove_pairs(model: ir.Model) -> tuple[Repair, ...]:
    """Removes pairs that change nothing, in place."""
    graph = model.graph
    made: list[Repair] = []
    for node in list(graph):
        if not changes_nothing(node):
            continue
        source = quantized_tensor(node)
        output = node.outputs[0]
        if source is None or output.is_graph_output():
            continue
        output.replace_all_uses_with(source)
        made.append(
            Repair(
                "remove-pairs",
                str(node.name),
                f"The Q/DQ pair on '{source.name}' went: the tensor is already quantized with "
                "the same scale.",
            )
        )
    if made:
        remove_unused(graph)
    return tuple(made)


def changes_nothing(dequantize: ir.Node) -> bool:
    """Whether a DequantizeLinear belongs to a pair whose input already lies on its grid."""
    if dequantize.op_type != DEQUANTIZE:
        return False
    quantize = quantizer_of(dequantize)
    if quantize is None or quantize.inputs[0] is None:
        return False
    parameters = parameters_of(quantize)
    if parameters.scale is None or parameters.axis is not None:
        return False
    if not parameters.scale >= _SMALLEST_SCALE or not parameters.equals(parameters_of(dequantize)):
        return False
    return _lies_on_grid(quantize.inputs[0], parameters)


def _lies_on_grid(value: ir.Value, parameters: Parameters) -> bool:
    node = value.producer()
    if node is None:
        return False
    if node.op_type == DEQUANTIZE:
        return parameters_of(node).equals(parameters)
    if node.op_type == "Concat":
        return all(v is not None and _lies_on_grid(v, parameters) for v in node.inputs)
    source = node.inputs[0] if node.op_type in COMMUTES else None
    return source is not None and _lies_on_grid(source, parameters)
