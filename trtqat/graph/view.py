"""A graph as the rules look at it: layers, pairs, and what stands before and behind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import onnx_ir as ir

from trtqat.graph.editing import constant_array, is_weight
from trtqat.graph.layers import Layer, layers_of
from trtqat.graph.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    consumers_of,
    producer_of,
    quantized_tensor,
    quantizer_of,
)
from trtqat.graph.repair import COMMUTES

ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu"}
)
# What TensorRT can run on INT8 tensors besides the weighted layers (facts of its
# documentation, "Explicit Quantization: Q/DQ layer-placement recommendations").
TAKES_INT8 = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "ReduceMean"})


class GraphView:
    """Answers the questions of the rules.

    Attributes:
        graph: The graph; the rules do not change it.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph

    @cached_property
    def layers(self) -> list[Layer]:
        """Every Conv, ConvTranspose, Gemm and MatMul in the graph's order."""
        return layers_of(self.graph)

    @cached_property
    def layer_by_output(self) -> dict[ir.Value, Layer]:
        """Layers by the tensor that they make."""
        return {layer.node.outputs[0]: layer for layer in self.layers}

    @cached_property
    def quantizers(self) -> list[ir.Node]:
        """Every QuantizeLinear and DequantizeLinear node in the graph's order."""
        return [node for node in self.graph if node.op_type in (QUANTIZE, DEQUANTIZE)]

    @cached_property
    def activation_pairs(self) -> list[tuple[ir.Node, ir.Node]]:
        """QuantizeLinear and DequantizeLinear of every pair on a computed tensor."""
        pairs = []
        for node in self.quantizers:
            quantize = quantizer_of(node) if node.op_type == DEQUANTIZE else None
            source = None if quantize is None else quantize.inputs[0]
            if quantize is not None and source is not None and not is_weight(source):
                pairs.append((quantize, node))
        return pairs

    def is_activation(self, node: ir.Node) -> bool:
        """Whether a QuantizeLinear or DequantizeLinear stands on a computed tensor."""
        value = node.inputs[0] if node.op_type == QUANTIZE else quantized_tensor(node)
        return value is not None and not is_weight(value)

    def dequantize_before(self, value: ir.Value | None) -> ir.Node | None:
        """The DequantizeLinear that a tensor comes from, seen through commuting nodes."""
        while value is not None:
            node = value.producer()
            if node is None or node.op_type == DEQUANTIZE:
                return node
            value = node.inputs[0] if node.op_type in COMMUTES else None
        return None

    def layer_before(self, value: ir.Value | None, *, activations: bool = False) -> Layer | None:
        """The layer that makes a tensor, seen through its bias and BatchNorm.

        Args:
            value: The tensor.
            activations: See through activations as well.
        """
        while value is not None:
            if value in self.layer_by_output:
                return self.layer_by_output[value]
            node = value.producer()
            if node is None:
                return None
            computed = [v for v in node.inputs if v is not None and constant_array(v) is None]
            transparent = node.op_type == "BatchNormalization" or (
                node.op_type in ("Add", "Sub", "Mul", "Div") and len(computed) == 1
            )
            if not transparent and not (activations and node.op_type in ACTIVATIONS):
                return None
            value = computed[0] if computed else None
        return None

    def readers(self, value: ir.Value) -> Iterator[ir.Node]:
        """The nodes that read a tensor, seen through commuting nodes."""
        for node in consumers_of(value):
            if node.op_type in COMMUTES and node.inputs[0] is value:
                yield from self.readers(node.outputs[0])
            else:
                yield node

    def is_quantized_later(self, value: ir.Value) -> bool:
        """Whether a pair stands behind a tensor, or behind an activation of it."""
        readers = list(self.readers(value))
        for node in list(readers):
            if node.op_type in ACTIVATIONS:
                readers.extend(self.readers(node.outputs[0]))
        return any(node.op_type == QUANTIZE for node in readers)

    def is_quantized(self, layer: Layer) -> bool:
        """Whether both operands of a layer come from INT8."""
        return self.has_int8_data(layer) and self.has_int8_weight(layer)

    def has_int8_data(self, layer: Layer) -> bool:
        """Whether the first operand comes from INT8."""
        return self.dequantize_before(layer.data) is not None

    def has_int8_weight(self, layer: Layer) -> bool:
        """Whether the weight, or second operand, comes from INT8."""
        return (
            layer.dequantize_weight is not None or self.dequantize_before(layer.weight) is not None
        )

    def pair_source(self, value: ir.Value | None) -> ir.Value | None:
        """The float tensor that a pair directly before this one quantizes."""
        dequantize = producer_of(value, DEQUANTIZE)
        quantize = None if dequantize is None else quantizer_of(dequantize)
        return None if quantize is None else quantize.inputs[0]
