"""Which tensors of a graph are weights: they depend on initializers only, not on an input.

And what moves them behind their DequantizeLinear.
"""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.moves import is_move
from trtqat.graph.lenses.pairs import DEQUANTIZE
from trtqat.graph.lenses.paths import follow


class Weights:
    """Answers for one graph; every node is looked at once, however often it is asked for.

    The answers stay right while a pass changes the graph: no pass makes a weight of what depends on
    an input, or the other way round, and new tensors are looked at when they are asked for.
    """

    def __init__(self) -> None:
        self._known: dict[ir.Node, bool] = {}
        self._first_moves: dict[ir.Value, ir.Node | None] = {}

    def __contains__(self, value: ir.Value) -> bool:
        """Whether a tensor depends on initializers only."""
        node = None if value.is_initializer() else value.producer()
        if node is None:
            return value.is_initializer()
        if node not in self._known:
            self._look_at(node)
        return self._known[node]

    def first_move(self, weight: ir.Value) -> ir.Node | None:
        """The first of the moving nodes between a DequantizeLinear and a weight.

        None without both.
        """

        def step(current: ir.Value) -> tuple[ir.Node | None, ir.Value | None]:
            node = current.producer()
            if node is None or not is_move(node):
                return None, None
            source = node.inputs[0]
            before = None if source is None else source.producer()
            return (node, None) if before and before.op_type == DEQUANTIZE else (None, source)

        return follow(weight, step, self._first_moves)

    def _look_at(self, node: ir.Node) -> None:
        # A stack, as Python's own ends at a depth of a thousand nodes.
        stack, entered = [node], set[ir.Node]()
        while stack:
            current = stack[-1]
            if current in self._known:
                stack.pop()
                continue
            if current in entered:  # all before it are known by now
                self._known[current] = all(map(self._is_known, current.inputs))
                continue
            entered.add(current)
            makers = [each.producer() for each in current.inputs if each is not None]
            stack += [each for each in makers if each is not None and each not in entered]

    def _is_known(self, value: ir.Value | None) -> bool:
        """Whether an input of a node is a weight, once all nodes before that are known."""
        node = None if value is None or value.is_initializer() else value.producer()
        if node is None:
            return value is None or value.is_initializer()
        return self._known.get(node, True)
