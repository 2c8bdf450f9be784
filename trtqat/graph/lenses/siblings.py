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
from trtqat.graph.lenses.view import GraphView, reads_data

# What the names of the Clips have by which the pass parts siblings.
CLIPPED = "_clipped"


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


def parts_siblings(node: ir.Node) -> bool:
    """Whether a node is a Clip of the pass ``part_siblings``, by the names that it gives."""
    name = str(node.name)
    if node.op_type != "Clip" or CLIPPED not in name or len(node.inputs) != 3:
        return False
    lower, upper = node.inputs[1:]
    return (
        lower is not None
        and upper is not None
        and (lower.name, upper.name) == names_of_bounds(name)
    )


def names_of_bounds(clip: str) -> tuple[str, str]:
    """What the bounds of such a Clip are called.

    Args:
        clip: Its name.
    """
    return f"{clip}.lower", f"{clip}.upper"


def quantizers_alone(view: GraphView, output: ir.Value) -> list[ir.Node]:
    """What quantizes a tensor, or what moves its values; empty if anything else reads it.

    Args:
        view: Of its graph.
        output: The tensor.
    """
    readers = list(filter(reads_data, view.readers(output)))
    if any(node.op_type != QUANTIZE for node in readers):
        return []
    return [] if any(form.is_graph_output() for form in view.forms(output)) else readers


def _with_int8_output(view: GraphView, layer: Layer) -> Sibling | None:
    """With what quantizes its output; None where that stays in floating point."""
    relu = _relu_behind(layer.node.outputs[0])
    output = layer.node.outputs[0] if relu is None else relu.outputs[0]
    quantizers = quantizers_alone(view, output)
    if not quantizers:
        return None
    first, *others = map(parameters_of, quantizers)
    if not (first.is_int8 and first.is_usable) or not all(first.equals(each) for each in others):
        return None
    assert first.scale is not None
    return Sibling(layer, relu, float(first.scale)) if first.scale.ndim == 0 else None


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
