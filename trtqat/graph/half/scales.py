"""What FP16 does to the scales of Q/DQ pairs.

A weight's INT8 codes are what was trained: they stay. A scale may be rounded to FP16's
11 bits, which stretches a channel by less than 0.05 %; where FP16 has fewer bits for it, or
none, the layer stays FP32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array
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
        Boolean, the shape of the scale; None if the codes are not constants or not symmetric.
    """
    arrays = [None if each is None else constant_array(each) for each in dequantize.inputs]
    codes, scale, *zero_point = arrays
    if codes is None or scale is None or scale.ndim > 1:
        return None
    if any(zeros is None or zeros.any() for zeros in zero_point):
        return None
    if scale.size == 1:  # per tensor, also with a shape of (1,)
        return np.full(scale.shape, codes.any())
    axis = _axis(dequantize, codes.ndim)
    return np.asarray(codes.any(axis=tuple(at for at in range(codes.ndim) if at != axis)))


def _axis(node: ir.Node, rank: int) -> int:
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    return axis + rank if axis < 0 else axis
