"""Changes of a graph that cost no more than what they touch.

``onnx_ir`` looks through all outputs of the graph for each node that goes. Where a graph has
thousands of outputs, or thousands of nodes read one tensor (``lenses.basics.Readers``), a pass
would cost the square of that.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.basics import Readers


class Editor(Readers):
    """Changes a graph; what it is told to remove goes from the graph at ``finish``.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        super().__init__(graph)
        self._graph = graph
        self._removed: dict[ir.Node, None] = {}
        self._outputs: dict[ir.Value, list[int]] = {}
        for position, value in enumerate(graph.outputs):
            self._outputs.setdefault(value, []).append(position)

    def is_removed(self, node: ir.Node) -> bool:
        """Whether a node is among those that go."""
        return node in self._removed

    def insert_before(self, node: ir.Node, new: list[ir.Node]) -> None:
        """Puts new nodes before a node."""
        self._graph.insert_before(node, new)
        self._count(new)

    def insert_after(self, node: ir.Node, new: list[ir.Node]) -> None:
        """Puts new nodes behind a node."""
        self._graph.insert_after(node, new)
        self._count(new)

    def replace_input(self, node: ir.Node, index: int, value: ir.Value | None) -> None:
        """Lets a node read another tensor, or none."""
        old = node.inputs[index]
        if old is not None:
            self._of(old).pop((node, index))
        if value is not None:
            self._of(value)[node, index] = None
        node.replace_input_with(index, value)

    def replace(self, old: ir.Value, new: ir.Value) -> None:
        """Lets all that read a tensor read another one, the graph's outputs as well."""
        for position in self._outputs.pop(old, ()):
            self._graph.outputs[position] = new
            self._outputs.setdefault(new, []).append(position)
        for node, index in list(self._of(old)):
            self.replace_input(node, index, new)

    def remove(self, node: ir.Node) -> None:
        """Removes a node whose outputs nothing reads; its inputs are let go at once."""
        for index in range(len(node.inputs)):
            self.replace_input(node, index, None)
        self._removed[node] = None

    def _count(self, new: list[ir.Node]) -> None:
        for node in new:
            for index, value in enumerate(node.inputs):
                if value is not None:
                    self._of(value)[node, index] = None

    def finish(self) -> None:
        """Takes the removed nodes out of the graph."""
        self._graph.remove(self._removed, safe=True)
        self._removed = {}
