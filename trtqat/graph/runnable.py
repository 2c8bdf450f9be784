"""A graph without the plugins that TensorRT alone runs, as a detector's NMS, and what reads them.

ONNX Runtime refuses the whole graph for one such node. What a plugin reads is an output in its
place: of that the ranges are chosen, and that is compared.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.editing import remove_unused
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.mac_formulas import MICROSOFT, operator_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph_file.serialized import Serialized, serialize

# Of ONNX's own operators and those of ONNX Runtime.
_RUN = (MICROSOFT, "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft.nchwc")


def plugins_of(model: ir.Model) -> tuple[str, ...]:
    """The nodes that ONNX Runtime does not run, as ``"'/nms' (EfficientNMS_TRT)"``."""
    nodes = filter(_is_plugin, model.graph)
    return tuple(f"'{name_of(node)}' ({operator_of(node)})" for node in nodes)


def serialize_runnable(model: ir.Model) -> Serialized:
    """What ONNX Runtime is given of a graph: ``runnable``, as ``serialize`` writes it."""
    return serialize(runnable(model))


def runnable(model: ir.Model) -> ir.Model:
    """A copy without plugins; the graph itself where it has none.

    Args:
        model: Is not changed; its nodes have names of their own.

    Returns:
        A graph with the outputs that depend on no plugin, and all computed tensors that plugins
        read, by the names ``NODE.input_N``.

    Raises:
        GraphError: Nothing is left: the plugins read the graph's inputs.
    """
    if not any(map(_is_plugin, model.graph)):
        return model
    copy = model.clone()
    graph = copy.graph
    lost: set[ir.Value] = set()
    gone: list[ir.Node] = []
    read: dict[str, ir.Value] = {}
    for node in graph:
        values = [value for value in node.inputs if value is not None]
        if not _is_plugin(node) and not lost.intersection(values):
            continue
        gone.append(node)
        lost.update(node.outputs)
        for index, value in enumerate(node.inputs):
            if value is not None and value not in lost and value.producer() is not None:
                read[f"{name_of(node)}.input_{index}"] = value
    outputs = [value for value in graph.outputs if value not in lost]
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    graph.remove(gone, safe=True)
    for name, value in read.items():
        node = ir.Node("", "Identity", [value], name=name)
        node.outputs[0].name = name
        node.outputs[0].type = value.type
        graph.append(node)
        graph.outputs.append(node.outputs[0])
    remove_unused(graph)
    for domain in {node.domain for node in gone} - {node.domain for node in graph} - {""}:
        graph.opset_imports.pop(domain, None)
    if not graph.outputs:
        raise GraphError(
            f"The plugin {plugins_of(model)[0]} reads the graph's inputs, and ONNX Runtime does "
            "not run it, so nothing is left to run.",
            "Give the graph without it.",
        )
    return copy


def _is_plugin(node: ir.Node) -> bool:
    if node.domain in ONNX_DOMAINS:
        return not onnx.defs.has(node.op_type)
    return node.domain not in _RUN
