"""A graph with one quantized layer, to which something is added that may multiply."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper

from tests.support.graphs import Graph
from trtqat.graph.lenses.macs import GraphSummary, summarize
from trtqat.graph.passes.infer_shapes import infer_shapes

LAYER_MACS = 4 * 4 * 36


def beside_a_layer(made: Graph | None = None) -> Graph:
    """A graph with one quantized layer, ``layer`` of (N, 4, 6, 6)."""
    made = made or Graph((1, 4, 6, 6), inputs={"x": ("batch", 4, 6, 6)})
    made.conv(made.pair("x", 0.1), "layer")
    return made


def quantized_branch() -> Graph:
    """The quantized layer, and behind it ``z``, an If with another one, ``inner``, inside."""
    made = beside_a_layer()
    before = len(made.nodes)
    made.conv(made.pair("layer", 0.1), "inner")
    inside = made.nodes[before:]
    del made.nodes[before:]
    made.constant("half", np.array(0.5, np.float32))
    mean = made.node("ReduceMean", ["x"], "mean", keepdims=0)
    made.node("Greater", [mean, "half"], "condition")
    branches = (inside, [helper.make_node("Neg", ["layer"], ["outer"], name="/outer")])
    then, other = (
        helper.make_graph(
            nodes,
            name,
            [],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("batch", 4, 6, 6))],
        )
        for nodes, name in zip(branches, ("inner", "outer"), strict=True)
    )
    made.node("If", ["condition"], "z", then_branch=then, else_branch=other)
    return made


def summary_of(made: Graph, *outputs: str, opset: int = 17) -> GraphSummary:
    """What multiplies in the graph that returns these outputs."""
    model = made.model(*outputs, opset=opset)
    infer_shapes(model)
    return summarize(model)


def floats(*shape: int) -> Any:
    """Ones of that shape."""
    return np.ones(shape, np.float32)
