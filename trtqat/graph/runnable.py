"""A graph without the plugins that TensorRT alone runs, as a detector's NMS, and what reads them.

ONNX Runtime refuses the whole graph for one such node. What a plugin reads is an output in its
place: of that the ranges are chosen, and that is compared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import onnx
import onnx_ir as ir

from trtqat.errors import GraphError
from trtqat.graph.editing import remove_unused
from trtqat.graph.lenses.basics import name_of, nodes_inside
from trtqat.graph.lenses.mac_formulas import MICROSOFT, operator_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.passes.tidy import inline_functions
from trtqat.graph_file.serialized import Serialized, serialize

_Functions: TypeAlias = Mapping[ir.OperatorIdentifier, ir.Function]

# Of ONNX's own operators and those of ONNX Runtime.
_RUN = (MICROSOFT, "ai.onnx.ml", "ai.onnx.preview.training", "com.microsoft.nchwc")


def plugins_of(model: ir.Model) -> tuple[str, ...]:
    """The nodes that ONNX Runtime does not run, as ``"'/nms' (EfficientNMS_TRT)"``."""
    functions = model.functions
    nodes = (node for node in model.graph.all_nodes() if _is_plugin(node, functions))
    return tuple(f"'{name_of(node)}' ({operator_of(node)})" for node in nodes)


def notes_on_plugins(plugins: Sequence[str], more: str = "") -> list[str]:
    """What a user should know of a graph with plugins; nothing without them.

    Args:
        plugins: As ``plugins_of`` names them.
        more: What else is said of all that stands behind them.
    """
    if not plugins:
        return []
    return [
        f"ONNX Runtime does not run {', '.join(plugins)}: what these read is compared, and nothing "
        f"behind them{more}."
    ]


def inline_plugins(model: ir.Model) -> None:
    """Writes functions in place of their calls, in place, where one has a plugin inside.

    ONNX Runtime runs what of such a function reads no plugin; and a graph in which functions are
    inlined later reads tensors of other names.
    """
    functions = model.functions
    inside = (node for each in functions.values() for node in each.all_nodes())
    if any(_is_plugin(node, functions) for node in inside):
        inline_functions(model)


def serialize_runnable(model: ir.Model) -> Serialized:
    """What ONNX Runtime is given of a graph: ``runnable``, as ``serialize`` writes it."""
    return serialize(runnable(model))


def runnable(model: ir.Model) -> ir.Model:
    """A copy without plugins; the graph itself where it has none.

    A node with a plugin in its branches goes as a whole.

    Args:
        model: Is not changed; its nodes have names of their own, and its functions no plugins.

    Returns:
        A graph with the outputs that depend on no plugin, and all tensors computed of its inputs
        that are read by plugins and by what stands behind them, by the names ``NODE.input_N``.

    Raises:
        GraphError: Nothing is left: the plugins read the graph's inputs.
    """
    if not plugins_of(model):
        return model
    copy = model.clone()
    graph = copy.graph
    gone, read = _without(graph, copy.functions)
    lost = {value for node in gone for value in node.outputs}
    outputs = [value for value in graph.outputs if value not in lost]
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    for node in gone:
        for inner in nodes_inside(node):
            inner.resize_inputs(0)
    graph.remove(gone, safe=True)
    taken = {value.name for node in graph for value in node.outputs} | set(graph.initializers)
    for wanted, value in read.items():
        name = wanted
        while name in taken:
            name += "_"
        node = ir.Node("", "Identity", [value], name=name)
        node.outputs[0].name = name
        node.outputs[0].type = value.type
        graph.append(node)
        graph.outputs.append(node.outputs[0])
    remove_unused(graph)
    kept = {node.domain for node in graph.all_nodes()} | {key[0] for key in copy.functions}
    for domain in {node.domain for node in gone} - kept - {""}:
        graph.opset_imports.pop(domain, None)
    if not graph.outputs:
        raise GraphError(
            f"The plugin {plugins_of(model)[0]} reads the graph's inputs, and ONNX Runtime does "
            "not run it, so nothing is left to run.",
            "Give the graph without it.",
        )
    return copy


def _without(graph: ir.Graph, functions: _Functions) -> tuple[list[ir.Node], dict[str, ir.Value]]:
    """Plugins and all that depends on them, and by name the computed tensors that these read.

    What is computed of constants is none of them: weights become others where a BatchNorm behind
    them is folded.
    """
    lost: set[ir.Value] = set()
    computed: set[ir.Value] = set()
    gone: list[ir.Node] = []
    read: dict[str, ir.Value] = {}
    for node in graph:
        inside = list(nodes_inside(node))
        values = _read_by(node, inside, graph)
        is_plugin = any(_is_plugin(each, functions) for each in (node, *inside))
        if not is_plugin and not lost.intersection(values):
            if any(value in computed or value.is_graph_input() for value in values if value):
                computed.update(node.outputs)
            continue
        gone.append(node)
        lost.update(node.outputs)
        for index, value in enumerate(values):
            if value in computed:
                read[f"{name_of(node)}.input_{index}"] = value
    return gone, read


def _read_by(node: ir.Node, inside: Sequence[ir.Node], graph: ir.Graph) -> list[ir.Value | None]:
    """What a node reads, and behind that what its branches read of the graph around them."""
    given = list(node.inputs)
    captured = (value for inner in inside for value in inner.inputs)
    others = {value: None for value in captured if value is not None and value.graph is graph}
    return [*given, *(value for value in others if value not in given)]


def _is_plugin(node: ir.Node, functions: _Functions) -> bool:
    if node.op_identifier() in functions:
        return False
    if node.domain in ONNX_DOMAINS:
        return not onnx.defs.has(node.op_type)
    return node.domain not in _RUN
