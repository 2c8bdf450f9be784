"""Repair: a pair behind a MaxPool or a reshape moves before it.

There it stands directly behind the layer or activation that makes the tensor, with which it
can fuse, and the MaxPool or reshape moves INT8 codes instead of floats.

1. The quantizer is per tensor: quantization is monotonic, so it commutes with the maximum.
2. The nodes in between only move or select values and nothing else reads their results.
3. The tensor before them is made by a layer, by an activation or a residual Add behind one.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.layers import layer_of
from trtqat.graph.pairs import DEQUANTIZE, QUANTIZE, consumers_of, parameters_of
from trtqat.graph.repair import COMMUTES, Repair

_FUSED_WITH_LAYER = frozenset({"Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "Add"})


def move_pairs(model: ir.Model) -> tuple[Repair, ...]:
    """Moves pairs towards the layer before them, in place."""
    graph = model.graph
    made: list[Repair] = []
    for quantize in list(graph):
        if quantize.op_type != QUANTIZE or parameters_of(quantize).axis is not None:
            continue
        path = _path_before(quantize)
        dequantizers = consumers_of(quantize.outputs[0])
        if not path or [node.op_type for node in dequantizers] != [DEQUANTIZE]:
            continue
        dequantize = dequantizers[0]
        old = dequantize.outputs[0]
        if old.is_graph_output():
            continue
        first, last = path[0], path[-1]
        source = first.inputs[0]
        assert source is not None
        old.replace_all_uses_with(last.outputs[0])
        quantize.replace_input_with(0, source)
        first.replace_input_with(0, old)
        quantize.outputs[0].shape = old.shape = source.shape
        graph.remove([quantize, dequantize])
        graph.insert_before(first, [quantize, dequantize])
        operators = ", ".join(node.op_type for node in path)
        made.append(
            Repair(
                "move-pairs",
                str(quantize.name),
                f"The Q/DQ pair '{quantize.name}' moved before {operators}, next to "
                f"'{source.producer().name}'.",  # type: ignore[union-attr]
            )
        )
    return tuple(made)


def _path_before(quantize: ir.Node) -> list[ir.Node]:
    """The commuting nodes directly before a QuantizeLinear, if a layer stands before them."""
    path: list[ir.Node] = []
    value = quantize.inputs[0]
    while value is not None and len(value.uses()) == 1 and not value.is_graph_output():
        node = value.producer()
        if node is None or node.op_type not in COMMUTES or len(node.outputs) != 1:
            break
        path.insert(0, node)
        value = node.inputs[0]
    source = path[0].inputs[0] if path else None
    producer = None if source is None else source.producer()
    if producer is None:
        return []
    is_layer = layer_of(producer) is not None or producer.op_type == "BatchNormalization"
    return path if is_layer or producer.op_type in _FUSED_WITH_LAYER else []
