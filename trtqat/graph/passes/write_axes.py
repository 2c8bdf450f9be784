"""Pass: a per-channel Q/DQ node that relies on the default axis writes it.

ONNX's default is 1 since opset 13; TensorRT 8.6 takes a missing axis for 0.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.pairs import PAIR, parameters_of
from trtqat.graph.passes.protocol import Changed


def write_axes(model: ir.Model) -> Changed:
    """Writes the axes, in place; counts the nodes."""
    changed = 0
    for node in model.graph:
        if node.op_type not in PAIR:
            continue
        parameters = parameters_of(node)
        if parameters.axis is not None and not parameters.has_axis:
            node.attributes["axis"] = ir.AttrInt64("axis", parameters.axis)
            changed += 1
    return Changed.told(
        changed, f"{changed} per-channel nodes had no axis: ONNX's default, 1, is written."
    )
