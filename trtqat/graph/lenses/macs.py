"""How much arithmetic each layer does, and how much of a graph's is INT8."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import name_in_engine, nodes_inside
from trtqat.graph.lenses.batch import Batch
from trtqat.graph.lenses.layers import Layer, layer_of
from trtqat.graph.lenses.mac_formulas import macs_of_node
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.lenses.view import GraphView
from trtqat.plan.coverage import int8_share


@dataclass(frozen=True)
class LayerSummary:
    """One weighted layer or product, or another node that multiplies.

    Attributes:
        name: Of its node.
        operator: ``"Conv"``, ``"LSTM"``, ``"com.microsoft::Attention"``.
        is_int8: Whether both operands come from INT8, so that TensorRT can run it in INT8.
        macs: Multiply-accumulates for one sample; None if they are not known.
        is_understood: Whether it is known what the operator computes.
        weight_elements: Size of its weight; None without one, or if its shape is not known.
        output_elements: What it writes for one sample; None if that is not known.
        dequantizers: Names of the DequantizeLinear nodes that its operands come from, in an engine.
        other_name: What TensorRT calls it; empty if that is ``name``.
        quantized_inside: Of an If, a Loop or a Scan, the layers in its graphs whose operands come
            from INT8. They are not counted as INT8: what an engine runs there is not told.
    """

    name: str
    operator: str
    is_int8: bool
    macs: int | None
    is_understood: bool = True
    weight_elements: int | None = None
    output_elements: int | None = None
    dequantizers: tuple[str, ...] = ()
    other_name: str = ""
    quantized_inside: tuple[str, ...] = ()

    @property
    def wants_int8(self) -> bool:
        """Whether it is quantized, or a layer inside."""
        return self.is_int8 or bool(self.quantized_inside)

    @property
    def name_in_engine(self) -> str:
        """What TensorRT calls its node."""
        return self.other_name or self.name


@dataclass(frozen=True)
class GraphSummary:
    """What a graph consists of.

    Attributes:
        opset: Its opset.
        pairs: Number of DequantizeLinear nodes, those inside of other nodes included.
        batch_norms: BatchNormalization nodes that it still has, inside of nodes, too.
        layers: All that multiplies, in order; operators of which nobody says what they compute
            are among them.
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
    def understood_layers(self) -> int:
        """Number of layers, without the operators of which nobody says what they compute."""
        return sum(layer.is_understood for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, of the layers whose shapes are known."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def int8_macs(self) -> int:
        """Those of the INT8 layers."""
        return sum(layer.macs or 0 for layer in self.layers if layer.is_int8)

    @property
    def not_counted(self) -> tuple[LayerSummary, ...]:
        """Those whose arithmetic is not known."""
        return tuple(layer for layer in self.layers if layer.macs is None)

    @property
    def int8_share(self) -> float | None:
        """Share of the arithmetic in INT8, from 0 to 1.

        None if nothing is counted, or something that is not INT8 is not; where only INT8 layers
        are not counted, it is the least that the share can be.
        """
        return int8_share((layer.is_int8, layer.macs) for layer in self.layers)


def summarize(model: ir.Model) -> GraphSummary:
    """Reads a graph whose shapes are inferred."""
    return summary_of(GraphView(model.graph))


def summary_of(view: GraphView) -> GraphSummary:
    """The summary of a graph, from what its view has found already."""
    graph = view.graph
    operators = [node.op_type for node in graph.all_nodes()]
    found = {
        layer.node: LayerSummary(
            layer.name,
            layer.node.op_type,
            view.is_int8(layer),
            macs_of(layer, view.batch),
            weight_elements=_elements(layer.weight) if layer.is_weighted else None,
            output_elements=view.batch.elements_per_sample(layer.node.outputs[0]),
            dequantizers=_dequantizers(view, layer),
            other_name=_other_name(layer.node),
        )
        for layer in view.layers
    }
    for each in view.other_arithmetic:
        is_understood = each.kind != "unknown"
        found[each.node] = LayerSummary(
            each.name,
            each.operator,
            False,
            each.macs,
            is_understood,
            other_name=_other_name(each.node),
            quantized_inside=_quantized_inside(view, each.node),
        )
    return GraphSummary(
        graph.opset_imports.get("", 0),
        operators.count(DEQUANTIZE),
        operators.count(BATCH_NORM),
        tuple(found[node] for node in graph if node in found),
    )


def _dequantizers(view: GraphView, layer: Layer) -> tuple[str, ...]:
    nodes = (
        view.dequantize_before(layer.data),
        layer.dequantize_weight or view.dequantize_before(layer.weight),
    )
    return tuple(name_in_engine(node) for node in nodes if node is not None)


def _quantized_inside(view: GraphView, node: ir.Node) -> tuple[str, ...]:
    layers = (layer_of(each, view.weights) for each in nodes_inside(node))
    return tuple(each.name for each in layers if each is not None and view.is_int8(each))


def _other_name(node: ir.Node) -> str:
    name = name_in_engine(node)
    return "" if name == node.name else name


def macs_of(layer: Layer, batch: Batch) -> int | None:
    """Multiply-accumulates of a layer for one sample; None if the shapes do not tell.

    A sample may have several rows of the first dimension, as where tokens are folded into it
    (``batch``).
    """
    return macs_of_node(layer.node, batch.elements_per_sample)


def _elements(weight: ir.Value) -> int | None:
    dims = () if weight.shape is None else tuple(weight.shape)
    numbers = [dim for dim in dims if isinstance(dim, int)]
    return math.prod(numbers) if dims and len(numbers) == len(dims) else None
