"""Pass: a bias that is stored in INT32 behind DequantizeLinear becomes a float initializer.

onnxruntime.quantization writes biases so unless it is told not to. TensorRT dequantizes INT8
alone and refuses the graph; it adds float biases to its INT32 sums anyway.

1. Code times scale in FP32 is what DequantizeLinear computes: no output bit changes.
2. Only INT32 constants with a constant scale; a zero-point other than 0 stays for the lint.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.pairs import DEQUANTIZE, along_axis, parameters_of
from trtqat.graph.passes.protocol import Changed


def make_biases_float(model: ir.Model) -> Changed:
    """Replaces DequantizeLinear of INT32 constants by its result, in place; counts the nodes."""
    graph = model.graph
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.op_type == DEQUANTIZE else None
        codes = None if source is None else constant_array(source)
        if source is None or codes is None or codes.dtype != np.int32:
            continue
        parameters = parameters_of(node)
        scale, zero_point = parameters.scale, parameters.zero_point
        output = node.outputs[0]
        if scale is None or not parameters.fits(codes) or output.is_graph_output():
            continue
        if zero_point is not None and zero_point.any():
            continue
        values = codes.astype(np.float32) * along_axis(scale, parameters.axis, codes.ndim)
        name = str(source.name).removesuffix("_quantized")
        output.replace_all_uses_with(add_initializer(graph, name, values))
        count += 1
    if count:
        remove_unused(graph)
    return Changed.told(
        count, f"INT32 biases made float: {count}; TensorRT dequantizes INT8 alone."
    )
