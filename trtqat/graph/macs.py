"""How much arithmetic each layer does, and how much of a graph's is INT8."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.batch import Batch
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
            LayerSummary(
                layer.name,
                layer.node.op_type,
                view.is_quantized(layer),
                macs_of(layer, view.batch),
            )
            for layer in view.layers
        ),
    )


def macs_of(layer: Layer, batch: Batch) -> int | None:
    """Multiply-accumulates of a layer for one sample; None if the shapes do not tell.

    Every output element of a convolution needs in_channels / groups · kernel of them, one of
    a product as many as the operands share; a ConvTranspose does the work of the convolution
    from its output to its input. A sample may have several rows of the first dimension, as
    where tokens are folded into it (``batch``).
    """
    node = layer.node
    spread = layer.data if node.op_type == "ConvTranspose" else node.outputs[0]
    elements = batch.elements_per_sample(spread)
    each = _macs_of_element(layer)
    return None if elements is None or each is None else elements * each


def _macs_of_element(layer: Layer) -> int | None:
    node = layer.node
    if node.op_type in CONVOLUTIONS:
        # A weight is (here, there, kernel): each point of the one side meets the rest.
        weight = _shape(layer.weight)
        rest = [dim for dim in weight[1:] if dim is not None]
        return math.prod(rest) if weight and len(rest) == len(weight) - 1 else None
    data = _shape(layer.data)
    transposed = node.attributes.get("transA")
    return data[0 if transposed and transposed.as_int() else -1] if data else None


def _shape(value: ir.Value) -> list[int | None]:
    """With None for an open dimension; empty if it is not known."""
    constant = value.const_value
    shape = value.shape if constant is None else constant.shape
    dims = [] if shape is None else [shape[axis] for axis in range(len(shape))]
    return [dim if isinstance(dim, int) else None for dim in dims]
