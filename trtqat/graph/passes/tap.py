"""Where the inside of an engine can be looked at without changing how it is fused: INT8 tensors.

What a QuantizeLinear writes lies between two kernels of the engine anyway: whatever was fused
before it ends there, and whatever is fused behind it begins there. So a DequantizeLinear of its
own takes each of these tensors out, beside the one that is there and melts into the next layer.
The INT8 tensor itself would do as an output where convolutions stand in a row, but TensorRT 8.6.0
builds neither residual blocks nor attention with such outputs ("All of the candidates were
removed").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, along_axis, parameters_of
from trtqat.graph.lenses.paths import gather
from trtqat.graph.lenses.view import GraphView
from trtqat.tensors import Array

_SUFFIX = "_tapped"


@dataclass(frozen=True, eq=False)
class Tap:
    """One tensor that is taken out.

    Attributes:
        output: Name of the output that ``tap`` makes of it.
        quantizer: Name of its QuantizeLinear, or of what that writes; empty for what was an output
            of the graph before.
        layer: Name of the layer that it comes from, through activations, pooling and additions;
            the last one where several do, empty where it is the graph's input.
        scale: Float32, shape ``()`` or ``(C,)``; None for what was an output before.
        axis: The channel axis of a scale per channel, else None.
        before: Names of the outputs that ``tap`` makes of the tensors which this one is computed
            from.
    """

    output: str
    quantizer: str
    layer: str
    scale: Array | None
    axis: int | None = None
    before: tuple[str, ...] = ()

    def in_codes(self, values: Array) -> Array:
        """Values over the scale: whole numbers, the quantizer's codes less its zero-point.

        Args:
            values: Floats that the quantizer can write, as far as their type is exact.
        """
        if self.scale is None:
            return values
        scale = along_axis(self.scale, self.axis, values.ndim)
        codes: Array = np.rint(values.astype(np.float32) / scale)
        return codes


def tap(model: ir.Model) -> list[Tap]:
    """Takes out what the QuantizeLinear of every activation writes, in place.

    Args:
        model: A graph with Q/DQ; it gets further outputs, behind those that it has.

    Returns:
        What was taken out, in the graph's order, and the graph's own outputs. Quantizers with a
        scale that is computed are left out.
    """
    view = GraphView(model.graph)
    own = list(model.graph.outputs)
    quantizers: list[ir.Node] = []
    taken: dict[ir.Value, str] = {}
    # All layers and quantizers are found before the graph changes.
    for node in view.quantizers:
        if node.op_type == QUANTIZE and view.is_activation(node) and parameters_of(node).is_usable:
            quantizers.append(node)
            taken[node.outputs[0]] = f"{node.outputs[0].name}{_SUFFIX}"
    known: dict[ir.Value, tuple[str, ...] | None] = {}

    def before(value: ir.Value | None) -> tuple[str, ...]:
        """The nearest tensors that are taken out on every path to a tensor."""
        found = gather(value, lambda at: (taken[at],) if at in taken else None, _together, known)
        return found or ()

    taps = []
    for node in quantizers:
        parameters, source, codes = parameters_of(node), node.inputs[0], node.outputs[0]
        assert parameters.scale is not None
        taps.append(
            Tap(
                taken[codes],
                node.name or str(codes.name),
                _layer_before(view, source),
                parameters.scale.astype(np.float32),
                parameters.axis,
                before(source),
            )
        )
    for value in own:
        layer = _layer_before(view, value)
        taps.append(Tap(str(value.name), "", layer, None, before=before(value)))
    for node in quantizers:
        _take_out(model.graph, node, taken[node.outputs[0]])
    return taps


def _take_out(graph: ir.Graph, quantize: ir.Node, name: str) -> None:
    """Adds a DequantizeLinear with the quantizer's parameters, and its output to the graph's."""
    codes, scale = quantize.outputs[0], quantize.inputs[1]
    assert scale is not None
    kind = ir.TensorType(scale.dtype or ir.DataType.FLOAT)
    output = ir.Value(name=name, type=kind, shape=codes.shape)
    axis = quantize.attributes.get("axis")
    attributes = [] if axis is None else [ir.AttrInt64("axis", axis.as_int())]
    node = ir.Node(
        "",
        DEQUANTIZE,
        [codes, *quantize.inputs[1:]],
        attributes,
        outputs=[output],
        # Not after the node, which may have no name.
        name=name,
    )
    # At the end: TensorRT numbers what it adds to the layers, and those numbers are in the names
    # by which an engine that is built of this graph is compared with another one.
    graph.append(node)
    graph.outputs.append(output)


def _layer_before(view: GraphView, value: ir.Value | None) -> str:
    layer = view.last_layer_before(value)
    return "" if layer is None else layer.name


def _together(several: list[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in several for name in names))
