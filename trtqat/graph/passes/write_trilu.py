"""Pass: a Trilu of booleans becomes one of INT32, which TensorRT 8.6 reads.

Its parser multiplies by a mask: "operation PROD requires inputs with activation or Int32 type". A
causal mask is one, as PyTorch's TorchScript exporter writes ``is_causal``.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.passes.protocol import Changed


def write_trilu(model: ir.Model) -> Changed:
    """Puts Casts around each, in place; counts them."""
    graph = model.graph
    editor = Editor(graph)
    count = 0
    for node in list(graph):
        mask = node.inputs[0] if node.op_type == "Trilu" and node.domain in ONNX_DOMAINS else None
        if mask is None or not _is_of_booleans(mask):
            continue
        name = name_of(node)
        before = _cast(mask, ir.DataType.INT32, f"{name}/integers")
        trilu = ir.Node(
            "", "Trilu", [before.outputs[0], *node.inputs[1:]], node.attributes.values(), name=name
        )
        trilu.outputs[0].name = f"{name}/integers_1_output_0"
        after = _cast(trilu.outputs[0], ir.DataType.BOOL, f"{name}/booleans")
        output = node.outputs[0]
        # It may be an output of the graph.
        after.outputs[0].name, output.name = output.name, f"{name}/as_it_was"
        after.outputs[0].shape = output.shape
        editor.insert_before(node, [before, trilu, after])
        editor.replace(output, after.outputs[0])
        editor.remove(node)
        count += 1
    editor.finish()
    return Changed(count)


def _is_of_booleans(mask: ir.Value) -> bool:
    if mask.dtype is not None:
        return mask.dtype is ir.DataType.BOOL
    made = mask.producer()
    filled = None if made is None else made.attributes.get("value")
    if made is None or made.op_type != "ConstantOfShape" or filled is None:
        return False
    return filled.as_tensor().dtype is ir.DataType.BOOL


def _cast(value: ir.Value, dtype: ir.DataType, name: str) -> ir.Node:
    node = ir.Node("", "Cast", [value], [ir.AttrInt64("to", dtype)], name=name)
    node.outputs[0].name = f"{name}_output_0"
    node.outputs[0].dtype = dtype
    return node
