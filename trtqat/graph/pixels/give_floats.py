"""Pass: what made floats of codes makes floats of bytes, where nothing quantizes them any more.

The form for FP16 rounds to whole codes by itself. Without its quantizer, as in a float rival of an
engine or where a first layer is kept in float, it would hand on rounded images. So each channel
becomes the line through its codes: what its nodes compute where none of them rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.pairs import QUANTIZE
from trtqat.graph.pixels.node_writer import NodeWriter
from trtqat.pixels import prefix_of_half_nodes

_ARITHMETIC = ("Add", "Mul", "Round", "Sub")


@dataclass(frozen=True)
class _Line:
    """``a·plane + b``; a number alone where there is no plane."""

    plane: ir.Value | None
    a: float
    b: float


def give_floats(graph: ir.Graph) -> None:
    """Lets what reads such codes read floats, in place.

    Args:
        graph: After pairs were taken out, and what nothing reads.
    """
    for value in graph.inputs:
        if value.dtype is not ir.DataType.UINT8:
            continue
        name = str(value.name)
        prefix = prefix_of_half_nodes(name)
        nodes = [node for node in graph if name_of(node).startswith(prefix)]
        made = [value for node in nodes for value in node.outputs]
        if not any(use.node.op_type == QUANTIZE for value in made for use in value.uses()):
            _write_lines(graph, name, [node for node in nodes if node.op_type in _ARITHMETIC])


def _write_lines(graph: ir.Graph, name: str, nodes: list[ir.Node]) -> None:
    """Writes a Mul and an Add of each line that anything but these nodes reads."""
    editor, inside = Editor(graph), set(nodes)
    writer = NodeWriter(graph, name, 1)
    lines: dict[ir.Value, _Line] = {}
    for node in nodes:
        (made,) = node.outputs
        line = lines[made] = _line_of(node, lines)
        is_handed_on = made.is_graph_output() or any(use.node not in inside for use in made.uses())
        if line.plane is None or not is_handed_on:
            continue
        dtype = _dtype_of(node)
        floats = line.plane
        for op_type, what, number in (("Mul", "factor", line.a), ("Add", "shift", line.b)):
            constant = writer.constant(what, np.array(number, dtype.numpy()))
            floats = writer.node(op_type, [floats, constant], dtype)
        editor.insert_after(node, writer.nodes[-2:])
        editor.replace(made, floats)
    editor.finish()
    remove_unused(graph)


def _line_of(node: ir.Node, lines: Mapping[ir.Value, _Line]) -> _Line:
    """What a node makes of what it reads; rounding is left out."""
    first, *others = (_read(value, lines) for value in node.inputs)
    if not others:
        return first
    (second,) = others
    plane = first.plane or second.plane
    if node.op_type == "Mul":
        # A byte with a number, never with another byte.
        return _Line(plane, first.a * second.b + first.b * second.a, first.b * second.b)
    sign = -1 if node.op_type == "Sub" else 1
    return _Line(plane, first.a + sign * second.a, first.b + sign * second.b)


def _read(value: ir.Value | None, lines: Mapping[ir.Value, _Line]) -> _Line:
    assert value is not None
    array = constant_array(value)
    if array is not None:
        return _Line(None, 0.0, float(array))
    return lines.get(value) or _Line(value, 1.0, 0.0)


def _dtype_of(node: ir.Node) -> ir.DataType:
    """Of the numbers it reads, as a tensor of a file may have no type."""
    arrays = (constant_array(value) for value in node.inputs if value is not None)
    return next(ir.DataType.from_numpy(array.dtype) for array in arrays if array is not None)
