"""The weighted layers of a graph: where their weights, channels and quantizers are."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, producer_of
from trtqat.graph.lenses.weights import Weights

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class Layer:
    """A Conv, ConvTranspose, Gemm or MatMul.

    Attributes:
        node: The node.
        data: Its data input; both inputs of a MatMul of two activations are data, this is
            the first.
        weight: Its weight input, or the second operand of a MatMul of two activations.
        is_weighted: Whether ``weight`` depends on initializers only.
        dequantize_weight: The DequantizeLinear before ``weight``, seen through a Transpose.
        weight_axis: The axis of the *dequantized* weight that holds the output channels;
            None where there is no single one (a grouped ConvTranspose).
        output_axis: The output's channel axis, counted from the end; None if the rank of
            the output is not known.
    """

    node: ir.Node
    data: ir.Value
    weight: ir.Value
    is_weighted: bool
    dequantize_weight: ir.Node | None
    weight_axis: int | None
    output_axis: int | None

    @property
    def name(self) -> str:
        """The node's name."""
        return name_of(self.node)

    @property
    def channels(self) -> int | None:
        """Number of output channels; None if the weight's shape is not known."""
        if self.dequantize_weight is None or self.weight_axis is None:
            return None
        source = self.dequantize_weight.inputs[0]
        shape = None if source is None else source.shape
        size = None if shape is None else shape[self.weight_axis]
        return size if isinstance(size, int) else None


def layer_of(node: ir.Node, weights: Weights) -> Layer | None:
    """Reads a node; None if it is no Conv, ConvTranspose, Gemm or MatMul.

    Args:
        node: Any node.
        weights: Those of its graph.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in (*CONVOLUTIONS, *PRODUCTS):
        return None
    data, weight = node.inputs[0], node.inputs[1]
    assert data is not None
    assert weight is not None
    dequantize, permutation = _dequantize_of(weight)
    return Layer(
        node,
        data,
        weight,
        weight in weights,
        dequantize,
        _weight_axis(node, weight, permutation),
        _output_axis(node),
    )


def layers_of(graph: ir.Graph, weights: Weights) -> list[Layer]:
    """All layers in the order of the graph."""
    found = (layer_of(node, weights) for node in graph)
    return [layer for layer in found if layer is not None]


def channel_axis(node: ir.Node, rank: int) -> int | None:
    """The axis of a layer's weight, as the layer reads it, that holds the output channels.

    Args:
        node: A Conv, ConvTranspose, Gemm or MatMul.
        rank: Of the weight.

    Returns:
        None where there is no single one (a grouped ConvTranspose, a MatMul with a vector).
    """
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        group = node.attributes.get("group")
        return 1 if group is None or group.as_int() == 1 else None
    if rank < 2:
        return None
    transposed = node.attributes.get("transB")
    return rank - 2 if transposed is not None and transposed.as_int() else rank - 1


def move_of_weight(layer: Layer, weights: Weights) -> ir.Node | None:
    """The first node that moves a layer's dequantized weight, unless it is a Linear's Transpose."""
    if layer.dequantize_weight is not None and layer.node.op_type in PRODUCTS:
        return None
    return weights.first_move(layer.weight) if layer.is_weighted else None


def bias_of(node: ir.Node) -> ir.Value | None:
    """The bias input of a Conv, ConvTranspose or Gemm; None for a MatMul."""
    return node.inputs[2] if len(node.inputs) > 2 else None


def _dequantize_of(value: ir.Value) -> tuple[ir.Node | None, tuple[int, ...] | None]:
    """The DequantizeLinear before a tensor, and the permutation of a Transpose in between."""
    transpose = producer_of(value, "Transpose")
    if transpose is None:
        return producer_of(value, DEQUANTIZE), None
    found = producer_of(transpose.inputs[0], DEQUANTIZE)
    permutation = transpose.attributes.get("perm")
    if permutation is not None:
        return found, tuple(permutation.as_ints())
    source = transpose.inputs[0]
    shape = value.shape if source is None or source.shape is None else source.shape
    if shape is None:
        return None, None
    # ONNX: without the attribute all axes are reversed.
    return found, tuple(reversed(range(len(shape))))


def _weight_axis(
    node: ir.Node, weight: ir.Value, permutation: tuple[int, ...] | None
) -> int | None:
    if node.op_type == "Conv":
        axis = 0
    elif node.op_type == "ConvTranspose":
        group = node.attributes.get("group")
        if group is not None and group.as_int() != 1:
            return None
        axis = 1
    else:
        rank = None if weight.shape is None else len(weight.shape)
        constant = constant_array(weight) if rank is None else None
        rank = constant.ndim if constant is not None else rank
        if rank is None and producer_of(weight, "Transpose") is None:
            source = producer_of(weight, DEQUANTIZE)
            shape = None if source is None or source.inputs[0] is None else source.inputs[0].shape
            rank = None if shape is None else len(shape)
        if rank is None and permutation is not None:
            rank = len(permutation)
        if rank is None:
            return None
        transposed = node.attributes.get("transB")
        axis = rank - 2 if transposed is not None and transposed.as_int() else rank - 1
    return axis if permutation is None else permutation[axis]


def _output_axis(node: ir.Node) -> int | None:
    if node.op_type in PRODUCTS:
        return -1
    shape = node.outputs[0].shape
    weight = node.inputs[1]
    if shape is None and weight is not None:
        shape = weight.shape
    return None if shape is None else 1 - len(shape)
