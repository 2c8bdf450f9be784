"""Pass: what only moves or casts a constant is done once and for all.

A bias of shape ``(C,)`` that stands behind a Reshape is a computed tensor to whoever looks at the
graph: a sum with it seems one of two activations. PaddlePaddle's converter writes every bias so.

1. A node of ``lenses.moves`` whose inputs are all constants becomes an initializer, and so does a
   Cast of integers.
2. What would grow (Expand) stays where it is more than a few kilobytes.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import ONNX_DOMAINS, is_move, moved
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array

_MAX_GROWN_BYTES = 2**14
# An integer that becomes another one, or a float; the other way numbers may not fit.
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)


def fold_constants(model: ir.Model) -> Changed:
    """Computes what moves or casts constants, in place; counts the nodes that went."""
    graph, count = model.graph, 0
    for node in list(graph):
        result = None if any(map(ir.Value.is_graph_output, node.outputs)) else _computed(node)
        if result is None:
            continue
        made = node.outputs[0]
        # By the tensor's own name, which nothing else has once its node is gone.
        name = str(made.name)
        made.name = f"{name}.folded"
        constant = add_initializer(graph, name, result)
        made.replace_all_uses_with(constant)
        count += 1
    if count:
        remove_unused(graph)
    return Changed(count)


def _computed(node: ir.Node) -> Array | None:
    source = node.inputs[0] if node.inputs else None
    # A default that a caller may replace is no constant.
    if source is None or source.is_graph_input():
        return None
    array = constant_array(source)
    if array is None:
        return None
    if node.op_type == "Cast" and node.domain in ONNX_DOMAINS:
        target = ir.DataType(node.attributes["to"].as_int())
        if source.dtype not in _INTEGERS or target not in (ir.DataType.FLOAT, ir.DataType.INT64):
            return None
        cast: Array = array.astype(target.numpy())
        return cast
    result = moved(node, array) if is_move(node) else None
    if result is None or result.nbytes > max(array.nbytes, _MAX_GROWN_BYTES):
        return None
    # A view of a weight that is mapped into memory would keep its strides.
    return result.copy(order="C")
