"""Pass: a single number with a Q/DQ pair becomes the float that the pair makes of it.

ONNX Runtime's quantize_static puts pairs on constants, too, as on the number that a transformer
divides its scores by. TensorRT for RTX refuses INT8 codes without a dimension, which are what
becomes of a constant's QuantizeLinear. Lists and larger tensors it takes.

1. Code less zero-point, times scale, in FP32 is what DequantizeLinear computes: no output bit
   changes.
2. Only constants of 8 and 16 bits with a constant scale. What is a graph's output stays.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.equal_codes import value_of_number
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.passes.protocol import Changed


def make_numbers_float(model: ir.Model) -> Changed:
    """Replaces DequantizeLinear of constants without a dimension, in place; counts the nodes."""
    graph = model.graph
    count = 0
    for node in list(graph):
        value = value_of_number(node) if node.op_type == DEQUANTIZE else None
        if value is None:
            continue
        made = add_initializer(graph, f"{name_of(node)}.value", value)
        node.outputs[0].replace_all_uses_with(made)
        count += 1
    if count:
        remove_unused(graph)
    return Changed.told(
        count, f"Single numbers with a pair made float: {count}; none has another value."
    )
