"""Pass: some nodes read floats where they read a Q/DQ pair.

1. What a pair means stays: an activation is read before it is quantized, a weight as the float that
   its codes stand for.
2. Nodes between a pair and its reader that only move values (a Reshape, a weight's Transpose) move
   floats then. Where another node reads the same codes behind them, each has its own.
3. Pairs that nothing reads any more go; those that other nodes read as well stay for these.
4. An input that arrives as codes stays one. Bytes that become whole codes in the graph become
   floats there once nothing quantizes them.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir

from trtqat.graph.editing import remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.moves import moves_values
from trtqat.graph.lenses.pairs import DEQUANTIZE, PAIR, quantizer_of
from trtqat.graph.passes.protocol import Changed
from trtqat.graph.passes.remove_quantization import float_weight
from trtqat.graph.pixels.give_floats import give_floats
from trtqat.graph_file.garbage import uncollected


@uncollected()
def keep_float(model: ir.Model, nodes: Collection[str]) -> Changed:
    """Takes the pairs out that some nodes read, in place; counts the inputs that changed.

    Args:
        model: The graph; its nodes have names of their own.
        nodes: Names of nodes, such as a region's.

    Raises:
        GraphError: Codes are computed otherwise than by QuantizeLinear.
    """
    graph = model.graph
    floats = _Floats(graph, frozenset(nodes))
    count = 0
    for node in list(graph):
        if node.op_type in PAIR or not floats.is_changed(node):
            continue
        for index, value in enumerate(node.inputs):
            if value is None or (index and moves_values(node)):
                continue
            plain = floats.of(value)
            if plain is not value:
                floats.editor.replace_input(node, index, plain)
                count += 1
    floats.editor.finish()
    remove_unused(graph)
    give_floats(graph)
    return Changed(count)


class _Floats:
    """The tensors that are read instead of those that come out of a pair."""

    def __init__(self, graph: ir.Graph, nodes: frozenset[str]) -> None:
        self.editor = Editor(graph)
        self._graph = graph
        self._inputs = set(graph.inputs)
        self._nodes = nodes
        self._known: dict[ir.Value, ir.Value] = {}
        made = [value for node in graph for value in node.outputs]
        self._made = {str(value.name) for value in (*graph.inputs, *made)}
        self._names = {*self._made, *graph.initializers, *map(name_of, graph)}
        self._served = served = set[ir.Node]()
        for node in reversed(graph):
            if _is_passed(node) and all(map(self._serves, node.outputs)):
                served.add(node)
        self._alone = {node for node in served if node.op_type not in PAIR}

    def is_changed(self, node: ir.Node) -> bool:
        """Whether a node itself reads floats; what moves values for others as well does not."""
        return node in self._alone if moves_values(node) else name_of(node) in self._nodes

    def of(self, value: ir.Value) -> ir.Value:
        """What is read instead of a tensor; itself where no pair is behind it."""
        way: list[tuple[ir.Node, ir.Value]] = []
        found = value
        while found not in self._known:
            node, source = found.producer(), self._source(found.producer())
            if node is None or source is None:
                break
            way.append((node, source))
            found = source
        for node, source in reversed(way):
            self._look_through(node, source)
        return self._known.get(value, value)

    def _source(self, node: ir.Node | None) -> ir.Value | None:
        """The tensor before a pair, or before a node that moves values for others as well."""
        if node is None or node in self._alone:
            return None
        if node.op_type == DEQUANTIZE:
            # An input that arrives as codes has no other form.
            quantize = quantizer_of(node)
            given = node.inputs[0] in self._inputs
            return None if given else node.inputs[0] if quantize is None else quantize.inputs[0]
        return node.inputs[0] if moves_values(node) else None

    def _look_through(self, node: ir.Node, source: ir.Value) -> None:
        """Notes what is read instead of a node's outputs."""
        plain = self._known.get(source, source)
        if node.op_type != DEQUANTIZE:
            outputs = list(node.outputs) if plain is source else self._copy(node, plain)
            self._known.update(zip(node.outputs, outputs, strict=True))
        elif quantizer_of(node) is None:
            self._known[node.outputs[0]] = float_weight(self._graph, node, self._made)
        else:
            self._known[node.outputs[0]] = plain

    def _copy(self, node: ir.Node, plain: ir.Value) -> list[ir.Value]:
        """A node that moves the floats as another one moves what comes out of the pair."""
        outputs = [
            ir.Value(name=self._free(str(value.name)), shape=value.shape, type=value.type)
            for value in node.outputs
        ]
        copy = ir.Node(
            node.domain,
            node.op_type,
            [plain, *node.inputs[1:]],
            list(node.attributes.values()),
            outputs=outputs,
            name=self._free(name_of(node)),
            version=node.version,
        )
        self.editor.insert_after(node, [copy])
        return outputs

    def _free(self, wanted: str) -> str:
        name, number = f"{wanted}.float", 1
        while name in self._names:
            number += 1
            name = f"{wanted}.float_{number}"
        self._names.add(name)
        self._made.add(name)
        return name

    def _serves(self, value: ir.Value) -> bool:
        """Whether only nodes that are to read floats read a tensor."""
        if value.is_graph_output():
            maker = value.producer()
            if maker is None or maker.op_type in PAIR or name_of(maker) not in self._nodes:
                return False
        return all(self._is_served(use.node) for use in value.uses())

    def _is_served(self, reader: ir.Node) -> bool:
        if _is_passed(reader):
            return reader in self._served
        return reader.graph is self._graph and name_of(reader) in self._nodes


def _is_passed(node: ir.Node) -> bool:
    return node.op_type in PAIR or moves_values(node)
