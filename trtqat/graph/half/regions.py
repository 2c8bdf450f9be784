"""Where FP32 goes on although FP16 would do, so that Casts do not cost more than they save.

Cheap nodes that only FP32 reaches and that reach only FP32 stay FP32, as the Relu between an
FP32 convolution and its quantizer. Inputs and outputs of the graph are FP32: a quantizer right
behind an input reads it without a Cast. Convolutions and matrix products are never cheap.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import onnx_ir as ir

from trtqat.graph.half.half_types import is_float

_HEAVY = {
    "Attention",
    "Conv",
    "ConvTranspose",
    "DeformConv",
    "Einsum",
    "GRU",
    "Gemm",
    "LSTM",
    "MatMul",
    "RNN",
}


def enclosed_nodes(nodes: Iterable[ir.Node], kept: Collection[ir.Node]) -> dict[ir.Node, str]:
    """Finds the cheap nodes that FP32 encloses.

    Args:
        nodes: Every node of the main graph with a float32 input or output.
        kept: Those that must stay FP32.

    Returns:
        The nodes that should stay FP32 too, with the reason in words.
    """
    cheap = [node for node in nodes if node not in kept and node.op_type not in _HEAVY]
    pending = dict.fromkeys(cheap)
    enclosed: dict[ir.Node, str] = {}
    for start in cheap:
        if start not in pending:
            continue
        region, border = _region(start, pending, kept)
        # Without a border there is nothing to be enclosed by, as for a Relu between Q/DQ.
        if border:
            reason = f"only FP32 is around it, at '{border}'"
            enclosed.update(dict.fromkeys(region, reason))
    return enclosed


def _region(
    start: ir.Node, pending: dict[ir.Node, None], kept: Collection[ir.Node]
) -> tuple[list[ir.Node], str]:
    """Nodes that float tensors connect without leaving ``pending``, which loses them.

    Returns:
        The nodes, and a tensor on their border; empty if one on the border is not FP32.
    """
    region, stack, open_to_half, border = [], [start], False, ""
    seen = {start}
    del pending[start]
    while stack:
        node = stack.pop()
        region.append(node)
        for value, neighbours in _edges(node):
            for neighbour in neighbours:
                if neighbour in pending:
                    del pending[neighbour]
                    stack.append(neighbour)
                    seen.add(neighbour)
                elif neighbour is None or neighbour in kept:
                    border = border or str(value.name)
                elif neighbour not in seen:
                    open_to_half = True
    return region, "" if open_to_half else border


def _edges(node: ir.Node) -> list[tuple[ir.Value, list[ir.Node | None]]]:
    """Float tensors of a node with the nodes at their other ends; None for the graph's."""
    edges: list[tuple[ir.Value, list[ir.Node | None]]] = []
    for value in node.inputs:
        if value is None or not is_float(value):
            continue
        if value.is_graph_input() or not value.is_initializer():
            edges.append((value, [value.producer()]))
    for value in node.outputs:
        if is_float(value):
            ends: list[ir.Node | None] = [
                None if use.node.graph is not node.graph else use.node for use in value.uses()
            ]
            edges.append((value, [*ends, None] if value.is_graph_output() else ends))
    return edges
