"""Pass: INT8 initializers become float ones and QuantizeLinear.

For tools that want QuantizeLinear on weights, and for TensorRT 8.6.0, which stops at an INT8
initializer of a MatMul, and at those of convolutions that it would merge. Code times scale in FP32
quantizes to the same code again, which is asserted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx_ir as ir

from trtqat.errors import ExportError
from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.moves import readers_through
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    parameters_of,
    quantize_array,
    values_of,
)
from trtqat.graph.lenses.siblings import siblings
from trtqat.graph.lenses.targets import needs_float_weight_on_8_6
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array


def make_weights_float_for_8_6(model: ir.Model) -> Changed:
    """Makes those float at which TensorRT 8.6.0 would stop, in place; counts them.

    Raises:
        ExportError: A weight would not quantize to its codes again.
    """
    needs_float = needs_float_weight_on_8_6(model.graph)
    merged = {layer.node for group in siblings(GraphView(model.graph)) for layer in group}
    return make_weights_float(model, only_for=lambda node: node in merged or needs_float(node))


def make_weights_float(
    model: ir.Model, *, only_for: Callable[[ir.Node], bool] = lambda _: True
) -> Changed:
    """Replaces INT8 initializers by float ones and QuantizeLinear, in place; counts the weights.

    Args:
        model: Any graph.
        only_for: Which nodes need it, of those that read a dequantized weight.

    Raises:
        ExportError: A weight would not quantize to its codes again (a scale so large that
            code times scale is no FP32 number).
    """
    graph = model.graph
    quantizers: dict[tuple[ir.Value, bytes, int | None], ir.Node] = {}
    for node in list(graph):
        source = node.inputs[0] if node.op_type == DEQUANTIZE and node.inputs else None
        codes = None if source is None else constant_array(source)
        if source is None or codes is None:
            continue
        parameters = parameters_of(node)
        scale = parameters.scale
        is_plain = parameters.fits(codes) and parameters.is_int8 and codes.dtype == np.int8
        if not is_plain or scale is None:
            continue
        if parameters.zero_point is None:
            continue  # QuantizeLinear without one makes UINT8
        if not any(map(only_for, _readers(node.outputs[0]))):
            continue
        key = (source, scale.tobytes(), parameters.axis)
        if key not in quantizers:
            quantizers[key] = _quantize(graph, node, codes)
        node.replace_input_with(0, quantizers[key].outputs[0])
    remove_unused(graph)
    return Changed(len(quantizers))


def _quantize(graph: ir.Graph, dequantize: ir.Node, codes: Array) -> ir.Node:
    """QuantizeLinear of the float weight of those codes, before their DequantizeLinear."""
    source = dequantize.inputs[0]
    assert source is not None
    name = str(source.name).removesuffix(".codes")
    value = add_initializer(graph, name, _float_weight(name, dequantize, codes))
    quantize = ir.Node(
        "",
        QUANTIZE,
        [value, *dequantize.inputs[1:]],
        {k: attribute for k, attribute in dequantize.attributes.items() if k == "axis"},
        name=f"{name_of(dequantize).removesuffix('/' + DEQUANTIZE)}/{QUANTIZE}",
    )
    output = quantize.outputs[0]
    output.name = f"{quantize.name}_output_0"
    output.dtype, output.shape = ir.DataType.INT8, ir.Shape(codes.shape)
    graph.insert_before(dequantize, quantize)
    return quantize


def _float_weight(name: str, dequantize: ir.Node, codes: Array) -> Array:
    parameters = parameters_of(dequantize)
    scale = parameters.scale
    assert scale is not None
    with np.errstate(over="ignore"):
        weights = values_of(codes, parameters)
    if not np.array_equal(quantize_array(weights, scale, parameters.axis), codes):
        raise ExportError(
            f"Weight '{name}' cannot be written in float: its scales go from "
            f"{scale.min():.1e} to {scale.max():.1e}, beyond what FP32 holds.",
            "Use --int8-weights.",
        )
    return weights


def _readers(weight: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a dequantized weight, seen through the Transpose of a Linear."""
    readers = readers_through(weight, ("Transpose",))
    return (node for node in readers if node.op_type != "Transpose")
