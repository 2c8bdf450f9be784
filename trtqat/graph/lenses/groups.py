"""Grouped convolutions: how many channels each group takes and makes."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.basics import integer_of
from trtqat.graph.lenses.mac_formulas import shape_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, producer_of


def groups_of(node: ir.Node) -> tuple[int, int, int] | None:
    """Of a Conv the number of groups, and input and output channels of each.

    Args:
        node: Any node; its weight may be dequantized.

    Returns:
        None for another operator, or where the weight's shape is not known.
    """
    if node.op_type != "Conv":
        return None
    weight = node.inputs[1]
    shape = shape_of(weight)
    dequantize = None if weight is None else producer_of(weight, DEQUANTIZE)
    if not shape and dequantize is not None:
        shape = shape_of(dequantize.inputs[0])
    if len(shape) < 2 or shape[0] is None or shape[1] is None:
        return None
    groups = integer_of(node, "group", 1)
    return groups, shape[1], shape[0] // groups
