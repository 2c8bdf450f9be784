"""Pass: some nodes read floats where they read a Q/DQ pair.

What a pair means stays: an activation is read before it is quantized, a weight as the float that
its codes stand for. Pairs that nothing reads any more go; those that other nodes read as well stay
for these. An input that arrives as codes stays one.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, producer_of, quantizer_of
from trtqat.graph.passes.protocol import Changed
from trtqat.graph.passes.remove_quantization import float_weight
from trtqat.graph_file.garbage import uncollected


@uncollected()
def keep_float(model: ir.Model, nodes: Collection[str]) -> Changed:
    """Takes the pairs out that some nodes read, in place; counts what reads floats now.

    Args:
        model: The graph.
        nodes: Names of nodes, such as a region's.

    Raises:
        GraphError: Codes are computed otherwise than by QuantizeLinear.
    """
    graph, editor = model.graph, Editor(model.graph)
    weights: dict[ir.Node, ir.Value] = {}
    count = 0
    for node in list(graph):
        if name_of(node) not in nodes or node.op_type == DEQUANTIZE:
            continue
        for index, value in enumerate(node.inputs):
            dequantize = producer_of(value, DEQUANTIZE)
            if dequantize is None or dequantize.inputs[0] in graph.inputs:
                continue
            quantize = quantizer_of(dequantize)
            if quantize is not None:
                editor.replace_input(node, index, quantize.inputs[0])
            else:
                if dequantize not in weights:
                    weights[dequantize] = float_weight(graph, dequantize)
                editor.replace_input(node, index, weights[dequantize])
            count += 1
    editor.finish()
    remove_unused(graph)
    return Changed(count)
