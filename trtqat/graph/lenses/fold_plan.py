"""Whether a BatchNorm can go into the layer before it, and with which numbers; changes nothing.

``fold_batch_norm`` writes what is planned here, lint asks why a BatchNorm is still in a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.affine import Affine, affine_of, identity
from trtqat.graph.lenses.basics import Readers, constant_array, is_constant, name_of
from trtqat.graph.lenses.layers import Layer, bias_of, layer_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.lenses.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    along_axis,
    parameters_of,
    weight_codes,
)
from trtqat.graph.lenses.weights import Weights
from trtqat.tensors import Array

Cause = Literal["shared", "code", "codes", "axis", "other"]

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class KeptBatchNorm:
    """A BatchNorm that stays in the graph.

    Attributes:
        name: Of its node.
        reason: Why, as the end of a sentence; empty if it could be folded.
        behind: The quantized layer that it follows and keeps from running at full speed;
            empty if there is none.
        cause: What kind of reason it is: ``shared``, another node reads the layer's output too;
            ``code``, a code without a negative; ``codes``, codes that are not INT8, or what makes
            them, which lint names itself; ``axis``, scales along another one; or ``other``.
    """

    name: str
    reason: str
    behind: str = ""
    cause: Cause = "other"


@dataclass(frozen=True, eq=False)
class FoldPlan:
    """What a fold will write.

    Attributes:
        layer: The quantized layer that takes the BatchNorm in.
        chain: The nodes behind it, up to the BatchNorm, that will go.
        codes: int8, the weight's codes: the trained ones, negated or zeroed by channel.
        scale: float32 ``(C,)``.
        bias: float32 ``(C,)``.
        negated: bool ``(C,)``: channels whose multiplier is negative.
        constant: bool ``(C,)``: channels whose multiplier is 0.
    """

    layer: Layer
    chain: list[ir.Node]
    codes: Array
    scale: Array
    bias: Array
    negated: Array
    constant: Array


class CannotFoldError(Exception):
    """Carries the reason, and the layer's name where the BatchNorm stands behind one."""

    def __init__(self, reason: str, behind: str = "", cause: Cause = "other") -> None:
        super().__init__(reason)
        self.reason = reason
        self.behind = behind
        self.cause: Cause = cause


def plan_fold(batch_norm: ir.Node, readers: Readers, weights: Weights) -> FoldPlan:
    """Plans the fold of a BatchNorm.

    Args:
        batch_norm: The node.
        readers: Those of its graph.
        weights: Those of its graph.

    Raises:
        CannotFoldError: It cannot be folded exactly.
    """
    layer, chain = _chain_before(batch_norm, readers, weights)
    return _plan(layer, chain)


def why_kept(node: ir.Node, readers: Readers, weights: Weights) -> KeptBatchNorm:
    """Why a BatchNorm is still in a graph; no reason if it could be folded. Changes nothing."""
    try:
        plan = plan_fold(node, readers, weights)
    except CannotFoldError as refusal:
        return KeptBatchNorm(name_of(node), refusal.reason, refusal.behind, refusal.cause)
    return KeptBatchNorm(name_of(node), "", plan.layer.name)


def _chain_before(node: ir.Node, readers: Readers, weights: Weights) -> tuple[Layer, list[ir.Node]]:
    """The quantized layer before a BatchNorm, and the nodes from it up to the BatchNorm."""
    chain = [node]
    value = node.inputs[0]
    while value is not None:
        producer = value.producer()
        if producer is None:
            raise CannotFoldError("it stands on an input of the graph, before any layer")
        layer = layer_of(producer, weights)
        if layer is not None:
            _check_layer(layer, weights)
            _check_unshared(value, chain[-1], layer.name, readers)
            return layer, chain[::-1]
        if producer.op_type == DEQUANTIZE:
            raise CannotFoldError(
                "a Q/DQ pair stands before it", _layer_behind_pair(producer, weights)
            )
        if producer.op_type not in ("Add", "Sub", "Mul", "Div"):
            raise CannotFoldError(f"it stands behind {producer.op_type}, not behind a layer")
        _check_unshared(value, chain[-1], "", readers)
        chain.append(producer)
        computed = [v for v in producer.inputs if v is not None and not is_constant(v)]
        if len(computed) != 1:
            raise CannotFoldError(f"it stands behind {producer.op_type} of two tensors")
        value = computed[0]
    raise CannotFoldError("it has no input")


def _layer_behind_pair(dequantize: ir.Node, weights: Weights) -> str:
    quantize = dequantize.inputs[0].producer() if dequantize.inputs[0] is not None else None
    if quantize is None or quantize.op_type != QUANTIZE or quantize.inputs[0] is None:
        return ""
    producer = quantize.inputs[0].producer()
    layer = None if producer is None else layer_of(producer, weights)
    return "" if layer is None else layer.name


def _check_layer(layer: Layer, weights: Weights) -> None:
    behind = weights.first_move(layer.weight)
    if layer.dequantize_weight is None and behind is not None:
        raise CannotFoldError(
            f"the weight of {layer.name} stands behind nodes that move it, first "
            f"'{name_of(behind)}'"
        )
    if layer.dequantize_weight is None:
        raise CannotFoldError(
            f"the weight of {layer.name} is not quantized; TensorRT folds it in floating point"
        )
    if layer.node.op_type == "Gemm":
        for name in ("alpha", "beta"):
            attribute = layer.node.attributes.get(name)
            if attribute is not None and attribute.as_float() != 1:
                raise CannotFoldError(f"{layer.name} has {name} other than 1", layer.name)
    if layer.node.op_type == "MatMul":
        shape = layer.node.outputs[0].shape
        if shape is None or len(shape) != 2:
            raise CannotFoldError(
                f"its channels are not those of {layer.name}, whose output is not (N, C)",
                layer.name,
            )
    if layer.weight_axis is None or layer.output_axis is None or layer.channels is None:
        is_named = layer.dequantize_weight.domain not in ONNX_DOMAINS
        raise CannotFoldError(
            f"the output channels of {layer.name} are not one axis",
            layer.name,
            "codes" if is_named else "other",
        )


def _check_unshared(value: ir.Value, reader: ir.Node, behind: str, readers: Readers) -> None:
    if value.is_graph_output():
        raise CannotFoldError(
            f"'{value.name}' before it is an output of the graph", behind, "shared"
        )
    others = [node for node in readers.first(value, 3) if node is not reader][:2]
    if others:
        names = ", ".join(map(name_of, others))
        raise CannotFoldError(f"'{value.name}' before it is also read by {names}", behind, "shared")


def _plan(layer: Layer, chain: list[ir.Node]) -> FoldPlan:
    axis, output_axis, channels = layer.weight_axis, layer.output_axis, layer.channels
    assert axis is not None
    assert output_axis is not None
    assert channels is not None
    whole = _affine(layer, chain, channels, output_axis)
    codes, scales = _trained_weight(layer, axis)
    negated, constant = whole.multiplier < 0, whole.multiplier == 0
    signs = along_axis(np.where(negated, -1, np.where(constant, 0, 1)), axis, codes.ndim)
    signed = codes.astype(np.int16) * signs.astype(np.int16)
    if signed.max(initial=0) > 127:
        raise CannotFoldError(
            f"γ is negative for a channel of {layer.name} that uses the code -128, and +128 "
            "does not exist",
            layer.name,
            "code",
        )
    old = np.broadcast_to(scales.astype(np.float64), (channels,))
    scale = np.where(constant, old, old * np.abs(whole.multiplier))
    bias = whole.offset.astype(np.float32)
    if not ((scale >= _SMALLEST_NORMAL).all() and (scale <= np.finfo(np.float32).max).all()):
        raise CannotFoldError(
            f"a scale of {layer.name} would leave FP32's normal range", layer.name
        )
    if not np.isfinite(bias).all():
        raise CannotFoldError(f"the bias of {layer.name} would not be finite", layer.name)
    return FoldPlan(
        layer, chain, signed.astype(np.int8), scale.astype(np.float32), bias, negated, constant
    )


def _trained_weight(layer: Layer, axis: int) -> tuple[Array, Array]:
    """Codes and scales of a layer's weight, as they must be for a fold."""
    dequantize = layer.dequantize_weight
    assert dequantize is not None
    parameters, codes = parameters_of(dequantize), weight_codes(dequantize)
    if codes is None or parameters.scale is None:
        source = dequantize.inputs[0]
        inside = None if source is None else source.producer()
        is_named = inside is not None and inside.op_type != QUANTIZE
        raise CannotFoldError(
            f"the codes of {layer.name} are not constant",
            layer.name,
            "codes" if is_named else "other",
        )
    if codes.dtype != np.int8:
        raise CannotFoldError(f"the codes of {layer.name} are {codes.dtype}", layer.name, "codes")
    if parameters.zero_point is not None and parameters.zero_point.any():
        raise CannotFoldError(f"{layer.name} has zero-points other than 0", layer.name, "codes")
    if parameters.axis not in (None, axis):
        raise CannotFoldError(
            f"the weight of {layer.name} has one scale per input channel (axis "
            f"{parameters.axis}), not per output channel (axis {axis})",
            layer.name,
            "axis",
        )
    return codes, parameters.scale


def _affine(layer: Layer, chain: list[ir.Node], channels: int, output_axis: int) -> Affine:
    whole = identity(channels)
    bias_value = bias_of(layer.node) if layer.node.op_type != "MatMul" else None
    if bias_value is not None:
        bias = constant_array(bias_value)
        # That of a Gemm may be (N, 1), one number per row, also where N equals C.
        if bias is None or (bias.size != 1 and not bias.size == bias.shape[-1] == channels):
            raise CannotFoldError(
                f"the bias of {layer.name} is no constant per channel", layer.name
            )
        flat = bias.astype(np.float64).reshape(-1)
        whole = Affine(whole.multiplier, np.broadcast_to(flat, (channels,)))
    value = layer.node.outputs[0]
    for node in chain:
        step = affine_of(node, value, channels, axis=output_axis)
        if step is None:
            raise CannotFoldError(
                f"{node.op_type} '{node.name}' is no constant per channel", layer.name
            )
        if not (np.isfinite(step.multiplier).all() and np.isfinite(step.offset).all()):
            raise CannotFoldError("its statistics are not finite numbers", layer.name)
        whole = whole.then(step)
        value = node.outputs[0]
    if not (np.isfinite(whole.multiplier).all() and np.isfinite(whole.offset).all()):
        raise CannotFoldError("its statistics are not finite numbers", layer.name)
    return whole
