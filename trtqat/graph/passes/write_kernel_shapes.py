"""Pass: a convolution with a quantized weight writes the shape of its kernel.

ONNX lets it be left out, as the weight tells it. TensorRT 8.6.0 refused 3x3 convolutions without it
whose weight is computed, as by DequantizeLinear: "The input tensor shape misaligns with the input
kernel shape".
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.layers import CONVOLUTIONS
from trtqat.graph.lenses.pairs import PAIR
from trtqat.graph.passes.protocol import Changed


def write_kernel_shapes(model: ir.Model) -> Changed:
    """Writes the shapes, in place; counts the convolutions."""
    changed = 0
    for node in model.graph:
        if node.op_type not in CONVOLUTIONS or "kernel_shape" in node.attributes:
            continue
        shape = _kernel_shape(node.inputs[1])
        if shape:
            node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", shape)
            changed += 1
    # Nobody needs to know: the graph means the same, to every reader but that one.
    return Changed(changed)


def _kernel_shape(weight: ir.Value | None) -> tuple[int, ...]:
    """The shape of a kernel behind a pair; empty if there is no pair, or no known shape."""
    found = weight
    while found is not None and (node := found.producer()) is not None:
        if node.op_type not in PAIR:
            return ()
        found = node.inputs[0]
    if found is None or found is weight or found.shape is None:
        return ()
    sizes = [size for size in found.shape if isinstance(size, int)]
    return tuple(sizes[2:]) if len(sizes) == len(found.shape) else ()
