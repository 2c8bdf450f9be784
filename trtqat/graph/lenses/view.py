"""A graph as the rules look at it: layers, pairs, and what stands before and behind."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import onnx_ir as ir

from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.arithmetic import Arithmetic, other_arithmetic
from trtqat.graph.lenses.basics import Readers, is_constant
from trtqat.graph.lenses.batch import Batch
from trtqat.graph.lenses.fold_plan import KeptBatchNorm, why_kept
from trtqat.graph.lenses.grids import Grids
from trtqat.graph.lenses.layers import Layer, bias_of, layers_of, move_of_weight
from trtqat.graph.lenses.mac_formulas import macs_of_node
from trtqat.graph.lenses.moves import ONNX_DOMAINS, keeps_codes, moves_values
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    PAIR,
    QUANTIZE,
    Parameters,
    consumers_of,
    has_constant_codes,
    is_dequantized,
    is_plain_int8,
    parameters_of,
    producer_of,
    quantized_tensor,
    quantizer_of,
)
from trtqat.graph.lenses.paths import follow, gather
from trtqat.graph.lenses.shortcuts import Shortcuts
from trtqat.graph.lenses.weights import Weights

ACTIVATIONS = frozenset(
    {"Relu", "Clip", "LeakyRelu", "PRelu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Elu"}
)
# What TensorRT can run on INT8 tensors besides the weighted layers (facts of its
# documentation, "Explicit Quantization: Q/DQ layer-placement recommendations").
TAKES_INT8 = frozenset({"Add", "Mul", "Concat", "AveragePool", "GlobalAveragePool", "ReduceMean"})


def reads_data(node: ir.Node) -> bool:
    """Whether a node reads a tensor's numbers, not how large it is, whatever type it has."""
    return node.op_type not in ("Shape", "Size")


def passes_on(node: ir.Node) -> bool:
    """Whether a pair behind a node still quantizes what stands before the node.

    Besides what moves values these are activations, and a Resize of any mode: TensorRT for RTX was
    seen to compute a product, a bilinear Resize and the codes in one kernel.
    """
    changes = node.op_type in ACTIVATIONS or node.op_type == "Resize"
    return moves_values(node) or (changes and node.domain in ONNX_DOMAINS)


def fuses(node: ir.Node) -> bool:
    """Whether a node moves values, or is an activation, which TensorRT fuses with a layer."""
    return moves_values(node) or node.op_type in ACTIVATIONS


def has_hidden_parameters(batch_norm: ir.Node) -> bool:
    """Whether the parameters of a BatchNorm come through Identity nodes."""
    return any(producer_of(value, "Identity") is not None for value in batch_norm.inputs[1:])


class GraphView:
    """Answers the questions of the rules.

    What is found on the way back from a tensor is kept, so that all answers together cost as much
    as the graph is large, however many rules ask.

    Attributes:
        graph: The graph; the rules do not change it.
        weights: Its weights.
        grids: On which grids its tensors lie.
        writer: The tool that wrote it, as the file says; empty if it does not.
        target: The TensorRT that it is for, as ``"rtx"``; empty for any.
    """

    def __init__(self, graph: ir.Graph, writer: str = "", target: str = "") -> None:
        self.graph = graph
        self.weights = Weights()
        self.grids = Grids()
        self._parameters: dict[ir.Node, Parameters] = {}
        self._dequantize_before: dict[ir.Value, ir.Node | None] = {}
        self._last_layer_before: dict[ir.Value, Layer | None] = {}
        self._layer_before: dict[bool, dict[ir.Value, Layer | None]] = {False: {}, True: {}}
        self.writer = writer
        self.target = target

    @property
    def opset(self) -> int:
        """The graph's opset, which says which TensorRT it is for (``targets``)."""
        return self.graph.opset_imports.get("", 0)

    @cached_property
    def layers(self) -> list[Layer]:
        """Every Conv, ConvTranspose, Gemm and MatMul in the graph's order."""
        return layers_of(self.graph, self.weights)

    @cached_property
    def positions(self) -> dict[Layer, int]:
        """The place of every layer in the graph's order."""
        return {layer: position for position, layer in enumerate(self.layers)}

    @cached_property
    def batch(self) -> Batch:
        """What the graph says of its batch."""
        return Batch(self.graph)

    @cached_property
    def counted(self) -> Readers:
        """Who reads each tensor, to be asked without a look at all of them."""
        return Readers(self.graph)

    @cached_property
    def other_arithmetic(self) -> list[Arithmetic]:
        """What multiplies besides the layers, in the graph's order."""
        return other_arithmetic(self.graph, self.batch.elements_per_sample, self.counted)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, of all whose shapes are known."""
        per_sample = self.batch.elements_per_sample
        layers = sum(macs_of_node(layer.node, per_sample) or 0 for layer in self.layers)
        return layers + sum(each.macs or 0 for each in self.other_arithmetic)

    @cached_property
    def layer_by_output(self) -> dict[ir.Value, Layer]:
        """Layers by the tensor that they make."""
        return {layer.node.outputs[0]: layer for layer in self.layers}

    @cached_property
    def quantizers(self) -> list[ir.Node]:
        """Every QuantizeLinear and DequantizeLinear node in the graph's order."""
        return [node for node in self.graph if node.op_type in PAIR]

    @cached_property
    def activation_pairs(self) -> list[tuple[ir.Node, ir.Node]]:
        """QuantizeLinear and DequantizeLinear of every pair on a computed tensor."""
        pairs = []
        for node in self.quantizers:
            quantize = quantizer_of(node) if node.op_type == DEQUANTIZE else None
            source = None if quantize is None else quantize.inputs[0]
            if quantize is not None and source is not None and source not in self.weights:
                pairs.append((quantize, node))
        return pairs

    @cached_property
    def dequantized_biases(self) -> list[tuple[Layer, ir.Node]]:
        """Layers whose bias comes out of DequantizeLinear: an input, or an Add behind a MatMul."""
        found = []
        for layer in self.layers:
            values = [bias_of(layer.node)]
            if layer.node.op_type == "MatMul":
                readers = consumers_of(layer.node.outputs[0])
                values = [v for node in readers if node.op_type == "Add" for v in node.inputs]
            nodes = [producer_of(value, DEQUANTIZE) for value in values]
            found += [(layer, n) for n in nodes if n is not None and not self.is_activation(n)]
        return found

    @cached_property
    def batch_norms_behind_layers(self) -> list[KeptBatchNorm]:
        """BatchNorms behind a quantized layer, with why they are there, if that is their fault.

        It is that of a pair before them, or of Identity nodes before their parameters, where these
        are; and in a network of pre-activations a shortcut reads what they do.
        """
        shortcuts = Shortcuts(self.graph)
        found = [
            why_kept(node, self.counted, self.weights)
            for node in self.graph
            if node.op_type == BATCH_NORM
            and not is_dequantized(node.inputs[0])
            and not shortcuts.leave_beside(node)
            and not has_hidden_parameters(node)
        ]
        return [kept for kept in found if kept.behind]

    def parameters(self, node: ir.Node) -> Parameters:
        """Those of a QuantizeLinear or DequantizeLinear node."""
        if node not in self._parameters:
            self._parameters[node] = parameters_of(node)
        return self._parameters[node]

    def is_activation(self, node: ir.Node) -> bool:
        """Whether a QuantizeLinear or DequantizeLinear stands on a computed tensor."""
        value = node.inputs[0] if node.op_type == QUANTIZE else quantized_tensor(node)
        return value is not None and value not in self.weights

    def dequantize_before(self, value: ir.Value | None) -> ir.Node | None:
        """The DequantizeLinear that a tensor comes from, seen through commuting nodes.

        A Pad with zeros is among them, and a Concat of what comes directly out of equal pairs:
        TensorRT for RTX was seen to run the layer behind either in INT8.
        """

        def step(current: ir.Value) -> tuple[ir.Node | None, ir.Value | None]:
            node = current.producer()
            if node is None or node.op_type == DEQUANTIZE:
                return node, None
            passes = keeps_codes(node) or self._joins_equal(node)
            return None, node.inputs[0] if passes else None

        return follow(value, step, self._dequantize_before)

    def _joins_equal(self, node: ir.Node) -> bool:
        """Whether a Concat joins tensors of equal pairs, so that the whole has their codes."""
        if node.op_type != "Concat":
            return False
        pairs = [producer_of(value, DEQUANTIZE) for value in node.inputs]
        keys = {None if pair is None else self.parameters(pair).key for pair in pairs}
        return len(keys) == 1 and None not in keys

    def layer_before(self, value: ir.Value | None, *, activations: bool = False) -> Layer | None:
        """The layer that makes a tensor, seen through its bias and BatchNorm.

        Args:
            value: The tensor.
            activations: See through activations as well.
        """

        def step(current: ir.Value) -> tuple[Layer | None, ir.Value | None]:
            if current in self.layer_by_output:
                return self.layer_by_output[current], None
            node = current.producer()
            if node is None:
                return None, None
            computed = [v for v in node.inputs if v is not None and not is_constant(v)]
            transparent = node.op_type == BATCH_NORM or (
                node.op_type in ("Add", "Sub", "Mul", "Div") and len(computed) == 1
            )
            if not transparent and not (activations and node.op_type in ACTIVATIONS):
                return None, None
            return None, computed[0] if computed else None

        return follow(value, step, self._layer_before[activations])

    def last_layer_before(self, value: ir.Value | None) -> Layer | None:
        """The last in the graph's order of the nearest layers on every path back from a tensor."""
        return gather(
            value,
            self.layer_by_output.get,
            lambda layers: max(layers, key=self.positions.__getitem__),
            self._last_layer_before,
        )

    def forms(
        self, value: ir.Value, through: Callable[[ir.Node], bool] = moves_values
    ) -> list[ir.Value]:
        """A tensor and what some nodes make of it.

        Args:
            value: The tensor.
            through: Which nodes are looked through; those that only move values if not given.
        """
        found = [value]
        for form in found:
            for node in consumers_of(form):
                if node.inputs[0] is form and through(node):
                    found.extend(node.outputs if node.op_type == "Split" else node.outputs[:1])
        return found

    def readers(
        self, value: ir.Value, through: Callable[[ir.Node], bool] = moves_values
    ) -> list[ir.Node]:
        """The nodes that read a tensor and are not looked through, each once."""
        forms = self.forms(value, through)
        passed = {form.producer() for form in forms[1:]}
        nodes = dict.fromkeys(node for form in forms for node in consumers_of(form))
        return [node for node in nodes if node not in passed]

    def is_quantized_later(self, value: ir.Value) -> bool:
        """Whether a pair behind a tensor, or behind what passes it on, quantizes it."""
        return any(node.op_type == QUANTIZE for node in self.readers(value, passes_on))

    def is_output(self, value: ir.Value) -> bool:
        """Whether a tensor, or what passes it on, leaves the graph."""
        return any(form.is_graph_output() for form in self.forms(value, passes_on))

    def takes_int8(self, node: ir.Node) -> bool:
        """Whether a node computes on INT8 tensors; a sum or product with a constant does not."""
        if node.op_type not in ("Add", "Mul"):
            # Not by its operands: thousands of pairs may ask of the same Concat.
            return node.op_type in TAKES_INT8
        return sum(value is not None and not is_constant(value) for value in node.inputs) > 1

    def is_one_sided(self, layer: Layer) -> bool:
        """Whether one operand of a layer comes from INT8, and the other one does not."""
        return self.has_int8_data(layer) != self.has_int8_weight(layer)

    def is_quantized(self, layer: Layer) -> bool:
        """Whether both operands of a layer come from INT8."""
        return self.has_int8_data(layer) and self.has_int8_weight(layer)

    def is_int8(self, layer: Layer) -> bool:
        """Whether TensorRT can run a layer in INT8, as far as its operands' pairs tell.

        Both come from INT8 codes with zero-point 0 and constant scales; the data's are per tensor,
        and nothing but a Linear's Transpose stands between the weight and its pair.
        """
        data = self.dequantize_before(layer.data)
        weight = layer.dequantize_weight or self.dequantize_before(layer.weight)
        return (
            data is not None
            and weight is not None
            and move_of_weight(layer, self.weights) is None
            and is_plain_int8(data, per_channel=has_constant_codes(data))
            and is_plain_int8(weight, per_channel=layer.is_weighted)
        )

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
