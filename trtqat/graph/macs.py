"""How much arithmetic each layer does, and how much of a graph's is INT8."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.layers import CONVOLUTIONS, Layer
from trtqat.graph.view import GraphView


@dataclass(frozen=True)
class LayerSummary:
    """One weighted layer or product.

    Attributes:
        name: Of its node.
        operator: ``"Conv"``, ``"ConvTranspose"``, ``"Gemm"`` or ``"MatMul"``.
        is_int8: Whether both operands come from INT8.
        macs: Multiply-accumulates for one sample; None if a shape is not known.
    """

    name: str
    operator: str
    is_int8: bool
    macs: int | None


@dataclass(frozen=True)
class GraphSummary:
    """What a graph consists of.

    Attributes:
        opset: Its opset.
        pairs: Number of DequantizeLinear nodes.
        batch_norms: BatchNormalization nodes that it still has.
        layers: Its layers in order.
    """

    opset: int
    pairs: int
    batch_norms: int
    layers: tuple[LayerSummary, ...]

    @property
    def int8_layers(self) -> int:
        """Number of layers with INT8 operands."""
        return sum(layer.is_int8 for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, of the layers whose shapes are known."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def int8_macs(self) -> int:
        """Those of the INT8 layers."""
        return sum(layer.macs or 0 for layer in self.layers if layer.is_int8)

    @property
    def int8_share(self) -> float | None:
        """Share of the arithmetic in INT8, from 0 to 1; None if no shape is known."""
        return self.int8_macs / self.macs if self.macs else None


def summarize(model: ir.Model) -> GraphSummary:
    """Reads a graph whose shapes are inferred."""
    view = GraphView(model.graph)
    operators = [node.op_type for node in model.graph]
    return GraphSummary(
        model.graph.opset_imports.get("", 0),
        operators.count("DequantizeLinear"),
        operators.count("BatchNormalization"),
        tuple(
            LayerSummary(layer.name, layer.node.op_type, view.is_quantized(layer), macs_of(layer))
            for layer in view.layers
        ),
    )


def macs_of(layer: Layer) -> int | None:
    """Multiply-accumulates of a layer for one sample (the first dimension counts as 1).

    Every output element of a convolution needs in_channels / groups · kernel of them, one of
    a product as many as the operands share; a ConvTranspose does the work of the convolution
    from its output to its input.
    """
    node = layer.node
    spread = layer.data if node.op_type == "ConvTranspose" else node.outputs[0]
    points = _sample_dims(spread)
    if points is None:
        return None
    if node.op_type in CONVOLUTIONS:
        weight = _dims(layer.weight)
        # A weight is (here, there, kernel): each point of the one side meets the rest.
        return None if weight is None else math.prod(points) * math.prod(weight[1:])
    data = _dims(layer.data)
    if data is None:
        return None
    transposed = node.attributes.get("transA")
    return math.prod(points) * (data[-2] if transposed and transposed.as_int() else data[-1])


def _dims(value: ir.Value) -> list[int] | None:
    """The shape with 1 for an open first dimension; None if another one is open."""
    constant = value.const_value
    shape = value.shape if constant is None else constant.shape
    if shape is None or len(shape) == 0:
        return None
    first, *rest = (dim if isinstance(dim, int) else None for dim in shape)
    known = [dim for dim in rest if dim is not None]
    return None if len(known) != len(rest) else [first or 1, *known]


def _sample_dims(value: ir.Value) -> list[int] | None:
    """The shape of one sample: without the first dimension."""
    dims = _dims(value)
    return None if dims is None else dims[1:]
