"""Pass: a weight that is split into pieces is stored in pieces.

PyTorch keeps the three projections of ``nn.MultiheadAttention`` in one weight and one bias. Where
the TorchScript exporter leaves their Split in the graph, a bias is a computed tensor to whoever
looks at the graph, TensorRT among them.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.passes.protocol import Changed


def fold_splits(model: ir.Model) -> Changed:
    """Makes initializers of what Split makes of one, in place; counts the Splits that went."""
    graph, count = model.graph, 0
    for node in list(graph):
        source = node.inputs[0] if node.op_type == "Split" and node.domain == "" else None
        if source is None or not source.is_initializer() or source.is_graph_input():
            continue
        sizes = _sizes(node)
        array = constant_array(source)
        if sizes is None or array is None or any(map(ir.Value.is_graph_output, node.outputs)):
            continue
        axis = node.attributes.get("axis")
        ends = np.cumsum(sizes)[:-1]
        pieces = np.split(array, ends, axis=0 if axis is None else axis.as_int())
        for number, (output, piece) in enumerate(zip(node.outputs, pieces, strict=True)):
            # Not ascontiguousarray, which makes a scale of shape () one of shape (1,).
            made = add_initializer(graph, f"{source.name}.{number}", np.array(piece, order="C"))
            output.replace_all_uses_with(made)
        count += 1
    if count:
        remove_unused(graph)
    return Changed(count)


def _sizes(node: ir.Node) -> list[int] | None:
    """How large the pieces are; None if that is computed."""
    if "split" in node.attributes:  # up to opset 12
        return list(node.attributes["split"].as_ints())
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        given = constant_array(node.inputs[1])
        return None if given is None else [int(size) for size in given]
    source = node.inputs[0]
    axis = node.attributes.get("axis")
    assert source is not None
    if source.shape is None:
        return None
    size = source.shape[0 if axis is None else axis.as_int()]
    # ONNX: equal pieces, of which the last may be smaller.
    each = -(-int(size) // len(node.outputs)) if isinstance(size, int) else 0
    if not each or each * (len(node.outputs) - 1) >= int(size):  # type: ignore[arg-type]
        return None
    rest = int(size) - each * (len(node.outputs) - 1)  # type: ignore[arg-type]
    return [each] * (len(node.outputs) - 1) + [rest]
