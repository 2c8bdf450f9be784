"""Why a node of the FP32 graph cannot compute in FP16, from values and not from its name.

Each rule takes a node and says in words what speaks against FP16, or nothing:

1. Type: its schema has no FP16 for it, or a float tensor of it was not measured.
2. Overflow: a tensor or constant of it exceeds FP16's 65504, less a margin.
3. Underflow: the *greatest* magnitude of a tensor is subnormal in FP16, or a constant's
   greatest element changes by more than 1 % (an epsilon of 1e-12 becomes 0).
4. Overflow inside: the operator sums before it divides or takes a root, so its own tensors
   do not show the sum. It is bounded by what was measured: count x greatest, or squared.
5. Whole numbers and angles: a Cast from integers beyond 2048, which FP16 does not tell
   apart, and Sin or Cos of an angle that FP16 rounds by more than 2^-8.
6. BatchNormalization divides by the root of every variance, so each of them matters.

Not seen: accumulators of Conv, Gemm and MatMul, which TensorRT and ONNX Runtime keep in FP32,
or in INT32 between Q/DQ; scores inside Attention, whose operands ONNX advises to scale before;
statistics of normalizations that ONNX says are FP32 (``stash_type``); and partial steps of one
activation (Gelu's cube).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.half.half_types import HalfPositions, half_positions, is_float
from trtqat.graph.half.scales import HALF_MAX, HALF_MIN
from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.pairs import PAIR

# Samples are few, and often noise: real data may be larger. Two bits cost nothing where
# activations stay below 100, as between quantizers they do.
MARGIN = 4.0
LIMIT = HALF_MAX / MARGIN
_MAX_CONSTANT_CHANGE = 0.01
_GREATEST_WHOLE = 2048
_GREATEST_ANGLE = 8.0


@dataclass(frozen=True)
class Measured:
    """What is known of the tensors of a graph.

    Attributes:
        opset: The graph's opsets by domain.
        largest: Greatest magnitude of each computed float tensor, by name.
    """

    opset: Mapping[str, int]
    largest: Mapping[str, float]

    def magnitude(self, value: ir.Value) -> float | None:
        """Greatest finite magnitude of a constant or measured tensor, None if not known."""
        array = None if value.is_graph_input() else constant_array(value)
        if array is None:
            return self.largest.get(str(value.name))
        finite = np.abs(array[np.isfinite(array)])
        return float(finite.max()) if finite.size else 0.0


def reason_against_half(node: ir.Node, measured: Measured) -> str:
    """Why a node must stay FP32; empty if it may compute in FP16.

    Args:
        node: A node with a float32 input or output.
        measured: What is known of its tensors.
    """
    positions = half_positions(node, measured.opset.get(node.domain, 0))
    if isinstance(positions, str):
        return positions
    values = _half_values(node, positions)
    if not values:
        return f"{node.op_type} takes no FP16 in this opset"
    for value in values:
        reason = _of_tensor(value, measured)
        if reason:
            return reason
    for rule in (_sum, _whole_numbers, _angle, _variance):
        reason = rule(node, measured)
        if reason:
            return reason
    return ""


def _half_values(node: ir.Node, positions: HalfPositions) -> list[ir.Value]:
    flagged = [
        *zip(node.inputs, positions.inputs, strict=True),
        *zip(node.outputs, positions.outputs, strict=True),
    ]
    # Scales have a rule of their own: scales.py.
    scales = node.inputs[1:2] if node.op_type in PAIR else ()
    return [
        value
        for value, flag in flagged
        if flag and value is not None and is_float(value) and value not in scales and value.name
    ]


def _of_tensor(value: ir.Value, measured: Measured) -> str:
    largest = measured.magnitude(value)
    if largest is None:
        return f"tensor '{value.name}' was not measured"
    is_constant = value.const_value is not None and not value.is_graph_input()
    limit = HALF_MAX if is_constant else LIMIT
    if not largest <= limit:
        return f"tensor '{value.name}' reaches {largest:.6g}, more than {limit:g}"
    half = float(np.float16(largest))
    if is_constant and abs(half - largest) > _MAX_CONSTANT_CHANGE * largest:
        return f"constant '{value.name}' is {largest:.3g} at most, which FP16 makes {half:.3g}"
    if not is_constant and 0 < largest < HALF_MIN:
        return f"tensor '{value.name}' reaches {largest:.3g} at most, below FP16's {HALF_MIN:.3g}"
    return ""


def _sum(node: ir.Node, measured: Measured) -> str:
    bound = _BOUNDS.get(node.op_type)
    stash = node.attributes.get("stash_type")
    if bound is None or (node.op_type in _STASHED and (stash is None or stash.as_int() == 1)):
        return ""
    source = node.inputs[0]
    assert source is not None
    largest, count = measured.magnitude(source) or 0.0, _summed(node)
    if count is None:
        return f"{node.op_type} of '{source.name}' sums over a dynamic dimension"
    inside = bound(largest, count)
    if inside <= LIMIT:
        return ""
    return (
        f"{node.op_type} of {count} values of '{source.name}', {largest:.6g} at most, may reach "
        f"{inside:.6g} inside, more than {LIMIT:g}"
    )


def _whole_numbers(node: ir.Node, measured: Measured) -> str:
    source = node.inputs[0] if node.op_type == "Cast" else None
    if source is None or source.dtype is None or not source.dtype.is_integer():
        return ""
    largest = measured.magnitude(node.outputs[0]) or 0.0
    if largest <= _GREATEST_WHOLE:
        return ""
    return f"'{source.name}' counts to {largest:g}; FP16 tells whole numbers apart up to 2048"


def _angle(node: ir.Node, measured: Measured) -> str:
    source = node.inputs[0] if node.op_type in ("Cos", "Sin", "Tan") else None
    largest = None if source is None else measured.magnitude(source)
    if source is None or largest is None or largest <= _GREATEST_ANGLE:
        return ""
    return f"the angle '{source.name}' reaches {largest:.6g}; FP16 rounds it too far"


def _variance(node: ir.Node, measured: Measured) -> str:
    value = node.inputs[4] if node.op_type == BATCH_NORM else None
    variance = None if value is None else constant_array(value)
    if value is None or variance is None:
        return ""
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    half = variance.astype(np.float16).astype(np.float64)
    change = np.abs(half - variance) / (variance.astype(np.float64) + epsilon)
    if not change.size or change.max() <= _MAX_CONSTANT_CHANGE:
        return ""
    return f"a variance in '{value.name}' changes by {change.max():.0%} in FP16"


def _summed(node: ir.Node) -> int | None:
    """How many values of its input one output sums; None if that is not static."""
    if "kernel_shape" in node.attributes:
        return math.prod(node.attributes["kernel_shape"].as_ints())
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    rank = source.shape.rank()
    axes = _axes(node, rank)
    dims = None if axes is None else [source.shape[axis] for axis in axes]
    if dims is None or not all(isinstance(dim, int) for dim in dims):
        return None
    return math.prod(int(dim) for dim in dims if isinstance(dim, int))


def _axes(node: ir.Node, rank: int) -> list[int] | None:
    if node.op_type in ("GlobalAveragePool", "InstanceNormalization", "GroupNormalization"):
        # A group's channels are summed as well, all of them at most.
        return list(range(1 if node.op_type.startswith("Group") else 2, rank))
    if node.op_type in ("LayerNormalization", "RMSNormalization"):
        axis = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        return list(range(axis % rank, rank))
    if node.op_type == "LpNormalization":
        return [node.attributes["axis"].as_int() if "axis" in node.attributes else -1]
    if len(node.inputs) > 1 and node.inputs[1] is not None:
        axes = constant_array(node.inputs[1])
        return None if axes is None else [int(axis) for axis in axes.flatten()]
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    keep_all = node.attributes.get("noop_with_empty_axes")
    return [] if keep_all is not None and keep_all.as_int() == 1 else list(range(rank))


def _linear(largest: float, count: int) -> float:
    return largest * count


def _square(largest: float, count: int) -> float:
    return largest**2 * count


def _exponential(largest: float, count: int) -> float:
    return count * math.exp(min(largest, 700.0))


_BOUNDS: dict[str, Callable[[float, int], float]] = {
    **dict.fromkeys(
        ("AveragePool", "GlobalAveragePool", "ReduceL1", "ReduceMean", "ReduceSum"), _linear
    ),
    **dict.fromkeys(
        (
            "GroupNormalization",
            "InstanceNormalization",
            "LayerNormalization",
            "LpNormalization",
            "MeanVarianceNormalization",
            "RMSNormalization",
            "ReduceL2",
            "ReduceSumSquare",
        ),
        _square,
    ),
    "ReduceLogSumExp": _exponential,
    "ReduceLogSum": _linear,
}
_STASHED = {"GroupNormalization", "LayerNormalization", "RMSNormalization"}
