"""Pass: ONNX Runtime's own QuantizeLinear and DequantizeLinear become those of ONNX.

onnxruntime.quantization writes them in the domain com.microsoft where it is told to
(``UseQDQContribOps``), and for 16 bits. They compute the same:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md

1. Only with FP32 scales and codes of 8 bits (or INT32 for a bias), which ONNX's have since
   opset 10; scales per channel since opset 13, where ONNX's have an axis.
2. What is left keeps its domain, and lint names it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.pairs import PAIR, parameters_of
from trtqat.graph.passes.protocol import Changed

MICROSOFT = "com.microsoft"
# The first opsets that have the two operators, and an axis for them.
_FIRST_OPSET = 10
_FIRST_OPSET_WITH_AXIS = 13
_CODES = tuple(map(np.dtype, (np.int8, np.uint8, np.int32)))


def use_standard_domain(model: ir.Model) -> Changed:
    """Rewrites the nodes, in place; counts them."""
    graph = model.graph
    opset = graph.opset_imports.get("", 0)
    changed = 0
    for node in graph:
        if node.domain == MICROSOFT and _is_standard(node, opset):
            node.domain = ""
            changed += 1
    if changed and not any(node.domain == MICROSOFT for node in graph.all_nodes()):
        graph.opset_imports.pop(MICROSOFT, None)
    return Changed.told(
        changed,
        f"{changed} nodes of {MICROSOFT} became ONNX's own QuantizeLinear and "
        "DequantizeLinear, which compute the same.",
    )


def _is_standard(node: ir.Node, opset: int) -> bool:
    if node.op_type not in PAIR or len(node.inputs) < 2:
        return False
    parameters = parameters_of(node)
    is_per_tensor = parameters.scale is not None and parameters.axis is None
    if opset < (_FIRST_OPSET if is_per_tensor else _FIRST_OPSET_WITH_AXIS):
        return False
    if is_per_tensor and opset < _FIRST_OPSET_WITH_AXIS and parameters.has_axis:
        return False
    scale = node.inputs[1]
    is_float = scale is not None and scale.dtype in (None, ir.DataType.FLOAT)
    return (
        is_float
        and set(node.attributes) <= {"axis"}
        and (parameters.dtype is None or parameters.dtype in _CODES)
    )
