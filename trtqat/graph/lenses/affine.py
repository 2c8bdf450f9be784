"""Nodes that multiply and shift each channel by a constant: y = multiplier · x + offset.

A BatchNormalization in inference is one; so are Mul, Div, Add and Sub with a constant that
has one value per channel, which is how a bias stands behind MatMul and how torch.ao's
ConvBn modules undo their γ/σ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array
from trtqat.tensors import Array

BATCH_NORM = "BatchNormalization"


@dataclass(frozen=True, eq=False)
class Affine:
    """One such node, or a chain of them.

    Attributes:
        multiplier: float64 ``(C,)``.
        offset: float64 ``(C,)``.
    """

    multiplier: Array
    offset: Array

    def then(self, after: Affine) -> Affine:
        """This one first, the other one on its result."""
        with np.errstate(all="ignore"):  # whoever folds it looks whether the result is finite
            return Affine(
                self.multiplier * after.multiplier,
                self.offset * after.multiplier + after.offset,
            )


def identity(channels: int) -> Affine:
    """Changes nothing."""
    return Affine(np.ones(channels), np.zeros(channels))


def affine_of(node: ir.Node, source: ir.Value, channels: int, *, axis: int) -> Affine | None:
    """What a node does to each channel of one of its inputs.

    Args:
        node: Any node that reads ``source``.
        source: The tensor that is scaled and shifted; the other inputs must be constants.
        channels: Its number of channels.
        axis: Its channel axis, counted from the end (-1 for the last one).

    Returns:
        None if the node does something else.
    """
    if node.op_type == BATCH_NORM:
        return _batch_norm(node, source)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    position = 0 if node.inputs[0] is source else 1
    other = node.inputs[1 - position]
    constant = None if other is None else constant_array(other)
    if constant is None or not np.issubdtype(constant.dtype, np.floating):
        return None
    values = _per_channel(constant.astype(np.float64), channels, axis)
    if values is None:
        return None
    one, zero = np.ones(channels), np.zeros(channels)
    if node.op_type == "Add":
        return Affine(one, values)
    if node.op_type == "Mul":
        return Affine(values, zero)
    if position == 1:
        # constant - x is one as well; constant / x is not.
        return Affine(-one, values) if node.op_type == "Sub" else None
    if node.op_type == "Sub":
        return Affine(one, -values)
    return None if (values == 0).any() else Affine(1 / values, zero)


def _batch_norm(node: ir.Node, source: ir.Value) -> Affine | None:
    if node.inputs[0] is not source or len(node.outputs) != 1:
        return None
    training = node.attributes.get("training_mode")
    constants = [None if v is None else constant_array(v) for v in node.inputs[1:5]]
    if (training is not None and training.as_int()) or any(c is None for c in constants):
        return None
    gamma, beta, mean, variance = (np.asarray(c, np.float64) for c in constants)
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    # ONNX BatchNormalization, https://onnx.ai/onnx/operators/onnx__BatchNormalization.html
    # Of a variance below 0, or of numbers that are none: whoever folds it looks at the result.
    with np.errstate(all="ignore"):
        multiplier = gamma / np.sqrt(variance + epsilon)
        return Affine(multiplier, beta - mean * multiplier)


def _per_channel(constant: Array, channels: int, axis: int) -> Array | None:
    """``(C,)`` from a constant that broadcasts along the channel axis alone, else None."""
    if constant.size == 1 and constant.ndim <= -axis:
        return np.full(channels, constant.reshape(()))
    shape = [1] * max(constant.ndim, -axis)
    if constant.ndim < -axis or constant.shape[axis] != channels:
        return None
    shape[axis] = channels
    return constant.reshape(channels) if tuple(shape) == constant.shape else None
