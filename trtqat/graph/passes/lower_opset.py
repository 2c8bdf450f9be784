"""Pass: a graph of opset 18 becomes one of opset 17, the newest that TensorRT 8.6 reads.

PyTorch's torch.export-based exporter writes opset 18 at least. ``onnx.version_converter``
stops at axes that are initializers and leaves ``noop_with_empty_axes`` behind, which ONNX
Runtime then refuses. What changed between 17 and 18 is little
(https://github.com/onnx/onnx/blob/main/docs/Changelog.md):

1. Reduce*: ``axes`` is an input; it becomes an attribute (ReduceSum had the input before).
2. Split: ``num_outputs``; equal parts need nothing, unequal ones their sizes as an input.
3. Pad: an ``axes`` input; the pads are spread over all axes.
4. Resize: ``antialias``, ``axes``, ``keep_aspect_ratio_policy``; only the defaults exist in 17.
5. ScatterElements, ScatterND: ``reduction`` max and min do not exist in 17.
6. Operators new in 18 do not exist in 17.
7. What 4 and 6 have no form of is computed where it depends on no input, as position embeddings
   that are resized to a fixed grid.
8. Shape: ``start`` and ``end`` are in 17, but TensorRT 8.6.0 takes the whole shape (seen: a Resize
   was given six sizes for four axes). A Slice cuts it.

TensorRT 8.6 does not refuse rule 1's new form, it reduces over every axis.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from trtqat.errors import ExportError
from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6, is_for_8_6
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.evaluate_weight import evaluate_constants
from trtqat.graph.passes.protocol import Changed

_REDUCTIONS = {
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSumSquare",
}
_NEW_IN_18 = {
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "CenterCropPad",
    "Col2Im",
    "GroupNormalization",
    "Mish",
    "OptionalGetElement",
    "OptionalHasElement",
}
# The opset that the rules below are for.
LOWERABLE_OPSET = 18
# Newer ones than 8 came with newer opsets.
_IR_VERSION_OF_OPSET_17 = 8
_RESIZE_DEFAULTS = {"antialias": 0, "keep_aspect_ratio_policy": "stretch"}


def lower_opset(model: ir.Model) -> Changed:
    """Rewrites opset 18 to 17 in place; leaves opset 17 and older alone.

    Counts the nodes that have another form now.

    Raises:
        ExportError: A node has no form in opset 17, or the graph is newer than opset 18.
    """
    opset = model.graph.opset_imports.get("", 0)
    if is_for_8_6(opset):
        return Changed(0)
    if opset > LOWERABLE_OPSET:
        raise ExportError(
            f"The graph has opset {opset}; only opset {LOWERABLE_OPSET} can be lowered to "
            f"{NEWEST_OPSET_OF_8_6}.",
            f"Export it with --opset {NEWEST_OPSET_OF_8_6}, or with the opset that you need and a "
            "newer TensorRT.",
        )
    changed = _compute_constants(model.graph)
    for node in list(model.graph.all_nodes()):
        if node.domain not in ONNX_DOMAINS:
            continue
        if node.op_type in _NEW_IN_18:
            raise _impossible(node, f"{node.op_type} is new in opset 18")
        rule = _RULES.get(node.op_type)
        changed += bool(rule and rule(model.graph, node))
        node.version = NEWEST_OPSET_OF_8_6
    model.graph.opset_imports[""] = NEWEST_OPSET_OF_8_6
    return Changed(changed)


def _compute_constants(graph: ir.Graph) -> int:
    """Before anything is lowered: opset 18 is what ONNX Runtime computes here."""
    weights = Weights()
    made = [
        node.outputs[0]
        for node in graph
        if node.domain in ONNX_DOMAINS
        and len(node.outputs) == 1
        and (node.op_type in _NEW_IN_18 or (node.op_type == "Resize" and _new_in_resize(node)))
        and node.outputs[0] in weights
        and not node.outputs[0].is_graph_output()
    ]
    if made:
        for value, array in evaluate_constants(graph, made).items():
            value.replace_all_uses_with(add_initializer(graph, f"{value.name}.folded", array))
        remove_unused(graph)
    return len(made)


def write_ir_version(model: ir.Model) -> Changed:
    """Writes the IR version that came with opset 17, in place.

    ONNX Runtime and TensorRT's parser refuse a file by this number alone.
    """
    is_other = model.ir_version != _IR_VERSION_OF_OPSET_17
    model.ir_version = _IR_VERSION_OF_OPSET_17
    return Changed(int(is_other))


def _reduce(graph: ir.Graph, node: ir.Node) -> bool:
    keep_all = node.attributes.pop("noop_with_empty_axes", None)
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    constant = None if axes is None else constant_array(axes)
    if axes is not None and constant is None:
        raise _impossible(node, "its axes are computed while the model runs")
    if constant is None or not constant.size:
        if keep_all is not None and keep_all.as_int() == 1:
            raise _impossible(node, "it keeps all axes (noop_with_empty_axes)")
        node.resize_inputs(1)
        return keep_all is not None or axes is not None
    node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in constant.flatten()])
    node.resize_inputs(1)
    return True


def _split(graph: ir.Graph, node: ir.Node) -> bool:
    count = node.attributes.pop("num_outputs", None)
    if count is None:
        return False
    source = node.inputs[0]
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    shape = None if source is None else source.shape
    size = None if shape is None else shape[axis]
    parts = count.as_int()
    if not isinstance(size, int):
        raise _impossible(node, f"it splits the dynamic axis {axis}")
    if size % parts:
        # Opset 18: all parts are as large as the first, the last takes what is left.
        step = -(-size // parts)
        sizes = np.array([step] * (parts - 1) + [size - step * (parts - 1)], np.int64)
        node.resize_inputs(2)
        node.replace_input_with(1, add_initializer(graph, f"{node.name}.split", sizes))
    return True


def _pad(graph: ir.Graph, node: ir.Node) -> bool:
    if len(node.inputs) < 4 or node.inputs[3] is None:
        return False
    source, pads_value = node.inputs[0], node.inputs[1]
    assert source is not None
    assert pads_value is not None
    axes, pads = constant_array(node.inputs[3]), constant_array(pads_value)
    if axes is None or pads is None or source.shape is None:
        raise _impossible(node, "its axes or pads are computed while the model runs")
    rank, half = source.shape.rank(), len(axes)
    spread = np.zeros(2 * rank, np.int64)
    for position, axis in enumerate(axes):
        spread[axis % rank] = pads[position]
        spread[axis % rank + rank] = pads[position + half]
    node.replace_input_with(1, add_initializer(graph, f"{node.name}.pads", spread))
    node.resize_inputs(3)
    return True


def _resize(graph: ir.Graph, node: ir.Node) -> bool:
    if reason := _new_in_resize(node):
        raise _impossible(node, reason)
    removed = [node.attributes.pop(name, None) for name in _RESIZE_DEFAULTS]
    return any(each is not None for each in removed)


def _new_in_resize(node: ir.Node) -> str:
    """What a Resize has that opset 17 has not, as the end of a sentence; empty if nothing."""
    for name, default in _RESIZE_DEFAULTS.items():
        attribute = node.attributes.get(name)
        if attribute is not None and attribute.value != default:
            return f"it uses {name}={attribute.value}"
    return "it resizes chosen axes" if "axes" in node.attributes else ""


def _scatter(graph: ir.Graph, node: ir.Node) -> bool:
    reduction = node.attributes.get("reduction")
    if reduction is not None and reduction.as_string() in ("max", "min"):
        raise _impossible(node, f"it scatters with reduction={reduction.as_string()}")
    return False


def _shape(graph: ir.Graph, node: ir.Node) -> bool:
    start, end = (node.attributes.pop(name, None) for name in ("start", "end"))
    if start is None and end is None:
        return False
    owner = node.graph
    assert owner is not None
    bounds = {
        "starts": 0 if start is None else start.as_int(),
        "ends": np.iinfo(np.int64).max if end is None else end.as_int(),
        "axes": 0,
    }
    whole = ir.Node("", "Shape", [node.inputs[0]], name=f"{node.name}/whole")
    whole.outputs[0].name = f"{whole.name}_output_0"
    whole.outputs[0].dtype = ir.DataType.INT64
    parts = [
        add_initializer(graph, f"{node.name}.{name}", np.array([value], np.int64))
        for name, value in bounds.items()
    ]
    part = ir.Node("", "Slice", [whole.outputs[0], *parts], name=f"{node.name}/part")
    made, old = part.outputs[0], node.outputs[0]
    made.dtype, made.shape = ir.DataType.INT64, old.shape
    owner.insert_before(node, [whole, part])
    name = old.name
    ir.convenience.replace_all_uses_with(old, made, replace_graph_outputs=True)
    owner.remove(node, safe=True)
    made.name = name
    return True


_RULES: dict[str, Callable[[ir.Graph, ir.Node], bool]] = {
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Split": _split,
    "Pad": _pad,
    "Resize": _resize,
    "Shape": _shape,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
}


def _impossible(node: ir.Node, reason: str) -> ExportError:
    return ExportError(
        f"Node '{node.name}' ({node.op_type}) cannot be written in opset "
        f"{NEWEST_OPSET_OF_8_6}: {reason}.",
        f"Try --exporter torchscript, or --opset {LOWERABLE_OPSET} for TensorRT 10 and newer.",
    )
