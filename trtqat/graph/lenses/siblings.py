"""Siblings: quantized convolutions of one tensor that TensorRT 8.6.0 would merge, and then stops.

TensorRT merges convolutions of one kernel that read the same tensor. Where two of them write INT8,
8.6.0 ends with "Assertion dt1 == DataType::kFLOAT || dt1 == DataType::kHALF failed"
(chooseHigherPrecision), and names no layer. Seen on an H200 with kernels of 1x1 and 3x3, two and
three of them, of equal and of unequal scales, with Relu and without. It built those whose kernels
or activations differ, and those of which all but one write floats. So the heads of detectors are
refused, as they read one tensor side by side.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.lenses.layers import Layer
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    consumers_of,
    parameters_of,
    producer_of,
    quantized_tensor,
)
from trtqat.graph.lenses.view import GraphView

# They read how large a tensor is, whatever type it has.
_OF_THE_SHAPE = ("Shape", "Size")


@dataclass(frozen=True, eq=False)
class Sibling:
    """One of them.

    Attributes:
        layer: The convolution.
        relu: The Relu that alone reads it; None if there is none.
        scale: By which its output is quantized.
    """

    layer: Layer
    relu: ir.Node | None
    scale: float

    @property
    def last(self) -> ir.Node:
        """The node whose output is quantized."""
        return self.layer.node if self.relu is None else self.relu


def siblings(view: GraphView) -> list[list[Sibling]]:
    """All groups of two and more that TensorRT 8.6.0 would merge, in the graph's order.

    Args:
        view: Of a graph with Q/DQ.
    """
    groups: dict[Hashable, list[Sibling]] = {}
    for layer in view.layers:
        if layer.node.op_type == "Conv" and view.is_int8(layer):
            sibling = _with_int8_output(view, layer)
            if sibling is not None:
                key = (_source(layer), *_geometry(layer), sibling.relu is None)
                groups.setdefault(key, []).append(sibling)
    return [group for group in groups.values() if len(group) > 1]


def _with_int8_output(view: GraphView, layer: Layer) -> Sibling | None:
    """With what quantizes its output; None where that stays in floating point."""
    relu = _relu_behind(layer.node.outputs[0])
    output = layer.node.outputs[0] if relu is None else relu.outputs[0]
    readers = [node for node in view.readers(output) if node.op_type not in _OF_THE_SHAPE]
    if not readers or any(node.op_type != QUANTIZE for node in readers):
        return None
    if any(form.is_graph_output() for form in view.forms(output)):
        return None
    first, *others = map(parameters_of, readers)
    if not (first.is_int8 and first.is_usable) or not all(first.equals(each) for each in others):
        return None
    assert first.scale is not None
    return Sibling(layer, relu, float(first.scale)) if first.scale.ndim == 0 else None


def _relu_behind(output: ir.Value) -> ir.Node | None:
    readers = [node for node in consumers_of(output) if node.op_type not in _OF_THE_SHAPE]
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
