"""Pass: ``trtqat::FakeQuantize`` nodes become QuantizeLinear and DequantizeLinear.

Both exporters leave one FakeQuantize node per use of a quantizer. For each:

1. An explicit INT8 zero-point of 0 and, per channel, an explicit ``axis``: TensorRT 8.6
   wants the zero-point and assumes axis 0 where it is missing, later versions axis 1.
2. Scale and zero-point are initializers named after the quantizer.
3. Bounds tighter than [-128, 127] clip the weights themselves; before an activation's
   pair they become a Clip node.
4. A per-channel quantizer on anything but a weight is refused: TensorRT dequantizes
   activations per tensor only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.errors import QuantizerError
from trtqat.graph.editing import add_initializer
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.evaluate_weight import evaluate_weight
from trtqat.tensors import Array

DOMAIN = "trtqat"
OP_TYPE = "FakeQuantize"


@dataclass(frozen=True)
class MadePair:
    """One Q/DQ pair.

    Attributes:
        quantize: Name of its QuantizeLinear.
        dequantized: What its DequantizeLinear writes.
        is_clipped: Whether a Clip stands before it, which the quantizer did by itself.
    """

    quantize: str
    dequantized: str
    is_clipped: bool


@dataclass(frozen=True)
class ExpandedPairs:
    """What the pass did.

    Attributes:
        pairs: The pairs made for each quantizer, one a use, by its name and in graph order.
        notes: Sentences for the user.
    """

    pairs: dict[str, tuple[MadePair, ...]]
    notes: tuple[str, ...]

    @property
    def uses(self) -> dict[str, int]:
        """Number of pairs made for each quantizer."""
        return {name: len(made) for name, made in self.pairs.items()}

    @property
    def count(self) -> int:
        """Number of Q/DQ pairs made."""
        return sum(map(len, self.pairs.values()))


def expand_fake_quantize(model: ir.Model) -> ExpandedPairs:
    """Replaces every FakeQuantize node, in place.

    Args:
        model: A model as either exporter leaves it, constants lifted to initializers.

    Raises:
        QuantizerError: A per-channel quantizer stands on an activation, or a scale is not
            a constant.
    """
    pairs: dict[str, tuple[MadePair, ...]] = {}
    clips: dict[str, str] = {}
    editor, weights = Editor(model.graph), Weights()
    for node in list(model.graph):
        if node.domain != DOMAIN or node.op_type != OP_TYPE:
            continue
        name = node.attributes["quantizer"].as_string()
        made = pairs.get(name, ())
        quantize, output, note = _expand(model.graph, editor, weights, node, name, len(made) + 1)
        pairs[name] = (*made, MadePair(quantize, output, is_clipped=bool(note)))
        if note:
            clips[name] = note
    editor.finish()
    model.graph.opset_imports.pop(DOMAIN, None)
    return ExpandedPairs(pairs, _told(clips))


def clipped_name(quantizer: str) -> str:
    """What a weight within a narrow range is called that is not the quantizer's own."""
    return f"{quantizer}.clipped"


def _told(clips: dict[str, str]) -> tuple[str, ...]:
    """One sentence for quantizers with the same codes, as a narrow range is that of all."""
    alike: dict[str, list[str]] = {}
    for name, note in clips.items():
        alike.setdefault(note.replace(f"'{name}'", ""), []).append(note)
    return tuple(
        first + (f" So it is with {len(others)} more." if others else "")
        for first, *others in alike.values()
    )


def _expand(
    graph: ir.Graph, editor: Editor, weights: Weights, node: ir.Node, name: str, use: int
) -> tuple[str, str, str]:
    source = node.inputs[0]
    output = node.outputs[0]
    assert source is not None
    _check_codes(node, name)
    scale = _scale(node, name)
    axis = node.attributes["axis"].as_int() if scale.ndim else None
    if axis is not None and source not in weights:
        raise QuantizerError(
            f"Quantizer '{name}' is per-channel (axis {axis}) but quantizes an activation; "
            "TensorRT runs INT8 activations per tensor only.",
            "Give its descriptor axis=None and calibrate it again.",
        )
    source, note = _clip(graph, editor, node, source, scale, axis, name)

    # A quantizer that runs twice (a shared module) has one scale, but two pairs.
    suffix = "" if use == 1 else f"_{use - 1}"
    scope = "/" + name.replace(".", "/")
    parameters = [
        add_initializer(graph, f"{name}.scale", scale),
        add_initializer(graph, f"{name}.zero_point", np.zeros(scale.shape, np.int8)),
    ]
    attributes = {} if axis is None else {"axis": ir.AttrInt64("axis", axis)}

    def make(operator: str, value: ir.Value, dtype: ir.DataType) -> ir.Node:
        made = ir.Node(
            "", operator, [value, *parameters], attributes, name=f"{scope}/{operator}{suffix}"
        )
        result = made.outputs[0]
        result.name = f"{made.name}_output_0"
        result.dtype, result.shape = dtype, output.shape
        return made

    quantize = make(QUANTIZE, source, ir.DataType.INT8)
    dequantize = make(DEQUANTIZE, quantize.outputs[0], ir.DataType.FLOAT)
    result = dequantize.outputs[0]
    editor.insert_before(node, [quantize, dequantize])
    if output.is_graph_output():
        result.name = output.name
    editor.replace(output, result)
    editor.remove(node)
    assert result.name is not None
    return str(quantize.name), result.name, note


def _check_codes(node: ir.Node, name: str) -> None:
    low, high = node.attributes["low"].as_float(), node.attributes["high"].as_float()
    if low < -128.0 or high > 127.0:
        raise QuantizerError(
            f"Quantizer '{name}' uses the codes [{low:g}, {high:g}]; TensorRT's INT8 is signed "
            "and has [-128, 127].",
            "Train it with 8 bits, signed and symmetric.",
        )
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    codes = None if zero_point is None else constant_array(zero_point)
    if zero_point is not None and (codes is None or codes.any()):
        raise QuantizerError(
            f"Quantizer '{name}' has a zero-point other than 0; TensorRT's INT8 is symmetric.",
            "Train it with a symmetric scheme.",
        )


def _scale(node: ir.Node, name: str) -> Array:
    value = node.inputs[1]
    scale = None if value is None else constant_array(value)
    if scale is None:
        raise QuantizerError(
            f"Quantizer '{name}' computes its scale while the model runs.",
            "Export a model whose quantizers are calibrated and frozen.",
        )
    if node.attributes["axis"].as_int() < 0:
        scale = scale.reshape(())
    scale = scale.astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise QuantizerError(
            f"Quantizer '{name}' has a scale that is not a positive number.",
            "Calibrate it again; a scale of 0 comes from a tensor that was all zeros.",
        )
    return scale


def _clip(
    graph: ir.Graph,
    editor: Editor,
    node: ir.Node,
    source: ir.Value,
    scale: Array,
    axis: int | None,
    name: str,
) -> tuple[ir.Value, str]:
    low = node.attributes["low"].as_float()
    high = node.attributes["high"].as_float()
    if low <= -128.0 and high >= 127.0:
        return source, ""
    bounds = np.float32(low * scale), np.float32(high * scale)
    is_own = source.is_initializer() and editor.count(source) == 1
    if axis is not None or is_own:
        new = "" if is_own else clipped_name(name)
        return _clipped_weight(graph, source, bounds, axis, new), ""
    values = [
        add_initializer(graph, f"{name}.{end}", np.asarray(bound))
        for end, bound in zip(("low", "high"), bounds, strict=True)
    ]
    clip = ir.Node("", "Clip", [source, *values], name=f"/{name.replace('.', '/')}/Clip")
    clipped_value = clip.outputs[0]
    clipped_value.name = f"{clip.name}_output_0"
    clipped_value.dtype, clipped_value.shape = ir.DataType.FLOAT, source.shape
    editor.insert_before(node, [clip])
    note = (
        f"Quantizer '{name}' clips to the codes [{low:.4g}, {high:.4g}]: a Clip stands before "
        "its Q/DQ pair so that the values stay exact."
    )
    return clipped_value, note


def _clipped_weight(
    graph: ir.Graph, source: ir.Value, bounds: tuple[Array, Array], axis: int | None, name: str
) -> ir.Value:
    """The weight within its bounds: itself, or a new one by this name if there is one."""
    constant = constant_array(source)
    weights = evaluate_weight(graph, source) if constant is None else constant
    shape = [1] * weights.ndim
    if axis is not None:
        shape[axis] = -1
    low, high = (bound.reshape(shape) for bound in bounds)
    clipped = np.clip(weights, low, high).astype(weights.dtype)
    if (clipped == weights).all():
        return source
    if not name:
        source.const_value = ir.tensor(clipped, name=source.name)
        return source
    return add_initializer(graph, name, clipped)
