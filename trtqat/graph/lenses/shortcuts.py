"""Which tensors a shortcut takes around a residual block, up to the sum that ends it."""

from __future__ import annotations

import onnx_ir as ir

from trtqat.graph.lenses.affine import BATCH_NORM
from trtqat.graph.lenses.basics import is_constant
from trtqat.graph.lenses.layers import CONVOLUTIONS, PRODUCTS
from trtqat.graph.lenses.moves import moves_values
from trtqat.graph.lenses.pairs import PAIR

_JOINS = ("Add", "Concat")
_POOLS = ("AveragePool", "GlobalAveragePool")
_LAYERS = (*CONVOLUTIONS, *PRODUCTS)
# A projection to other channels; the branch beside the shortcut has more.
_MOST_LAYERS = 1


class Shortcuts:
    """The shortcuts of a graph: Q/DQ, moves, pools and one layer at most, up to an Add or Concat.

    Args:
        graph: Sorted; it is not changed.
    """

    def __init__(self, graph: ir.Graph) -> None:
        # How many layers stand between a tensor and the sum, on the way that has the fewest.
        self._layers: dict[ir.Value, int] = {}
        # The nodes with which shortcuts from a tensor begin; of many two, to know one besides any.
        self._begins: dict[ir.Value, list[ir.Node]] = {}
        for node in reversed(list(graph.all_nodes())):
            layers = self._behind(node)
            if layers is None:
                continue
            for value in _carried(node):
                self._layers[value] = min(layers, self._layers.get(value, layers))
                begins = self._begins.setdefault(value, [])
                if len(begins) < 2 and node not in begins:
                    begins.append(node)

    def leave_beside(self, node: ir.Node) -> bool:
        """Whether a shortcut takes the first input of a node around it."""
        value = node.inputs[0]
        begins = () if value is None else self._begins.get(value, ())
        return any(each is not node for each in begins)

    def _behind(self, node: ir.Node) -> int | None:
        """How many layers there are from a node on; None if no shortcut goes through it."""
        if node.op_type in _JOINS:
            return 0
        known = [self._layers[value] for value in node.outputs if value in self._layers]
        if not known:
            return None
        layers = min(known) + (node.op_type in _LAYERS)
        return layers if layers <= _MOST_LAYERS else None


def _carried(node: ir.Node) -> list[ir.Value]:
    """The tensors that go on through a node if it belongs to a shortcut, or ends one."""
    if node.op_type in _JOINS:
        computed = [each for each in node.inputs if each is not None and not is_constant(each)]
        return computed if len(computed) > 1 else []
    passes = node.op_type in (*PAIR, *_POOLS, *_LAYERS, BATCH_NORM) or moves_values(node)
    return [each for each in node.inputs[:1] if each is not None] if passes else []
