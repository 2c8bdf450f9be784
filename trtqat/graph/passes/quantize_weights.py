"""Pass: weights become INT8 initializers, and back.

1. ``quantize_weights``: QuantizeLinear of a constant is computed now; its codes are the
   initializer that DequantizeLinear reads. They are the codes that the trained quantizer
   produced, and the file shrinks to about a quarter. What is not symmetric INT8 stays.
2. A weight that the graph computes from initializers (a weight times a BatchNorm's γ/σ, as
   in torch.ao's ConvBn modules) is computed first.
3. ``make_weights_float`` is the way back, for tools that want QuantizeLinear on weights:
   code times scale in FP32, which quantizes to the same code again. That is asserted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_ir as ir

from trtqat.errors import ExportError
from trtqat.graph.editing import (
    add_initializer,
    constant_array,
    name_of,
    remove_unused,
)
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    Parameters,
    along_axis,
    consumers_of,
    parameters_of,
    quantize_array,
)
from trtqat.graph.lenses.weights import Weights
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


@dataclass(frozen=True)
class QuantizedWeights:
    """What the pass did.

    Attributes:
        count: Weights that are INT8 initializers now.
        computed: Names of those that the graph computed from several initializers.
    """

    count: int
    computed: tuple[str, ...]


def quantize_weights(model: ir.Model) -> QuantizedWeights:
    """Replaces QuantizeLinear of constants by its codes, in place.

    Args:
        model: With Q/DQ pairs whose scales are initializers.
    """
    graph, weights_of_graph = model.graph, Weights()
    computed: list[str] = []
    # Two quantizers of equal scale on one weight have the same codes.
    stored: dict[tuple[ir.Value, bytes, int | None], ir.Value] = {}
    count = 0
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        if node.op_type != QUANTIZE or source is None or source not in weights_of_graph:
            continue
        parameters = parameters_of(node)
        constant = constant_array(source)
        weights = _evaluate(graph, source) if constant is None else constant
        if not _is_plain(parameters, weights) or node.outputs[0].is_graph_output():
            continue
        assert parameters.scale is not None
        key = (source, parameters.scale.tobytes(), parameters.axis)
        if key not in stored:
            if constant is None:
                computed.append(str(source.name))
            codes = quantize_array(weights, parameters.scale, parameters.axis)
            name = source.name if source.is_initializer() else name_of(node)
            stored[key] = add_initializer(graph, f"{name}.codes", codes)
        node.outputs[0].replace_all_uses_with(stored[key])
        count += 1
    remove_unused(graph)
    return QuantizedWeights(count, tuple(computed))


def make_weights_float(
    model: ir.Model, *, only_for: Callable[[ir.Node], bool] = lambda _: True
) -> int:
    """Replaces INT8 initializers by float ones and QuantizeLinear, in place.

    Args:
        model: Any graph.
        only_for: Which nodes need it, of those that read a dequantized weight.

    Returns:
        Number of weights.

    Raises:
        ExportError: A weight would not quantize to its codes again (a scale so large that
            code times scale is no FP32 number).
    """
    graph = model.graph
    quantizers: dict[tuple[ir.Value, bytes, int | None], ir.Node] = {}
    for node in list(graph):
        source = node.inputs[0] if node.inputs else None
        codes = None if source is None else constant_array(source)
        if node.op_type != DEQUANTIZE or source is None or codes is None:
            continue
        parameters = parameters_of(node)
        scale = parameters.scale
        if codes.dtype != np.int8 or not _is_plain(parameters, codes) or scale is None:
            continue
        if parameters.zero_point is None:
            continue  # QuantizeLinear without one makes UINT8
        if not any(map(only_for, _readers(node.outputs[0]))):
            continue
        key = (source, scale.tobytes(), parameters.axis)
        if key not in quantizers:
            steps = along_axis(scale, parameters.axis, codes.ndim)
            with np.errstate(over="ignore"):
                weights = codes.astype(np.float32) * steps
            name = str(source.name).removesuffix(".codes")
            if not np.array_equal(quantize_array(weights, scale, parameters.axis), codes):
                raise ExportError(
                    f"Weight '{name}' cannot be written in float: its scales go from "
                    f"{scale.min():.1e} to {scale.max():.1e}, beyond what FP32 holds.",
                    "Use --int8-weights.",
                )
            value = add_initializer(graph, name, weights)
            quantize = ir.Node(
                "",
                QUANTIZE,
                [value, *node.inputs[1:]],
                {k: attribute for k, attribute in node.attributes.items() if k == "axis"},
                name=f"{name_of(node).removesuffix('/' + DEQUANTIZE)}/{QUANTIZE}",
            )
            codes_value = quantize.outputs[0]
            codes_value.name = f"{quantize.name}_output_0"
            codes_value.dtype, codes_value.shape = ir.DataType.INT8, ir.Shape(codes.shape)
            graph.insert_before(node, quantize)
            quantizers[key] = quantize
        node.replace_input_with(0, quantizers[key].outputs[0])
    remove_unused(graph)
    return len(quantizers)


def _readers(weight: ir.Value) -> Iterator[ir.Node]:
    """The nodes that read a dequantized weight, seen through the Transpose of a Linear."""
    forms = [weight]
    for form in forms:
        for node in consumers_of(form):
            if node.op_type == "Transpose":
                forms.append(node.outputs[0])
            else:
                yield node


def _is_plain(parameters: Parameters, array: Array) -> bool:
    """Whether the codes are INT8 with zero-points of 0 and positive scales that fit the array.

    Any other weight is left as it is: lint has a rule for each of them.
    """
    return parameters.fits(array) and parameters.is_int8


def _evaluate(graph: ir.Graph, value: ir.Value) -> Array:
    """Computes a tensor that depends on initializers only.

    Not with onnx's reference evaluator: that has no DequantizeLinear before opset 19, and a
    weight may come from INT8 codes through a Transpose (onnxruntime.quantization writes that).
    """
    subgraph = ir.convenience.extract(graph, [], [value])
    model = ir.Model(subgraph, ir_version=8)
    proto: onnx.ModelProto = ir.to_proto(model)
    with contextlib.closing(OnnxModel(proto.SerializeToString(), as_written=True)) as computed:
        (result,) = computed.session(0).run({}).values()
    return np.asarray(result, np.float32)
