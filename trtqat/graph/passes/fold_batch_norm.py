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

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.fold_plan import CannotFoldError, FoldPlan, KeptBatchNorm, plan_fold
from trtqat.graph.lenses.layers import Layer, bias_of
from trtqat.graph.lenses.pairs import DEQUANTIZE, along_axis, weight_codes
from trtqat.graph.lenses.weights import Weights
from trtqat.tensors import Array


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

    @property
    def notes(self) -> tuple[str, ...]:
        """None: the figures say it all."""
        return ()


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
    editor, weights = Editor(graph), Weights()
    tally = _Tally()
    kept: list[KeptBatchNorm] = []
    for node in list(graph):
        if node.op_type != BATCH_NORM or editor.is_removed(node):
            continue
        try:
            _fold(graph, editor, plan_fold(node, editor, weights), tally)
        except CannotFoldError as refusal:
            kept.append(KeptBatchNorm(name_of(node), refusal.reason, refusal.behind, refusal.cause))
    editor.finish()
    remove_unused(graph)
    return FoldedBatchNorms(
        dict(tally.folded),
        tally.codes_changed,
        tally.negated,
        tally.constant,
        tally.copied,
        tuple(kept),
    )


def _fold(graph: ir.Graph, editor: Editor, plan: FoldPlan, tally: _Tally) -> None:
    layer, chain = plan.layer, plan.chain
    node = layer.node
    dequantize = layer.dequantize_weight
    assert dequantize is not None
    before = _codes(dequantize)
    if editor.count(dequantize.outputs[0]) > 1 or editor.count(layer.weight) > 1:
        dequantize = _copy_weight(editor, layer, dequantize)
        tally.copied += 1
    _write_weight(graph, editor, dequantize, plan, layer.weight_axis or 0)
    end = _write_bias(graph, editor, layer, dequantize, plan.bias)

    last = chain[-1].outputs[0]
    if last.is_graph_output():
        end.name = last.name
    editor.replace(last, end)
    for gone in reversed(chain):
        editor.remove(gone)

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
    codes = weight_codes(dequantize)
    assert codes is not None  # plan_fold has asked for them
    return codes


def _copy_weight(editor: Editor, layer: Layer, shared: ir.Node) -> ir.Node:
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
    editor.insert_before(layer.node, made)
    editor.replace_input(layer.node, 1, made[-1].outputs[0])
    return copy


def _describe(node: ir.Node, like: ir.Value) -> None:
    output = node.outputs[0]
    output.name = f"{node.name}_output_0"
    output.type, output.shape = like.type, like.shape


def _write_weight(
    graph: ir.Graph, editor: Editor, dequantize: ir.Node, plan: FoldPlan, axis: int
) -> None:
    zero_point = np.zeros(plan.scale.shape, np.int8)
    arrays = (plan.codes, plan.scale, zero_point)
    for index, array in enumerate(arrays):
        old = dequantize.inputs[index] if len(dequantize.inputs) > index else None
        name = f"{dequantize.name}.zero_point" if old is None else str(old.name)
        dequantize.resize_inputs(max(len(dequantize.inputs), index + 1))
        editor.replace_input(dequantize, index, None)
        if old is not None and old.is_initializer() and not editor.count(old):
            del graph.initializers[name]
        value = add_initializer(graph, name, array)
        editor.replace_input(dequantize, index, value)
    dequantize.attributes["axis"] = ir.AttrInt64("axis", axis)


def _write_bias(
    graph: ir.Graph, editor: Editor, layer: Layer, dequantize: ir.Node, bias: Array
) -> ir.Value:
    """Gives the layer its bias; returns where its result is now."""
    node = layer.node
    stem = str(dequantize.inputs[0].name) if dequantize.inputs[0] is not None else layer.name
    stem = stem.removesuffix(".codes").removesuffix("weight")
    old = bias_of(node)
    if old is not None:
        editor.replace_input(node, 2, None)
        if old.is_initializer() and not editor.count(old):
            del graph.initializers[str(old.name)]
    value = add_initializer(graph, f"{stem}bias", bias)
    if node.op_type != "MatMul":
        node.resize_inputs(3)
        editor.replace_input(node, 2, value)
        return node.outputs[0]
    # MatMul has no bias input: an Add takes the place of the chain.
    add = ir.Node("", "Add", [node.outputs[0], value], name=f"{node.name}/Add")
    _describe(add, node.outputs[0])
    editor.insert_after(node, [add])
    return add.outputs[0]
