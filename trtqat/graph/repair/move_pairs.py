"""Repair: a pair behind a MaxPool or a reshape moves before it.

There it stands directly behind the layer or activation that makes the tensor, with which it
can fuse, and the MaxPool or reshape moves INT8 codes instead of floats.

1. Both halves are per tensor with a constant positive scale: quantization is monotonic then,
   so it commutes with the maximum.
2. The nodes in between only move or select values, and nothing else reads their results or
   the codes.
3. The tensor before them is made by a layer or its BatchNorm, by an activation of these, or by
   a residual Add of them.
4. Towards an input, a Shape that reads it besides reads it behind the pair, where it is the same.
   So the pair alone reads the input of a vision transformer that repeats a token for each sample.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.moves import commutes
from trtqat.graph.lenses.pairs import DEQUANTIZE, QUANTIZE, consumers_of, parameters_of
from trtqat.graph.lenses.paths import follow
from trtqat.graph.lenses.view import ACTIVATIONS, GraphView
from trtqat.graph.repair import Repair, Repairs

# Behind the name of a QuantizeLinear that was moved.
_MOVED = "_moved"


def move_pairs(model: ir.Model, *, to_inputs: bool = False) -> Repairs:
    """Moves pairs towards the layer before them, in place.

    Args:
        model: The graph.
        to_inputs: Moves those that an input reaches instead, up to that, and shapes behind them.
    """
    graph = model.graph
    view, editor = GraphView(graph), Editor(graph)
    made: list[Repair] = []
    origins: dict[ir.Value, ir.Value | None] = {}  # what activations were computed from
    for quantize in list(graph):
        dequantize = _other_half(quantize)
        path = [] if dequantize is None else _path_before(quantize, editor)
        source = path[0].inputs[0] if path else None
        if dequantize is None or source is None:
            continue
        if not (source.is_graph_input() if to_inputs else _is_made_by_layer(source, view, origins)):
            continue
        old = dequantize.outputs[0]
        first, last = path[0], path[-1]
        editor.replace(old, last.outputs[0])
        editor.replace_input(quantize, 0, source)
        editor.replace_input(first, 0, old)
        quantize.outputs[0].shape = old.shape = source.shape
        graph.insert_before(first, [quantize, dequantize])
        operators = ", ".join(node.op_type for node in path)
        name = name_of(quantize)
        # Its name is that of a quantizer, whose output it does not make any more.
        quantize.name = f"{name}{_MOVED}"
        made.append(
            Repair(
                "move-pairs",
                name,
                f"The Q/DQ pair '{name}' moved before {operators}, to where "
                f"'{source.name}' is made.",
            )
        )
    shapes_moved = to_inputs and _read_shapes_behind(graph, editor)
    if made or shapes_moved:
        graph.sort()  # a scale may be a Constant node behind the new place, and a Shape before it
    return Repairs(tuple(made))


def _read_shapes_behind(graph: ir.Graph, editor: Editor) -> bool:
    """Lets the pair alone read an input that Shapes read besides; whether there was one."""
    moved = False
    for value in graph.inputs:
        readers = consumers_of(value)
        shapes = [node for node in readers if node.op_type == "Shape" and node.graph is graph]
        pairs = [node for node in readers if node.op_type == QUANTIZE]
        behind = next(filter(None, map(_other_half, pairs)), None)
        if behind is None or len(shapes) + len(pairs) < len(readers):
            continue
        for node in shapes:
            editor.replace_input(node, 0, behind.outputs[0])
        moved = moved or bool(shapes)
    return moved


def _other_half(quantize: ir.Node) -> ir.Node | None:
    """The DequantizeLinear of a pair that may move."""
    if quantize.op_type != QUANTIZE or quantize.outputs[0].is_graph_output():
        return None
    readers = consumers_of(quantize.outputs[0])
    if [node.op_type for node in readers] != [DEQUANTIZE] or readers[0].graph is not quantize.graph:
        return None
    for half in (quantize, readers[0]):
        parameters = parameters_of(half)
        if parameters.axis is not None or not parameters.is_usable:
            return None
    return None if readers[0].outputs[0].is_graph_output() else readers[0]


def _path_before(quantize: ir.Node, editor: Editor) -> list[ir.Node]:
    """The commuting nodes directly before a QuantizeLinear."""
    path: list[ir.Node] = []
    value = quantize.inputs[0]
    while value is not None and editor.count(value) == 1 and not value.is_graph_output():
        node = value.producer()
        if node is None or not commutes(node) or len(node.outputs) != 1:
            break
        path.append(node)
        value = node.inputs[0]
    return path[::-1]


def _is_made_by_layer(
    value: ir.Value, view: GraphView, known: dict[ir.Value, ir.Value | None]
) -> bool:
    origin = follow(value, _before_activation, known)
    node = None if origin is None else origin.producer()
    operands = node.inputs if node is not None and node.op_type == "Add" else ()
    candidates = (origin, *operands)
    return any(view.layer_before(each, activations=True) is not None for each in candidates)


def _before_activation(value: ir.Value) -> tuple[ir.Value | None, ir.Value | None]:
    """The tensor itself where no activation makes it, else what that reads."""
    node = value.producer()
    if node is not None and node.op_type in ACTIVATIONS and node.inputs[0] is not None:
        return None, node.inputs[0]
    return value, None
