"""What FP16 does to the scales and codes of Q/DQ pairs.

A weight's INT8 codes are what was trained: they stay. A scale may be rounded to FP16's
11 bits, which stretches a channel by less than 0.05 %; where FP16 has fewer bits for it, or
none, the layer stays FP32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, constant_array
from trtqat.tensors import Array

HALF_MAX = float(np.finfo(np.float16).max)
# The smallest magnitude with all 11 bits; below, a value has fewer (it is subnormal).
HALF_MIN = float(np.finfo(np.float16).smallest_normal)
# Rounding to nearest moves a normal FP16 number by 2^-11 of it at most.
MAX_SCALE_CHANGE = 2.0**-11


@dataclass(frozen=True)
class RoundedScale:
    """A scale in FP16.

    Attributes:
        array: float16, the shape of the scale.
        rounded: Number of its values that changed.
        worst_change: Greatest relative change, of the values that are in use.
        lost: In words what FP16 cannot hold; empty if it holds everything.
    """

    array: Array
    rounded: int
    worst_change: float
    lost: str


def round_scale(scale: Array, used: Array | None = None) -> RoundedScale:
    """Rounds a scale to FP16.

    Args:
        scale: float32, of any shape.
        used: Boolean, the shape of ``scale``: false for a channel whose codes are all 0.
            Nothing depends on such a scale, and a channel that died in training often has
            one near 0: it becomes a positive number that FP16 has, as TensorRT wants one.
    """
    counts = np.ones(scale.shape, bool) if used is None else used
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    half = np.where(counts, half, np.clip(scale, HALF_MIN, HALF_MAX).astype(np.float16))
    change = np.abs(half.astype(np.float64) / scale.astype(np.float64) - 1)
    change = np.where(counts, change, 0.0)
    outside = counts & ~((scale >= HALF_MIN) & (scale <= HALF_MAX))
    lost = ""
    if outside.any():
        value = float(scale[outside].min())
        lost = f"{value:.3g} is outside FP16's {HALF_MIN:.3g} to {HALF_MAX:g}"
    worst = float(change.max()) if change.size else 0.0
    return RoundedScale(half, int(((half != scale) & counts).sum()), worst, lost)


def used_channels(dequantize: ir.Node) -> Array | None:
    """Which channels of a weight have a code other than 0.

    Args:
        dequantize: A DequantizeLinear node.

    Returns:
        Boolean, one for each scale; None if the codes are not constants or not symmetric.
    """
    arrays = [None if each is None else constant_array(each) for each in dequantize.inputs]
    codes, scale, *zero_point = arrays
    if codes is None or scale is None or scale.ndim > 1:
        return None
    if any(zeros is None or zeros.any() for zeros in zero_point):
        return None
    if scale.ndim == 0:
        return np.asarray(bool(codes.any()))
    axis = _axis(dequantize, codes.ndim)
    return np.asarray(codes.any(axis=tuple(at for at in range(codes.ndim) if at != axis)))


def store_weight_codes(model: ir.Model) -> int:
    """QuantizeLinear of a float initializer becomes the INT8 codes that it gives, in place.

    In FP16 it would give others: weight and scale would both be rounded before the division,
    by up to 0.12 of a step at the code 127, and weights near a rounding border would move.

    Returns:
        Number of weights that are INT8 initializers now.
    """
    stored: dict[tuple[str, ...], ir.Value] = {}
    graph = model.graph
    count = 0
    for node in list(graph):
        if node.op_type != "QuantizeLinear" or len(node.inputs) < 3:
            continue
        weight, scale, zero_point = node.inputs[:3]
        assert weight is not None
        assert scale is not None
        arrays = [None if each is None else constant_array(each) for each in node.inputs[:3]]
        values, scales, zeros = arrays
        if values is None or scales is None or zeros is None or zeros.dtype != np.int8:
            continue
        if scales.ndim > 1 or values.dtype != np.float32 or node.outputs[0].is_graph_output():
            continue
        assert zero_point is not None
        key = (str(weight.name), str(scale.name), str(zero_point.name), str(_axis(node, 99)))
        if key not in stored:
            axis = None if scales.ndim == 0 else _axis(node, values.ndim)
            taken = f"{weight.name}.int8" in graph.initializers
            name = f"{weight.name}.int8" + (f"_{count}" if taken else "")
            stored[key] = add_initializer(graph, name, quantize(values, scales, zeros, axis))
            count += 1
        node.outputs[0].replace_all_uses_with(stored[key])
        graph.remove(node, safe=True)
        if not weight.uses() and not weight.is_graph_output() and not weight.is_graph_input():
            graph.initializers.pop(str(weight.name), None)
    return count


def quantize(values: Array, scale: Array, zero_point: Array, axis: int | None) -> Array:
    """What ONNX's QuantizeLinear computes: float32 division, rounding half to even.

    Args:
        values: float32.
        scale: float32, a scalar, or one for each position of ``axis``.
        zero_point: int8, the shape of ``scale``.
        axis: None for a scalar scale.
    """
    shape = [1] * values.ndim
    if axis is not None:
        shape[axis] = -1
    steps = np.rint(values / scale.reshape(shape)) + zero_point.reshape(shape)
    codes: Array = np.clip(steps, -128, 127).astype(np.int8)
    return codes


def _axis(node: ir.Node, rank: int) -> int:
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    return axis + rank if axis < 0 else axis
