"""Rules on the numbers of a Q/DQ pair: scale, zero-point, axis."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.lint.finding import Places, rule
from trtqat.graph.pairs import DEQUANTIZE, parameters_of, quantized_tensor, quantizer_of
from trtqat.graph.view import GraphView

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


@rule(
    "scale-computed",
    cost="refusal",
    remedy="Calibrate the quantizer and keep its range fixed; TensorRT reads constant scales.",
    example="quantizer.load_calib_amax(); quantizer.disable_calib(); quantizer.enable_quant()",
)
def scale_computed(view: GraphView) -> Places:
    """A scale that the graph computes."""
    for node in _one_of_each_pair(view):
        if parameters_of(node).scale is None:
            yield str(node.name), f"The scale of '{node.name}' is computed while the graph runs."


@rule(
    "scale-not-positive",
    cost="refusal",
    remedy="Calibrate on data on which this tensor is not all zeros; TensorRT wants scales > 0.",
    example="quantizer.amax.clamp_(min=2**-24)",
)
def scale_not_positive(view: GraphView) -> Places:
    """Zero, negative, infinite or NaN scales."""
    for node in _one_of_each_pair(view):
        scale = parameters_of(node).scale
        if scale is None:
            continue
        bad = ~(np.isfinite(scale) & (scale > 0))
        if bad.any():
            yield (
                _tensor(node, 1),
                f"Scale '{_tensor(node, 1)}' is {scale[bad].flat[0]:g} in {bad.sum()} of "
                f"{scale.size} channels."
                if scale.ndim
                else f"Scale '{_tensor(node, 1)}' is {scale:g}.",
            )


@rule(
    "scale-denormal",
    cost="accuracy",
    remedy="Raise the quantizer's amax: kernels flush denormal numbers to zero.",
    example="quantizer.amax.clamp_(min=2**-24)",
)
def scale_denormal(view: GraphView) -> Places:
    """Scales below the smallest normal FP32 number."""
    for node in _one_of_each_pair(view):
        scale = parameters_of(node).scale
        if scale is not None and ((scale > 0) & (scale < _SMALLEST_NORMAL)).any():
            yield _tensor(node, 1), f"Scale '{_tensor(node, 1)}' goes down to {scale.min():g}."


@rule(
    "zero-point-not-zero",
    cost="refusal",
    remedy="Train with a symmetric scheme: TensorRT's INT8 has no zero-point.",
    example="QConfig(activation=fake_quant.with_args(qscheme=torch.per_tensor_symmetric), ...)",
)
def zero_point_not_zero(view: GraphView) -> Places:
    """Asymmetric quantization."""
    for node in _one_of_each_pair(view):
        zero_point = parameters_of(node).zero_point
        if zero_point is not None and zero_point.any():
            first = zero_point[zero_point != 0].flat[0]
            yield str(node.name), f"The zero-point of '{node.name}' is {first}, not 0."


@rule(
    "codes-not-int8",
    cost="refusal",
    remedy="Quantize to signed 8 bits; ONNX takes a missing zero-point for UINT8.",
    example="QuantDescriptor(num_bits=8, unsigned=False)",
)
def codes_not_int8(view: GraphView) -> Places:
    """UINT8 or missing zero-points; biases have a rule of their own."""
    for node in _one_of_each_pair(view):
        zero_point = parameters_of(node).zero_point
        if zero_point is None and len(node.inputs) < 3:
            yield str(node.name), f"'{node.name}' has no zero-point, which makes its codes UINT8."
        elif zero_point is not None and zero_point.dtype not in (np.int8, np.int32):
            yield str(node.name), f"The codes of '{node.name}' are {zero_point.dtype}."


@rule(
    "pair-unequal",
    cost="accuracy",
    remedy="Let the two halves of a pair share scale, zero-point and axis.",
    example="y = (x / scale).round().clamp(-128, 127) * scale",
)
def pair_unequal(view: GraphView) -> Places:
    """QuantizeLinear and DequantizeLinear of other scales."""
    for node in view.quantizers:
        quantize = quantizer_of(node) if node.op_type == DEQUANTIZE else None
        if quantize is None:
            continue
        first, second = parameters_of(quantize), parameters_of(node)
        known = first.scale is not None and second.scale is not None
        if known and not first.equals(second):
            yield (
                str(node.name),
                f"'{node.name}' has other parameters than '{quantize.name}' before it.",
            )


@rule(
    "per-channel-activation",
    cost="refusal",
    remedy="Quantize activations per tensor; TensorRT has no kernels for anything else.",
    example="QuantDescriptor(num_bits=8, axis=None)",
)
def per_channel_activation(view: GraphView) -> Places:
    """A scale per channel on a tensor that is computed."""
    for node in _one_of_each_pair(view):
        scale = parameters_of(node).scale
        if scale is not None and scale.ndim and view.is_activation(node):
            yield (
                str(node.name),
                f"'{node.name}' has {scale.size} scales but stands on an activation.",
            )


@rule(
    "wrong-axis",
    cost="refusal",
    remedy="Quantize weights along their output channels, with an explicit axis.",
    example="QuantDescriptor(num_bits=8, axis=(0,))  # Conv2d and Linear; (1,) for ConvTranspose2d",
)
def wrong_axis(view: GraphView) -> Places:
    """Per-channel weights whose axis is missing, of another size or not the outputs'."""
    output_axes: dict[ir.Node | None, int | None] = {}
    for layer in view.layers:
        if layer.is_weighted and layer.dequantize_weight is not None:
            pair = (layer.dequantize_weight, quantizer_of(layer.dequantize_weight))
            output_axes.update(dict.fromkeys(pair, layer.weight_axis))
    for node in _one_of_each_pair(view):
        parameters = parameters_of(node)
        if parameters.scale is None or parameters.axis is None or view.is_activation(node):
            continue
        size, shape = parameters.scale.size, _shape(node)
        if shape is not None and (
            not -len(shape) <= parameters.axis < len(shape) or shape[parameters.axis] != size
        ):
            yield (
                str(node.name),
                f"'{node.name}' has {size} scales along axis {parameters.axis} of a tensor of "
                f"shape {shape}.",
            )
        elif not parameters.has_axis:
            yield (
                str(node.name),
                f"'{node.name}' writes no axis, which TensorRT 8.6 takes for 0 and ONNX for 1.",
            )
        elif output_axes.get(node) not in (None, parameters.axis):
            yield (
                str(node.name),
                f"'{node.name}' has its scales along axis {parameters.axis}; the output "
                f"channels are axis {output_axes[node]}.",
            )


@rule(
    "per-tensor-weight",
    cost="accuracy",
    severity="note",
    remedy="One scale per output channel costs nothing at run time and keeps small channels.",
    example="QuantConv2d.set_default_quant_desc_weight(QuantDescriptor(num_bits=8, axis=(0,)))",
)
def per_tensor_weight(view: GraphView) -> Places:
    """A weight with one scale for channels of very different range."""
    for layer in view.layers:
        if not layer.is_weighted or layer.dequantize_weight is None:
            continue
        scale = parameters_of(layer.dequantize_weight).scale
        if scale is not None and scale.ndim == 0 and (layer.channels or 1) > 1:
            yield layer.name, f"The weight of '{layer.name}' has one scale for all its channels."


def _one_of_each_pair(view: GraphView) -> list[ir.Node]:
    """Every QuantizeLinear, and every DequantizeLinear that has none: each pair once."""
    return [n for n in view.quantizers if n.op_type != DEQUANTIZE or quantizer_of(n) is None]


def _tensor(node: ir.Node, index: int) -> str:
    value = node.inputs[index]
    return "" if value is None else str(value.name)


def _shape(node: ir.Node) -> tuple[int | None, ...] | None:
    value = quantized_tensor(node) if node.op_type == DEQUANTIZE else node.inputs[0]
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


RULES = (
    scale_computed,
    scale_not_positive,
    scale_denormal,
    zero_point_not_zero,
    codes_not_int8,
    pair_unequal,
    per_channel_activation,
    wrong_axis,
    per_tensor_weight,
)
