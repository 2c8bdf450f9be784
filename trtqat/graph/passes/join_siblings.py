"""Pass: a Clip that parts siblings goes where not quantizers alone read what it makes.

1. It saturates where their codes do (``part_siblings``). Whoever reads floats would get other ones
   than the model computes, and a float engine would have an activation that the model has not.
2. A Clip from 0 becomes the Relu that it was, another one goes. The tensor keeps its name.

TensorRT 8.6.0 does not merge such a convolution with those that write INT8, so nothing is refused.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.siblings import CLIPPED, parts_siblings, quantizers_alone
from trtqat.graph.lenses.view import GraphView
from trtqat.graph.passes.protocol import Changed


def join_siblings(model: ir.Model) -> Changed:
    """Takes such Clips out, in place; counts them."""
    graph = model.graph
    clips = [node for node in graph if parts_siblings(node)]
    if not clips:
        return Changed(0)
    view, editor = GraphView(graph), Editor(graph)
    going = [clip for clip in clips if not quantizers_alone(view, clip.outputs[0])]
    names = {node.name for node in graph}
    for clip in going:
        source, lower = clip.inputs[:2]
        assert source is not None
        assert lower is not None
        output, bound, new = clip.outputs[0], constant_array(lower), source
        if bound is not None and not bound.any():
            was = str(clip.name).rpartition(CLIPPED)[0]
            relu = ir.Node("", "Relu", [source], name=clip.name if was in names else was)
            editor.insert_before(clip, [relu])
            new = relu.outputs[0]
            new.type, new.shape = output.type, output.shape
        editor.replace(output, new)
        editor.remove(clip)
        new.name, output.name = output.name, None
    editor.finish()
    return Changed(len(going))
