"""Siblings: quantized layers of one tensor that TensorRT 8.6.0 would merge.

TensorRT merges convolutions of one kernel and one activation that read the same tensor. Where the
weight of one of them is an INT8 initializer, 8.6.0 ends with "Assertion dt1 == DataType::kFLOAT ||
dt1 == DataType::kHALF failed" (chooseHigherPrecision), and names no layer. With float weights and
QuantizeLinear it makes one INT8 kernel of them. So the heads of detectors are refused, and what
stands side by side before a Concat.

Seen on an H200 with kernels of 1x1 and 3x3, two and three of them, of equal and of unequal scales
and channels, with Relu and without, before layers of their own, a Concat and a sum. It built those
whose kernels differ, those with another activation, and those of which all but one write floats.
Two Gemms were refused, too, of 4, 64 and 256 channels, but not with a Relu behind each. So were two
MatMuls, whose weights stay float anyway.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

import onnx_ir as ir

from trtqat.graph.lenses.layers import Layer
from trtqat.graph.lenses.moves import ONNX_DOMAINS, moves_values
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    consumers_of,
    parameters_of,
    producer_of,
    quantized_tensor,
)
from trtqat.graph.lenses.view import GraphView, reads_data


def siblings(view: GraphView) -> list[list[Layer]]:
    """All groups of two and more that TensorRT 8.6.0 would merge, in the graph's order.

    Args:
        view: Of a graph with Q/DQ.
    """
    groups: dict[Hashable, list[Layer]] = {}
    for layer in view.layers:
        if layer.node.op_type in ("Conv", "Gemm") and view.is_int8(layer):
            relu = _relu_behind(layer.node.outputs[0])
            # A Gemm with a Relu is not merged.
            alone = layer.node.op_type == "Gemm" and relu is not None
            if not alone and becomes_int8(layer):
                key = (_source(layer), layer.node.op_type, *_geometry(layer), relu is None)
                groups.setdefault(key, []).append(layer)
    return [group for group in groups.values() if len(group) > 1]


def becomes_int8(layer: Layer) -> bool:
    """Whether quantizers alone read an output, seen through a Relu, moves of values and a Concat.

    Args:
        layer: Any layer.
    """
    relu = _relu_behind(layer.node.outputs[0])
    output = layer.node.outputs[0] if relu is None else relu.outputs[0]
    waiting, seen = [output], {output}
    while waiting:
        value = waiting.pop()
        readers = list(filter(reads_data, consumers_of(value)))
        if value.is_graph_output() or not readers:
            return False
        for node in readers:
            if node.op_type == QUANTIZE:
                if not parameters_of(node).is_int8:
                    return False
            elif node.op_type == "Concat" or moves_values(node):
                waiting += [each for each in node.outputs if each not in seen]
                seen.update(node.outputs)
            else:
                return False
    return True


def _relu_behind(output: ir.Value) -> ir.Node | None:
    readers = list(filter(reads_data, consumers_of(output)))
    if len(readers) != 1 or output.is_graph_output():
        return None
    (node,) = readers
    return node if node.op_type == "Relu" and node.domain in ONNX_DOMAINS else None


def _source(layer: Layer) -> Hashable:
    """What is equal for those that read the same codes, be it through pairs of their own."""
    dequantize = producer_of(layer.data, DEQUANTIZE)
    if dequantize is None:
        return layer.data
    return quantized_tensor(dequantize), parameters_of(dequantize).key


def _geometry(layer: Layer) -> Iterator[Hashable]:
    """Kernel, strides and the rest; what is not written has ONNX's default."""
    weight = layer.weight
    if layer.dequantize_weight is not None and layer.dequantize_weight.inputs[0] is not None:
        weight = layer.dequantize_weight.inputs[0]
    kernel = () if weight.shape is None else tuple(weight.shape)[2:]
    yield kernel
    for name, default in (("strides", 1), ("dilations", 1), ("pads", 0)):
        written = layer.node.attributes.get(name)
        numbers = () if written is None else tuple(written.as_ints())
        yield () if all(number == default for number in numbers) else numbers
    for name in ("group", "auto_pad"):
        written = layer.node.attributes.get(name)
        yield None if written is None or written.value in (1, "NOTSET") else written.value
