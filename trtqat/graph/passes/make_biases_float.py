"""Pass: a bias that is stored in INT32 behind DequantizeLinear becomes a float initializer.

onnxruntime.quantization writes biases so unless it is told not to. TensorRT dequantizes INT8
alone and refuses the graph; it adds float biases to its INT32 sums anyway.

1. Code times scale in FP32 is what DequantizeLinear computes: no output bit changes.
2. Only INT32 constants with a constant scale; a zero-point other than 0 stays for the lint.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.equal_codes import values_of_int32
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.passes.protocol import Changed


def make_biases_float(model: ir.Model) -> Changed:
    """Replaces DequantizeLinear of INT32 constants by its result, in place; counts the nodes."""
    graph = model.graph
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.op_type == DEQUANTIZE else None
        values = None if source is None else values_of_int32(node)
        if source is None or values is None:
            continue
        name = str(source.name).removesuffix("_quantized")
        node.outputs[0].replace_all_uses_with(add_initializer(graph, name, values))
        count += 1
    if count:
        remove_unused(graph)
    return Changed.told(
        count, f"INT32 biases made float: {count}; TensorRT dequantizes INT8 alone."
    )
