"""On which grid of numbers a tensor lies: where a pair on it would change nothing."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.moves import commutes
from trtqat.graph.lenses.pairs import DEQUANTIZE, parameters_of, quantizer_of
from trtqat.graph.lenses.paths import follow

_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


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
