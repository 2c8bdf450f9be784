"""Who reads each tensor of a graph, and changes of a graph that cost no more than what they touch.

``onnx_ir`` copies the list of a tensor's uses for each question, and looks through all outputs of
the graph for each node that goes. Where thousands of nodes read one tensor (a scale that all pairs
share), or a graph has thousands of outputs, a pass would cost the square of that.
"""

from __future__ import annotations

import onnx_ir as ir


class Readers:
    """Who reads each tensor; right as long as nothing else changes the graph.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        # In the order in which onnx_ir has them, as a dict, which counts and changes at no cost.
        self._uses: dict[ir.Value, dict[tuple[ir.Node, int], None]] = {}
        for value in (*graph.inputs, *graph.initializers.values()):
            self._of(value)
        for node in graph:
            for value in node.outputs:
                self._of(value)

    def count(self, value: ir.Value) -> int:
        """How many inputs of nodes a tensor is."""
        return len(self._of(value))

    def first(self, value: ir.Value, count: int) -> list[ir.Node]:
        """The first nodes that read a tensor, each once."""
        seen: dict[ir.Node, None] = {}
        for node, _ in self._of(value):
            seen[node] = None
            if len(seen) == count:
                break
        return list(seen)

    def _of(self, value: ir.Value) -> dict[tuple[ir.Node, int], None]:
        if value not in self._uses:
            self._uses[value] = dict.fromkeys(value.uses())
        return self._uses[value]


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
