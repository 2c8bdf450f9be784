"""Pass: what made floats of codes makes floats of bytes, where nothing quantizes them any more.

The form for FP16 rounds to whole codes by itself. Without its quantizer, as in a float rival of an
engine or where a first layer is kept in float, it would hand on rounded images. So each channel
becomes the line through its codes.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, name_of
from trtqat.graph.lenses.pairs import QUANTIZE
from trtqat.graph.pixels.fit_half import MIDDLE, HalfLine
from trtqat.graph.pixels.node_writer import NodeWriter
from trtqat.pixels import prefix_of_half_nodes


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
        if nodes and not _is_quantized(nodes[-1]):
            _write_lines(graph, name, nodes)


def _is_quantized(last: ir.Node) -> bool:
    return any(use.node.op_type == QUANTIZE for use in last.outputs[0].uses())


def _write_lines(graph: ir.Graph, name: str, nodes: list[ir.Node]) -> None:
    editor = Editor(graph)
    prefix = prefix_of_half_nodes(name)
    # In each channel the first node takes the middle off, and the last one makes floats of codes.
    first = [node for node in nodes if _reads(node, f"{prefix}middle")]
    last = [node for node in nodes if _reads(node, f"{prefix}step")]
    writer = NodeWriter(graph, name, 1)
    for begin, end in zip(first, last, strict=True):
        plane, middle = begin.inputs
        assert plane is not None
        assert middle is not None
        channel = int(str(middle.name).removeprefix(f"{prefix}middle_"))
        line, step = _line(graph, prefix, channel), _number(graph, f"{prefix}step", 0.0)
        slope = (line.times + line.high + line.low) * step
        shift = (line.shift + line.whole) * step - MIDDLE * slope
        factor = writer.constant(f"factor_{channel}", np.array(slope, np.float32))
        offset = writer.constant(f"shift_{channel}", np.array(shift, np.float32))
        floats = writer.floats("Add", writer.floats("Mul", plane, factor), offset)
        editor.replace(end.outputs[0], floats)
    editor.insert_after(last[-1], writer.nodes)
    editor.finish()
    remove_unused(graph)


def _reads(node: ir.Node, name: str) -> bool:
    return any(value is not None and str(value.name).startswith(name) for value in node.inputs)


def _line(graph: ir.Graph, prefix: str, channel: int) -> HalfLine:
    def number(what: str, default: float | None = None) -> float:
        return _number(graph, f"{prefix}{what}_{channel}", default)

    times = number("times", 1.0)
    return HalfLine(times, number("high"), number("low"), number("shift"), number("whole"))


def _number(graph: ir.Graph, name: str, default: float | None) -> float:
    value = graph.initializers.get(name)
    if value is None:
        assert default is not None, name
        return default
    array = constant_array(value)
    assert array is not None
    return float(array)
