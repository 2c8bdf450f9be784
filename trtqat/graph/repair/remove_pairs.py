"""Repair: a pair that quantizes what already lies on its grid goes.

1. The tensor comes from a DequantizeLinear of equal scale through nodes that only move or
   select values: then code times scale, divided by scale, rounds to the same code.
2. Only per tensor, and only scales whose multiples are normal FP32 numbers.
3. Not behind a Concat, though it would be as exact: TensorRT joins INT8 tensors where a pair
   stands behind the Concat, and the layer that reads it must find one before itself.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import name_of, remove_unused
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    parameters_of,
    quantized_tensor,
    quantizer_of,
)
from trtqat.graph.lenses.paths import follow
from trtqat.graph.repair import Repair, commutes

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


def remove_pairs(model: ir.Model) -> tuple[Repair, ...]:
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
    return tuple(made)


class Grids:
    """On which grids tensors lie: what DequantizeLinear gives, and what only moves that.

    The answers stay right while pairs are removed that change nothing: the grid is the same before
    such a pair and behind it.
    """

    def __init__(self) -> None:
        self._known: dict[ir.Value, ir.Node | None] = {}

    def changes_nothing(self, dequantize: ir.Node) -> bool:
        """Whether a DequantizeLinear belongs to a pair whose input already lies on its grid."""
        if dequantize.op_type != DEQUANTIZE:
            return False
        quantize = quantizer_of(dequantize)
        if quantize is None or quantize.inputs[0] is None:
            return False
        parameters = parameters_of(quantize)
        if parameters.scale is None or parameters.axis is not None or not parameters.is_usable:
            return False
        if not parameters.scale >= _SMALLEST_SCALE or not parameters.equals(
            parameters_of(dequantize)
        ):
            return False
        before = follow(quantize.inputs[0], _step, self._known)
        return before is not None and parameters_of(before).equals(parameters)


def _step(value: ir.Value) -> tuple[ir.Node | None, ir.Value | None]:
    node = value.producer()
    if node is None or node.op_type == DEQUANTIZE:
        return node, None
    return None, node.inputs[0] if commutes(node) else None
