"""Pass: a BatchNorm behind a quantized convolution or linear goes into scale and bias.

    BN(conv(x, s·q) + b)  =  conv(x, (s·|m|)·(±q)) + (m·b + offset),   m = γ / √(σ² + ε)

The codes q are those of the trained weights and stay as they are: folding into the float
weight and quantizing again, as frameworks do, would change them and with them the accuracy
(the usual formula: Jacob et al. 2018, https://arxiv.org/abs/1712.05877, section 3.2).

1. m goes into the weight's scale, which becomes per-channel if it was per-tensor.
2. Where m is negative, the codes of that channel are negated: scales are positive. A channel
   that uses the code -128 cannot be negated, so its BatchNorm stays.
3. Where m is 0 the output is the constant offset: that channel's codes, which never reached
   the output, become 0, and its scale stays as it was.
4. A chain is folded at once: bias Add behind a MatMul, Mul and Div with a constant per
   channel (affine.py), as long as it contains a BatchNorm.
5. A weight that several layers read is copied for the layer that is folded.
6. What cannot be folded exactly stays, and the pass says why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from trtqat.graph.affine import BATCH_NORM, Affine, affine_of, identity
from trtqat.graph.editing import add_initializer, constant_array, name_of, remove_unused
from trtqat.graph.layers import Layer, bias_of, layer_of
from trtqat.graph.pairs import (
    DEQUANTIZE,
    QUANTIZE,
    along_axis,
    consumers_of,
    parameters_of,
    weight_codes,
)
from trtqat.tensors import Array

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class KeptBatchNorm:
    """A BatchNorm that stays in the graph.

    Attributes:
        name: Of its node.
        reason: Why, as the end of a sentence; empty if it could be folded.
        behind: The quantized layer that it follows and keeps from running at full speed;
            empty if there is none.
    """

    name: str
    reason: str
    behind: str = ""


@dataclass(frozen=True)
class FoldedBatchNorms:
    """What the pass did.

    Attributes:
        folded: Number of layers by operator, for example ``{"Conv": 52, "Gemm": 1}``.
        codes_changed: INT8 codes that differ from the trained ones in another way than
            their sign; 0, counted in the finished graph.
        negated_channels: Output channels whose codes changed their sign.
        constant_channels: Output channels whose γ is 0.
        copied_weights: Weights that several layers shared.
        kept: The BatchNorms that stay.
    """

    folded: dict[str, int]
    codes_changed: int = 0
    negated_channels: int = 0
    constant_channels: int = 0
    copied_weights: int = 0
    kept: tuple[KeptBatchNorm, ...] = ()

    @property
    def count(self) -> int:
        """Number of layers that took a BatchNorm in."""
        return sum(self.folded.values())


class _CannotFoldError(Exception):
    """Carries the reason, and the layer's name where the BatchNorm stands behind one."""

    def __init__(self, reason: str, behind: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.behind = behind


@dataclass
class _Tally:
    folded: Counter[str] = field(default_factory=Counter)
    codes_changed: int = 0
    negated: int = 0
    constant: int = 0
    copied: int = 0


def fold_batch_norm(model: ir.Model) -> FoldedBatchNorms:
    """Folds every BatchNorm that can be folded exactly, in place.

    Args:
        model: Weights as INT8 initializers (``quantize_weights``).
    """
    graph = model.graph
    tally = _Tally()
    kept: list[KeptBatchNorm] = []
    for node in list(graph):
        if node.graph is None or node.op_type != BATCH_NORM:
            continue
        try:
            layer, chain = _chain_before(node)
            _fold(graph, layer, chain, tally)
        except _CannotFoldError as refusal:
            kept.append(KeptBatchNorm(name_of(node), refusal.reason, refusal.behind))
    remove_unused(graph)
    return FoldedBatchNorms(
        dict(tally.folded),
        tally.codes_changed,
        tally.negated,
        tally.constant,
        tally.copied,
        tuple(kept),
    )


def why_kept(node: ir.Node) -> KeptBatchNorm:
    """Why a BatchNorm is still in a graph; no reason if it could be folded. Changes nothing."""
    try:
        layer, chain = _chain_before(node)
        _plan(layer, chain)
    except _CannotFoldError as refusal:
        return KeptBatchNorm(name_of(node), refusal.reason, refusal.behind)
    return KeptBatchNorm(name_of(node), "", layer.name)


def _chain_before(node: ir.Node) -> tuple[Layer, list[ir.Node]]:
    """The quantized layer before a BatchNorm, and the nodes from it up to the BatchNorm."""
    chain = [node]
    value = node.inputs[0]
    while value is not None:
        producer = value.producer()
        if producer is None:
            raise _CannotFoldError("it stands on an input of the graph, before any layer")
        layer = layer_of(producer)
        if layer is not None:
            _check_layer(layer)
            _check_unshared(value, layer.name)
            return layer, chain
        if producer.op_type == DEQUANTIZE:
            raise _CannotFoldError("a Q/DQ pair stands before it", _layer_behind_pair(producer))
        if producer.op_type not in ("Add", "Sub", "Mul", "Div"):
            raise _CannotFoldError(f"it stands behind {producer.op_type}, not behind a layer")
        _check_unshared(value, "")
        chain.insert(0, producer)
        computed = [v for v in producer.inputs if v is not None and constant_array(v) is None]
        if len(computed) != 1:
            raise _CannotFoldError(f"it stands behind {producer.op_type} of two tensors")
        value = computed[0]
    raise _CannotFoldError("it has no input")


def _layer_behind_pair(dequantize: ir.Node) -> str:
    quantize = dequantize.inputs[0].producer() if dequantize.inputs[0] is not None else None
    if quantize is None or quantize.op_type != QUANTIZE or quantize.inputs[0] is None:
        return ""
    producer = quantize.inputs[0].producer()
    layer = None if producer is None else layer_of(producer)
    return "" if layer is None else layer.name


def _check_layer(layer: Layer) -> None:
    if layer.dequantize_weight is None:
        raise _CannotFoldError(
            f"the weight of {layer.name} is not quantized; TensorRT folds it in floating point"
        )
    if layer.node.op_type == "Gemm":
        for name in ("alpha", "beta"):
            attribute = layer.node.attributes.get(name)
            if attribute is not None and attribute.as_float() != 1:
                raise _CannotFoldError(f"{layer.name} has {name} other than 1", layer.name)
    if layer.node.op_type == "MatMul":
        shape = layer.node.outputs[0].shape
        if shape is None or len(shape) != 2:
            raise _CannotFoldError(
                f"its channels are not those of {layer.name}, whose output is not (N, C)",
                layer.name,
            )
    if layer.weight_axis is None or layer.output_axis is None or layer.channels is None:
        raise _CannotFoldError(f"the output channels of {layer.name} are not one axis", layer.name)


def _check_unshared(value: ir.Value, behind: str) -> None:
    if value.is_graph_output():
        raise _CannotFoldError(f"'{value.name}' before it is an output of the graph", behind)
    consumers = consumers_of(value)
    if len(consumers) > 1:
        others = ", ".join(name_of(node) for node in consumers[1:3])
        raise _CannotFoldError(f"'{value.name}' before it is also read by {others}", behind)


@dataclass(frozen=True, eq=False)
class _Plan:
    """What a fold will write."""

    codes: Array
    scale: Array
    bias: Array
    negated: Array
    constant: Array


def _plan(layer: Layer, chain: list[ir.Node]) -> _Plan:
    dequantize, axis, output_axis = layer.dequantize_weight, layer.weight_axis, layer.output_axis
    channels = layer.channels
    assert dequantize is not None
    assert axis is not None
    assert output_axis is not None
    assert channels is not None
    whole = _affine(layer, chain, channels, output_axis)
    parameters = parameters_of(dequantize)
    codes = weight_codes(dequantize)
    if codes is None or codes.dtype != np.int8 or parameters.scale is None:
        raise _CannotFoldError(f"the codes of {layer.name} are not constant", layer.name)
    if parameters.zero_point is not None and parameters.zero_point.any():
        raise _CannotFoldError(f"{layer.name} has zero-points other than 0", layer.name)
    if parameters.axis not in (None, axis):
        raise _CannotFoldError(
            f"the weight of {layer.name} has one scale per input channel (axis "
            f"{parameters.axis}), not per output channel (axis {axis})",
            layer.name,
        )
    negated, constant = whole.multiplier < 0, whole.multiplier == 0
    signs = along_axis(np.where(negated, -1, np.where(constant, 0, 1)), axis, codes.ndim)
    signed = codes.astype(np.int16) * signs.astype(np.int16)
    if signed.max(initial=0) > 127:
        raise _CannotFoldError(
            f"γ is negative for a channel of {layer.name} that uses the code -128, and +128 "
            "does not exist",
            layer.name,
        )
    old = np.broadcast_to(parameters.scale.astype(np.float64), (channels,))
    scale = np.where(constant, old, old * np.abs(whole.multiplier))
    bias = whole.offset.astype(np.float32)
    if not ((scale >= _SMALLEST_NORMAL).all() and (scale <= np.finfo(np.float32).max).all()):
        raise _CannotFoldError(
            f"a scale of {layer.name} would leave FP32's normal range", layer.name
        )
    if not np.isfinite(bias).all():
        raise _CannotFoldError(f"the bias of {layer.name} would not be finite", layer.name)
    return _Plan(signed.astype(np.int8), scale.astype(np.float32), bias, negated, constant)


def _affine(layer: Layer, chain: list[ir.Node], channels: int, output_axis: int) -> Affine:
    whole = identity(channels)
    bias_value = bias_of(layer.node) if layer.node.op_type != "MatMul" else None
    if bias_value is not None:
        bias = constant_array(bias_value)
        if bias is None or bias.size not in (1, channels):
            raise _CannotFoldError(f"the bias of {layer.name} is not constant", layer.name)
        flat = bias.astype(np.float64).reshape(-1)
        whole = Affine(whole.multiplier, np.broadcast_to(flat, (channels,)))
    value = layer.node.outputs[0]
    for node in chain:
        step = affine_of(node, value, channels, axis=output_axis)
        if step is None:
            raise _CannotFoldError(
                f"{node.op_type} '{node.name}' is no constant per channel", layer.name
            )
        whole = whole.then(step)
        value = node.outputs[0]
    if not (np.isfinite(whole.multiplier).all() and np.isfinite(whole.offset).all()):
        raise _CannotFoldError("its statistics are not finite numbers", layer.name)
    return whole


def _fold(graph: ir.Graph, layer: Layer, chain: list[ir.Node], tally: _Tally) -> None:
    plan = _plan(layer, chain)
    node = layer.node
    dequantize = layer.dequantize_weight
    assert dequantize is not None
    before = _codes(dequantize)
    if len(dequantize.outputs[0].uses()) > 1 or len(layer.weight.uses()) > 1:
        dequantize = _copy_weight(graph, layer, dequantize)
        tally.copied += 1
    _write_weight(graph, dequantize, plan, layer.weight_axis or 0)
    end = _write_bias(graph, layer, dequantize, plan.bias)

    last = chain[-1].outputs[0]
    if last.is_graph_output():
        end.name = last.name
    last.replace_all_uses_with(end, replace_graph_outputs=True)
    for gone in reversed(chain):
        graph.remove(gone, safe=True)

    axis = layer.weight_axis or 0
    after = _codes(dequantize)
    signs = along_axis(np.where(plan.negated, -1, 1), axis, after.ndim)
    dead = along_axis(plan.constant, axis, after.ndim)
    changed = (after.astype(np.int16) * signs != before) & ~dead
    tally.codes_changed += int(np.count_nonzero(changed))
    tally.negated += int(plan.negated.sum())
    tally.constant += int(plan.constant.sum())
    tally.folded[node.op_type] += 1


def _codes(dequantize: ir.Node) -> Array:
    source = dequantize.inputs[0]
    codes = None if source is None else constant_array(source)
    assert codes is not None
    return codes


def _copy_weight(graph: ir.Graph, layer: Layer, shared: ir.Node) -> ir.Node:
    """A DequantizeLinear of the layer's own, through a Transpose of its own if it has one."""
    copy = ir.Node(
        "", DEQUANTIZE, shared.inputs, dict(shared.attributes), name=f"{layer.name}/{DEQUANTIZE}"
    )
    _describe(copy, shared.outputs[0])
    made = [copy]
    transpose = layer.weight.producer()
    if transpose is not None and transpose is not shared:
        attributes = dict(transpose.attributes)
        made.append(
            ir.Node("", "Transpose", copy.outputs, attributes, name=f"{layer.name}/Transpose")
        )
        _describe(made[1], transpose.outputs[0])
    graph.insert_before(layer.node, made)
    layer.node.replace_input_with(1, made[-1].outputs[0])
    return copy


def _describe(node: ir.Node, like: ir.Value) -> None:
    output = node.outputs[0]
    output.name = f"{node.name}_output_0"
    output.type, output.shape = like.type, like.shape


def _write_weight(graph: ir.Graph, dequantize: ir.Node, plan: _Plan, axis: int) -> None:
    zero_point = np.zeros(plan.scale.shape, np.int8)
    arrays = (plan.codes, plan.scale, zero_point)
    for index, array in enumerate(arrays):
        old = dequantize.inputs[index] if len(dequantize.inputs) > index else None
        name = f"{dequantize.name}.zero_point" if old is None else str(old.name)
        dequantize.resize_inputs(max(len(dequantize.inputs), index + 1))
        dequantize.replace_input_with(index, None)
        if old is not None and old.is_initializer() and not old.uses():
            del graph.initializers[name]
        value = add_initializer(graph, name, array)
        dequantize.replace_input_with(index, value)
    dequantize.attributes["axis"] = ir.AttrInt64("axis", axis)


def _write_bias(graph: ir.Graph, layer: Layer, dequantize: ir.Node, bias: Array) -> ir.Value:
    """Gives the layer its bias; returns where its result is now."""
    node = layer.node
    stem = str(dequantize.inputs[0].name) if dequantize.inputs[0] is not None else layer.name
    stem = stem.removesuffix(".codes").removesuffix("weight")
    old = bias_of(node)
    if old is not None:
        node.replace_input_with(2, None)
        if old.is_initializer() and not old.uses():
            del graph.initializers[str(old.name)]
    value = add_initializer(graph, f"{stem}bias", bias)
    if node.op_type != "MatMul":
        node.resize_inputs(3)
        node.replace_input_with(2, value)
        return node.outputs[0]
    # MatMul has no bias input: an Add takes the place of the chain.
    add = ir.Node("", "Add", [node.outputs[0], value], name=f"{node.name}/Add")
    _describe(add, node.outputs[0])
    graph.insert_after(node, add)
    return add.outputs[0]
