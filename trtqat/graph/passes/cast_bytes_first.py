"""Pass: bytes are cast before they are moved.

TensorRT takes bytes as an input alone, for a Cast to read: 8.6.0 and TensorRT for RTX refuse a
graph in which a Transpose, a Reshape or a Slice does. A model that takes images from a camera often
has just that (``images.permute(0, 3, 1, 2).float()``).

1. Where all that is made of an input by moving it goes into Casts to one type, one Cast comes
   first, and the others go. The numbers are the same.
2. What is an output of the graph as bytes, or is read by anything else, stays with all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.editor import Editor
from trtqat.graph.lenses.moves import is_move
from trtqat.graph.lenses.pairs import consumers_of
from trtqat.graph.lenses.view import reads_data
from trtqat.graph.passes.protocol import Changed


@dataclass(frozen=True)
class _Moved:
    """What becomes of an input of bytes.

    Attributes:
        moves: Nodes that move them, none before what it reads.
        casts: All that reads what these make.
    """

    moves: list[ir.Node]
    casts: list[ir.Node]


def cast_bytes_first(model: ir.Model) -> Changed:
    """Brings Casts to the inputs, in place; counts the inputs."""
    graph = model.graph
    count = 0
    for value in graph.inputs:
        moved = _moved(graph, value) if value.dtype is ir.DataType.UINT8 else None
        if moved is not None:
            _cast_first(graph, value, moved)
            count += 1
    return Changed(count)


def _moved(graph: ir.Graph, value: ir.Value) -> _Moved | None:
    """None where nothing moves an input, or not all of it is cast to one type then."""
    moves: list[ir.Node] = []
    casts: list[ir.Node] = []
    waiting = [value]
    while waiting:
        tensor = waiting.pop()
        if tensor.is_graph_output():
            return None
        for node in consumers_of(tensor):
            if node.graph is not graph or (node.op_type != "Cast" and not _is_moving(node, tensor)):
                return None
            if node.op_type == "Cast":
                # An output would lose its name.
                if node.outputs[0].is_graph_output():
                    return None
                casts.append(node)
            elif node not in moves and reads_data(node):
                moves.append(node)
                waiting += node.outputs
    types = {node.attributes["to"].as_int() for node in casts}
    return _Moved(moves, casts) if moves and len(types) == 1 else None


def _is_moving(node: ir.Node, tensor: ir.Value) -> bool:
    """Whether a node moves a tensor, or asks how large it is."""
    is_data = node.inputs[0] is tensor and tensor not in node.inputs[1:]
    return is_data and (is_move(node) or not reads_data(node))


def _cast_first(graph: ir.Graph, value: ir.Value, moved: _Moved) -> None:
    editor = Editor(graph)
    first = moved.casts[0]
    # The file may say it of no tensor.
    dtype = ir.TensorType(ir.DataType(first.attributes["to"].as_int()))
    cast = ir.Node("", "Cast", [value], [first.attributes["to"]], name=first.name)
    floats = cast.outputs[0]
    floats.name, floats.type = f"{value.name}_cast", dtype
    floats.shape = value.shape
    for each in moved.casts:
        source = each.inputs[0]
        assert source is not None
        result = each.outputs[0]
        editor.replace(result, floats if source is value else source)
        editor.remove(each)
    for node in moved.moves:
        node.outputs[0].type = dtype
    # Sizes as well are asked of what is cast.
    editor.replace(value, floats)
    node = next(iter(graph))
    editor.insert_before(node, [cast])
    editor.replace_input(cast, 0, value)
    editor.finish()
