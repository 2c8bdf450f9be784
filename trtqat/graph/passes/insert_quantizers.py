"""Pass: quantizers stand where a plan puts them, as FakeQuantize nodes.

``expand_fake_quantize`` makes the pairs of them, as of an exporter's.

1. A tensor is quantized once; all its planned readers share that.
2. Whoever is not planned reads the tensor as it was.
3. Nodes are known by their names, so that a plan for one graph serves a copy of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.passes.expand_fake_quantize import DOMAIN, OP_TYPE
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array

_PER_TENSOR = -1


@dataclass(frozen=True, eq=False)
class GraphQuantizer:
    """A quantizer with its scale, and all that reads through it.

    Attributes:
        name: Of the quantizer, dotted.
        scale: Float32, ``()`` or ``(C,)``, positive.
        axis: The channel axis of a scale ``(C,)``; None for one scale.
        low: Lowest code.
        readers: Name of a node, and which of its inputs is quantized.
    """

    name: str
    scale: Array
    axis: int | None
    low: float
    readers: tuple[tuple[str, int], ...]


def insert_quantizers(model: ir.Model, quantizers: Iterable[GraphQuantizer]) -> Changed:
    """Puts a FakeQuantize before the inputs that a plan names, in place; counts the nodes.

    Args:
        model: A float graph whose nodes have names of their own.
        quantizers: In the order in which pairs are to be made.
    """
    graph, editor = model.graph, Editor(model.graph)
    nodes = {name_of(node): node for node in graph}
    # In the graph's order, as a tensor is quantized before the first of its readers.
    position = {node: number for number, node in enumerate(graph)}
    count = 0
    for quantizer in quantizers:
        tensors: dict[ir.Value, list[tuple[ir.Node, int]]] = {}
        for name, index in quantizer.readers:
            node = nodes[name]
            value = node.inputs[index]
            assert value is not None
            tensors.setdefault(value, []).append((node, index))
        for value, readers in tensors.items():
            made = _fake_quantize(graph, quantizer, value)
            first = min((node for node, _ in readers), key=position.__getitem__)
            editor.insert_before(first, [made])
            for node, index in readers:
                editor.replace_input(node, index, made.outputs[0])
            count += 1
    if count:
        graph.opset_imports[DOMAIN] = 1
    return Changed(count)


def _fake_quantize(graph: ir.Graph, quantizer: GraphQuantizer, value: ir.Value) -> ir.Node:
    scale = np.asarray(quantizer.scale, np.float32)
    attributes = {
        "quantizer": ir.AttrString("quantizer", quantizer.name),
        "axis": ir.AttrInt64("axis", _PER_TENSOR if quantizer.axis is None else quantizer.axis),
        "low": ir.AttrFloat32("low", quantizer.low),
        "high": ir.AttrFloat32("high", 127.0),
    }
    made = ir.Node(
        DOMAIN,
        OP_TYPE,
        [value, add_initializer(graph, f"{quantizer.name}.scale", scale)],
        attributes,
        name=f"{quantizer.name}/{value.name}",
    )
    made.outputs[0].name = f"{made.name}_quantized"
    made.outputs[0].type, made.outputs[0].shape = value.type, value.shape
    return made
