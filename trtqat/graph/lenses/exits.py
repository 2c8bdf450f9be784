"""Where INT8 ends in a graph: what keeps a quantized layer's output in floating point."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import is_constant
from trtqat.graph.lenses.layers import Layer
from trtqat.graph.lenses.pairs import QUANTIZE, consumers_of, parameters_of
from trtqat.graph.lenses.view import ACTIVATIONS, GraphView, fuses, reads_data


def float_exits(model: ir.Model) -> dict[str, str]:
    """Looks behind every quantized layer, through what TensorRT fuses with it.

    Args:
        model: A graph with Q/DQ.

    Returns:
        By layer, the end of a sentence that says why its output cannot be INT8 as the graph
        stands; empty for an output of the graph. Layers whose output can be INT8 are not in it.
    """
    view = GraphView(model.graph)
    reasons = {
        layer.name: _reason(view, layer) for layer in view.layers if view.is_quantized(layer)
    }
    return {name: reason for name, reason in reasons.items() if reason is not None}


def _reason(view: GraphView, layer: Layer) -> str | None:
    output = fused_output(layer.node.outputs[0])
    readers = _data_readers(view, output)
    additions = [node for node in readers if node.op_type == "Add" and _computed(node) == 2]
    if additions:
        addition = additions[0]
        others = [value for value in addition.inputs if value is not output]
        if not any(view.dequantize_before(value) for value in others):
            # Of two layers that are added, the last one takes the other's output as its operand.
            if _is_last(view, layer, others):
                return f"the float residual operand of '{addition.name}' keeps it so"
            return f"'{addition.name}' reads it as a float residual operand"
        output = fused_output(addition.outputs[0])
        readers = _data_readers(view, output)
    quantizers = [node for node in readers if node.op_type == QUANTIZE]
    floats = [node for node in readers if node.op_type != QUANTIZE]
    if not quantizers:
        if view.is_output(output) or _is_cast_to_output(view, floats):
            return ""
        names = sorted({node.op_type for node in floats}) or ["nothing"]
        read = "reads" if len(names) == 1 else "read"
        return f"there is no QuantizeLinear behind it ({', '.join(names)} {read} it)"
    if floats:
        return f"'{floats[0].name}' ({floats[0].op_type}) reads it in floating point as well"
    scales = [parameters_of(node) for node in quantizers]
    if not all(scales[0].equals(other) for other in scales):
        return "it is quantized with unequal scales"
    return None


def _data_readers(view: GraphView, value: ir.Value) -> list[ir.Node]:
    return list(filter(reads_data, view.readers(value, fuses)))


def _is_cast_to_output(view: GraphView, readers: list[ir.Node]) -> bool:
    """Whether a Cast alone reads it, to an output of the graph, as FP16 graphs have them."""
    return len(readers) == 1 and (
        readers[0].op_type == "Cast"
        and view.is_output(readers[0].outputs[0])
        and not view.readers(readers[0].outputs[0])
    )


def fused_output(value: ir.Value) -> ir.Value:
    """The tensor behind bias, BatchNorm and activation, as long as nothing else reads it.

    Args:
        value: What a layer's node computes.
    """
    while True:
        readers = list(filter(reads_data, consumers_of(value)))
        if len(readers) != 1 or value.is_graph_output():
            return value
        node = readers[0]
        is_transparent = node.op_type == BATCH_NORM or (
            node.op_type in ("Add", "Sub", "Mul", "Div") and _computed(node) == 1
        )
        if not is_transparent and node.op_type not in ACTIVATIONS:
            return value
        value = node.outputs[0]


def _computed(node: ir.Node) -> int:
    return sum(value is not None and not is_constant(value) for value in node.inputs)


def _is_last(view: GraphView, layer: Layer, others: list[ir.Value | None]) -> bool:
    position = view.positions[layer]
    behind = [view.layer_before(value, activations=True) for value in others]
    return all(each is None or view.positions[each] < position for each in behind)
