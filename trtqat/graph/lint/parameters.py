"""Rules on the numbers of a Q/DQ pair: scale, zero-point, axis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.equal_codes import is_rewritten
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    producer_of,
    quantized_tensor,
    quantizer_of,
    weight_codes,
)
from trtqat.graph.lenses.targets import is_for_8_6
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.lint.finding import Advice, Places, rule
from trtqat.graph.lint.writers import advice_on_int8
from trtqat.tensors import Array

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
# A channel whose largest code is below this one has lost 3 of its 8 bits.
_FEW_CODES = 16
_REWRITTEN = Advice(
    "Nothing in the model: trtqat export writes the same numbers as TensorRT reads them.",
    "trtqat export model.onnx -o mended.onnx",
)
_OF_CONSTANTS = Advice(
    "Nothing in the model: trtqat export writes the value of the scale.",
    "trtqat export model.onnx -o mended.onnx",
)
_NEWER_CODES = (ir.DataType.FLOAT8E4M3FN.numpy(), ir.DataType.INT4.numpy())


@rule(
    "scale-computed",
    cost="refusal",
    remedy="Calibrate the quantizer and keep its range fixed; TensorRT reads constant scales.",
    example="quantizer.load_calib_amax(); quantizer.disable_calib(); quantizer.enable_quant()",
)
def scale_computed(view: GraphView) -> Places:
    """A scale that the graph computes."""
    for node in _one_of_each_pair(view):
        # Where DynamicQuantizeLinear computes it, that is an operator that TensorRT refuses.
        dynamic = producer_of(node.inputs[1], "DynamicQuantizeLinear") is not None
        if view.parameters(node).scale is not None or dynamic:
            continue
        scale = node.inputs[1]
        if scale is not None and scale in view.weights:
            problem = f"The scale of '{name_of(node)}' is computed of constants."
            yield name_of(node), problem, _OF_CONSTANTS
        else:
            yield name_of(node), f"The scale of '{name_of(node)}' is computed while the graph runs."


@rule(
    "scale-not-positive",
    cost="refusal",
    remedy="Calibrate on data on which this tensor is neither all zeros nor infinite, or give "
    "its amax a lower bound; TensorRT wants scales > 0.",
    example="quantizer.amax.clamp_(min=2**-24)",
)
def scale_not_positive(view: GraphView) -> Places:
    """Zero, negative, infinite or NaN scales."""
    for name, scale in _scales(view):
        bad = ~(np.isfinite(scale) & (scale > 0))
        if bad.any():
            yield (
                name,
                f"Scale '{name}' is {scale[bad].flat[0]:g} in {bad.sum()} of {scale.size} channels."
                if scale.ndim
                else f"Scale '{name}' is {scale:g}.",
            )


@rule(
    "scale-denormal",
    cost="accuracy",
    remedy="Raise the quantizer's amax: kernels flush denormal numbers to zero.",
    example="quantizer.amax.clamp_(min=2**-24)",
)
def scale_denormal(view: GraphView) -> Places:
    """Scales below the smallest normal FP32 number."""
    for name, scale in _scales(view):
        denormal = (scale > 0) & (scale < _SMALLEST_NORMAL)
        if denormal.any():
            yield name, f"Scale '{name}' goes down to {scale[denormal].min():g}."


@rule(
    "zero-point-not-zero",
    cost="refusal",
    remedy="Train with a symmetric scheme: TensorRT's INT8 has no zero-point.",
    example="FakeQuantize.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)",
)
def zero_point_not_zero(view: GraphView) -> Places:
    """Asymmetric INT8; other types of codes have a rule of their own."""
    for node in _one_of_each_pair(view):
        zero_point = view.parameters(node).zero_point
        if zero_point is not None and zero_point.dtype == np.int8 and zero_point.any():
            first = zero_point[zero_point != 0].flat[0]
            problem = f"The zero-point of '{name_of(node)}' is {first}, not 0."
            yield name_of(node), problem, _advice_on_codes(view, node)


@rule(
    "codes-not-int8",
    cost="refusal",
    remedy="Quantize to signed 8 bits with a zero-point of 0, and write that zero-point.",
    example="QuantDescriptor(num_bits=8, unsigned=False)",
)
def codes_not_int8(view: GraphView) -> Places:
    """Codes of another type, UINT8 above all."""
    # TensorRT 10 and later read FP8 and INT4 as well.
    newer = () if is_for_8_6(view.opset) else _NEWER_CODES
    read = {np.dtype(np.int8), *newer}
    for node in _one_of_each_pair(view):
        parameters = view.parameters(node)
        has_zero_point = len(node.inputs) > 2 and node.inputs[2] is not None
        if parameters.dtype is not None and parameters.dtype not in read:
            why = "" if has_zero_point else ", as ONNX has it without a zero-point"
            problem = f"The codes of '{name_of(node)}' are {parameters.dtype}{why}."
            yield name_of(node), problem, _advice_on_codes(view, node)


@rule(
    "zero-point-missing",
    cost="refusal",
    remedy="Nothing in the model: trtqat export writes it. Other TensorRTs do without.",
    example="trtqat export model.onnx -o written.onnx",
)
def zero_point_missing(view: GraphView) -> Places:
    """A zero-point that is missing from INT8 codes, in a graph that TensorRT 8.6 reads."""
    if not is_for_8_6(view.opset):
        return
    for node in _one_of_each_pair(view):
        has_zero_point = len(node.inputs) > 2 and node.inputs[2] is not None
        if not has_zero_point and view.parameters(node).dtype in (None, np.dtype(np.int8)):
            yield name_of(node), f"'{name_of(node)}' has no zero-point, which TensorRT 8.6 wants."


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
        first, second = view.parameters(quantize), view.parameters(node)
        known = first.scale is not None and second.scale is not None
        if known and not first.equals(second):
            yield (
                name_of(node),
                f"'{name_of(node)}' has other parameters than '{name_of(quantize)}' before it.",
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
        scale = view.parameters(node).scale
        if scale is not None and scale.ndim == 1 and view.is_activation(node):
            yield (
                name_of(node),
                f"'{name_of(node)}' has {scale.size} scales but stands on an activation.",
            )


@rule(
    "scale-in-list",
    cost="speed",
    severity="note",
    remedy="Nothing in the model: trtqat export writes the scale as a scalar. TensorRT for RTX 1.7 "
    "takes a list of one for a scale for each channel, and builds the layer in floating point.",
    example="trtqat export model.onnx -o mended.onnx",
)
def scale_in_list(view: GraphView) -> Places:
    """One scale in a list, with an axis or without, on a tensor that is computed."""
    for node in _one_of_each_pair(view):
        value = node.inputs[1]
        is_list = value is not None and value.shape is not None and tuple(value.shape) == (1,)
        if is_list and view.is_activation(node):
            yield name_of(node), f"The scale of '{name_of(node)}' is a list of one."


@rule(
    "codes-of-number",
    cost="refusal",
    remedy="Nothing in the model: trtqat export makes it a float of the same value.",
    example="trtqat export model.onnx -o mended.onnx",
)
def codes_of_number(view: GraphView) -> Places:
    """Constant INT8 codes without a dimension, as of the number that scores are divided by."""
    for node in view.quantizers:
        codes = None if node.inputs[0] is None else constant_array(node.inputs[0])
        is_number = codes is not None and codes.ndim == 0 and codes.dtype == np.int8
        if node.op_type == DEQUANTIZE and is_number:
            problem = f"'{name_of(node)}' reads the codes of a single number, without a dimension."
            yield name_of(node), problem


@rule(
    "scale-per-block",
    cost="refusal",
    remedy="Quantize per tensor or per output channel: TensorRT's INT8 has no scale for each block "
    "of a channel.",
    example="QuantDescriptor(num_bits=8, axis=(0,))",
)
def scale_per_block(view: GraphView) -> Places:
    """Several scales along one channel (opset 21's block_size)."""
    for node in _one_of_each_pair(view):
        parameters = view.parameters(node)
        if parameters.is_per_block and parameters.dtype not in _NEWER_CODES:
            yield name_of(node), f"'{name_of(node)}' has a scale for each block of values."


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
        parameters = view.parameters(node)
        if parameters.scale is None or parameters.axis is None or parameters.is_per_block:
            continue
        if view.is_activation(node):
            continue
        size, shape = parameters.scale.size, _shape(node)
        if not parameters.has_axis:
            yield (
                name_of(node),
                f"'{name_of(node)}' has {size} scales and writes no axis, which TensorRT 8.6 takes "
                "for 0 and ONNX for 1.",
            )
        elif shape is not None and (
            not -len(shape) <= parameters.axis < len(shape) or shape[parameters.axis] != size
        ):
            yield (
                name_of(node),
                f"'{name_of(node)}' has {size} scales along axis {parameters.axis} of a tensor of "
                f"shape {shape}.",
            )
        elif output_axes.get(node) not in (None, parameters.axis):
            yield (
                name_of(node),
                f"'{name_of(node)}' has its scales along axis {parameters.axis}; the output "
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
    """A weight with one scale for channels of very different range.

    Not of a ConvTranspose, for which one scale is what TensorRT takes best.
    """
    for layer in view.layers:
        dequantize, axis = layer.dequantize_weight, layer.weight_axis
        if dequantize is None or axis is None or layer.node.op_type == "ConvTranspose":
            continue
        scale, codes = view.parameters(dequantize).scale, weight_codes(dequantize)
        if scale is None or scale.ndim or codes is None or not codes.size:
            continue
        others = tuple(i for i in range(codes.ndim) if i != axis % codes.ndim)
        largest = np.abs(codes.astype(np.int32)).max(axis=others)
        poor = (largest > 0) & (largest < _FEW_CODES)
        if poor.any():
            yield (
                layer.name,
                f"The weight of '{layer.name}' has one scale for all its channels: "
                f"{poor.sum()} of {poor.size} use codes up to {largest[poor].max()} only.",
            )


def _one_of_each_pair(view: GraphView) -> list[ir.Node]:
    """Every QuantizeLinear, and every DequantizeLinear that has none: each pair once.

    Without those of biases: that a bias has one is the fault.
    """
    found = [n for n in view.quantizers if n.op_type != DEQUANTIZE or quantizer_of(n) is None]
    biases = {half for _, node in view.dequantized_biases for half in (node, quantizer_of(node))}
    return [node for node in found if node not in biases]


def _advice_on_codes(view: GraphView, node: ir.Node) -> Advice:
    return _REWRITTEN if is_rewritten(node) else advice_on_int8(view.writer)


def _scales(view: GraphView) -> Iterator[tuple[str, Array]]:
    """Every constant scale with its name; one that several nodes share once."""
    first = {node.inputs[1]: node for node in reversed(_one_of_each_pair(view))}
    for value, node in reversed(first.items()):
        scale = view.parameters(node).scale
        if scale is not None:
            yield "" if value is None else str(value.name), scale


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
    zero_point_missing,
    pair_unequal,
    per_channel_activation,
    scale_in_list,
    codes_of_number,
    scale_per_block,
    wrong_axis,
    per_tensor_weight,
)
