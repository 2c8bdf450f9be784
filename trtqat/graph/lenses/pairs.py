"""What a graph's Q/DQ pairs say: who quantizes a tensor, with which scale, to which codes.

Weights come in two forms, and both are read here: a float initializer through
QuantizeLinear and DequantizeLinear, or an INT8 initializer straight into DequantizeLinear.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array
from trtqat.tensors import Array

QUANTIZE = "QuantizeLinear"
DEQUANTIZE = "DequantizeLinear"
PAIR = (QUANTIZE, DEQUANTIZE)
# Types of codes whose meaning is computed here; TensorRT's are INT8.
CODE_TYPES = tuple(map(np.dtype, (np.int8, np.uint8, np.int16, np.uint16)))


@dataclass(frozen=True, eq=False)
class Parameters:
    """Scale, zero-point and axis of a QuantizeLinear or DequantizeLinear node.

    Attributes:
        scale: Shape ``()`` per tensor, ``(C,)`` per channel; None if it is computed.
        zero_point: Same shape; None where the node has none or computes it.
        axis: The channel axis, counted from the front where the tensor's rank is known; None
            per tensor. A node without the attribute has ONNX's default, 1.
        has_axis: Whether the node writes its axis.
        dtype: Of the codes; None if it is not known.
        saturates: Whether codes stay within their type's limits, which FP8 may leave.
    """

    scale: Array | None
    zero_point: Array | None
    axis: int | None
    has_axis: bool
    dtype: np.dtype[np.generic] | None
    saturates: bool = True

    def equals(self, other: Parameters) -> bool:
        """Whether both are known to map the same numbers to the same codes."""
        if self.scale is None or other.scale is None or self.axis != other.axis:
            return False
        return (
            np.array_equal(self.scale, other.scale, equal_nan=True)
            and self.dtype is not None
            and self.dtype == other.dtype
            and self.saturates == other.saturates
            and np.array_equal(_or_zero(self.zero_point), _or_zero(other.zero_point))
        )

    @property
    def key(self) -> Hashable | None:
        """What is equal for those that ``equals`` calls so; None if they are not known."""
        if self.scale is None or self.dtype is None:
            return None
        # As float64, where -0 becomes 0 and every NaN the same.
        scale = self.scale.astype(np.float64) + 0.0
        scale = np.where(np.isnan(scale), np.nan, scale)
        zero_point = _or_zero(self.zero_point).astype(np.float64) + 0.0
        numbers = scale.shape, scale.tobytes(), zero_point.tobytes()
        return self.axis, self.dtype, self.saturates, *numbers

    def fits(self, array: Array) -> bool:
        """Whether an array can be quantized with the scale."""
        if not self.is_usable or self.scale is None or self.axis is None:
            return self.is_usable
        in_range = -array.ndim <= self.axis < array.ndim
        return in_range and self.scale.shape == (array.shape[self.axis],)

    @property
    def is_per_block(self) -> bool:
        """Whether there are several scales along one channel, as opset 21 has them."""
        return self.scale is not None and self.scale.ndim > 1

    @property
    def is_int8(self) -> bool:
        """Whether the codes are known to be INT8 with zero-points of 0, as TensorRT's are."""
        return self.dtype == np.int8 and not _or_zero(self.zero_point).any()

    @property
    def is_usable(self) -> bool:
        """Whether the scale is known and a positive number everywhere."""
        return self.scale is not None and bool((np.isfinite(self.scale) & (self.scale > 0)).all())


def parameters_of(node: ir.Node) -> Parameters:
    """Reads a QuantizeLinear or DequantizeLinear node."""
    scale = _constant_input(node, 1)
    if scale is not None and scale.size == 1:
        scale = scale.reshape(())
    per_channel = scale is not None and scale.ndim > 0
    has_axis = "axis" in node.attributes
    axis = (node.attributes["axis"].as_int() if has_axis else 1) if per_channel else None
    source = node.inputs[0]
    if axis is not None and axis < 0 and source is not None and source.shape is not None:
        axis += len(source.shape)
    zero_point = _constant_input(node, 2)
    dtype = _dtype_of_codes(node, zero_point)
    saturate = node.attributes.get("saturate")
    saturates = saturate is None or saturate.as_int() != 0
    return Parameters(scale, zero_point, axis, has_axis, dtype, saturates)


def is_dequantized(value: ir.Value | None) -> bool:
    """Whether a tensor comes out of DequantizeLinear."""
    return producer_of(value, DEQUANTIZE) is not None


def producer_of(value: ir.Value | None, op_type: str) -> ir.Node | None:
    """The node that makes a tensor if it is of that operator."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == op_type else None


def consumers_of(value: ir.Value) -> tuple[ir.Node, ...]:
    """The nodes that read a tensor, each once."""
    return tuple(dict.fromkeys(use.node for use in value.uses()))


def quantizer_of(dequantize: ir.Node) -> ir.Node | None:
    """The QuantizeLinear of a pair; None where codes come from an initializer or an input."""
    return producer_of(dequantize.inputs[0], QUANTIZE)


def quantized_tensor(dequantize: ir.Node) -> ir.Value | None:
    """What a pair quantizes: a float tensor, or the INT8 initializer itself."""
    quantize = quantizer_of(dequantize)
    return dequantize.inputs[0] if quantize is None else quantize.inputs[0]


def has_constant_codes(dequantize: ir.Node) -> bool:
    """Whether the codes are an initializer, or QuantizeLinear makes them of one."""
    tensor = quantized_tensor(dequantize)
    return tensor is not None and ir.convenience.get_const_tensor(tensor) is not None


def is_plain_int8(dequantize: ir.Node, *, per_channel: bool) -> bool:
    """Whether TensorRT reads a pair as INT8: zero-point 0, a constant scale, nothing inside.

    Args:
        dequantize: The half that reads the codes.
        per_channel: Whether there may be a scale for each channel.
    """
    quantize, source = quantizer_of(dequantize), dequantize.inputs[0]
    halves = [dequantize] if quantize is None else [quantize, dequantize]
    if source is None or any(node.domain not in ("", "ai.onnx") for node in halves):
        return False
    if quantize is None and source.producer() is not None and not has_constant_codes(dequantize):
        return False  # something else computes the codes
    for parameters in map(parameters_of, halves):
        scale = parameters.scale
        if not parameters.is_int8 or not parameters.is_usable or scale is None:
            return False
        if scale.ndim > (1 if per_channel else 0):
            return False
    return True


def weight_codes(dequantize: ir.Node) -> Array | None:
    """The codes that a DequantizeLinear of a constant weight reads.

    Returns:
        Of the weight's shape, int8 unless the pair has another type; None if the codes are not
        constant, or if there are none (a scale that is not positive, or that does not fit).
    """
    source = dequantize.inputs[0]
    return None if source is None else constant_codes(source)


def constant_codes(value: ir.Value) -> Array | None:
    """Codes that are an initializer, or that QuantizeLinear makes of one.

    Args:
        value: What holds them.

    Returns:
        Of the tensor's shape; None if they are not constant, or if there are none (a scale that is
        not positive, or that does not fit).
    """
    codes = constant_array(value)
    if codes is not None:
        return codes
    quantize = producer_of(value, QUANTIZE)
    if quantize is None or quantize.inputs[0] is None:
        return None
    weights = constant_array(quantize.inputs[0])
    return None if weights is None else codes_of(weights, parameters_of(quantize))


def values_of(codes: Array, parameters: Parameters) -> Array:
    """What DequantizeLinear makes of codes: code less zero-point, times scale, in FP32.

    Args:
        codes: Integers, any shape.
        parameters: Of the node; the scale is known and fits.

    Returns:
        float32 of the shape of ``codes``.
    """
    assert parameters.scale is not None
    zero_point = np.zeros((), np.int8) if parameters.zero_point is None else parameters.zero_point
    offset = along_axis(zero_point.astype(np.float32), parameters.axis, codes.ndim)
    steps = along_axis(parameters.scale, parameters.axis, codes.ndim)
    values: Array = (codes.astype(np.float32) - offset) * steps
    return values


def codes_of(values: Array, parameters: Parameters) -> Array | None:
    """The codes that QuantizeLinear makes of a constant, of the type that it makes.

    Args:
        values: Float32, any shape.
        parameters: Of the node.

    Returns:
        Codes of 8 or 16 bits; None if they are of another type or none, as where the scale is
        computed, not positive or does not fit.
    """
    scale, dtype = parameters.scale, parameters.dtype
    if scale is None or dtype is None or not parameters.fits(values):
        return None
    if dtype == np.int8 and not _or_zero(parameters.zero_point).any():
        return quantize_array(values, scale, parameters.axis)
    if dtype not in CODE_TYPES:
        return None
    zero_point = np.zeros((), dtype) if parameters.zero_point is None else parameters.zero_point
    if zero_point.size not in (1, scale.size):
        return None
    offset = along_axis(zero_point.astype(np.float64), parameters.axis, values.ndim)
    steps = along_axis(np.asarray(scale, np.float32), parameters.axis, values.ndim)
    with np.errstate(over="ignore"):
        codes = np.rint(np.asarray(values, np.float32) / steps) + offset
    saturated: Array = np.clip(codes, *limits_of(dtype)).astype(dtype)
    return saturated


def limits_of(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The lowest and the highest code of an integer type."""
    limits = np.iinfo(dtype)
    return int(limits.min), int(limits.max)


def quantize_array(values: Array, scale: Array, axis: int | None) -> Array:
    """What QuantizeLinear computes: divided in FP32, rounded half to even, saturated.

    Args:
        values: Float32, any shape.
        scale: ``()`` or ``(values.shape[axis],)``.
        axis: The channel axis, or None.

    Returns:
        int8 of the shape of ``values``.
    """
    steps = along_axis(np.asarray(scale, np.float32), axis, values.ndim)
    # What is NaN has no code; lint and export name it.
    with np.errstate(over="ignore", invalid="ignore"):
        codes = np.rint(np.asarray(values, np.float32) / steps)
        return np.clip(codes, -128, 127).astype(np.int8)


def along_axis(per_channel: Array, axis: int | None, rank: int) -> Array:
    """Shapes ``(C,)`` so that it broadcasts along an axis of a tensor of that rank."""
    if per_channel.ndim == 0 or axis is None:
        return per_channel
    shape = [1] * rank
    shape[axis] = -1
    return per_channel.reshape(shape)


def _constant_input(node: ir.Node, index: int) -> Array | None:
    value = node.inputs[index] if len(node.inputs) > index else None
    return None if value is None else constant_array(value)


def _dtype_of_codes(node: ir.Node, zero_point: Array | None) -> np.dtype[np.generic] | None:
    if zero_point is not None:
        return zero_point.dtype
    if len(node.inputs) > 2 and node.inputs[2] is not None:
        return None  # a zero-point that the graph computes
    if node.op_type == DEQUANTIZE:
        quantize = quantizer_of(node)
        if quantize is not None:
            return _dtype_of_codes(quantize, _constant_input(quantize, 2))
        codes = node.inputs[0]
        return None if codes is None or codes.dtype is None else codes.dtype.numpy()
    # ONNX: without a zero-point the codes are uint8, from opset 21 on those of an attribute.
    written = node.attributes.get("output_dtype")
    number = 0 if written is None else written.as_int()
    return ir.DataType(number).numpy() if number else np.dtype(np.uint8)


def _or_zero(zero_point: Array | None) -> Array:
    return np.zeros(1, np.uint8) if zero_point is None else zero_point.reshape(-1)
