"""Graphs that quantize FP16, for versions of ONNX Runtime that do not round there.

Up to 1.29 the CPU's QuantizeLinear of FP16 drops what stands behind the point: of 64 numbers 34
had a code that is one nearer to 0. The operator rounds to the nearest, ties to even.
https://github.com/microsoft/onnxruntime/pull/32452
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_FIRST_THAT_ROUNDS = (1, 30)
_FLOAT, _FLOAT16 = 1, 10  # onnx.TensorProto has them; onnx is imported only where it is needed


def rounds_half(runtime: ModuleType) -> bool:
    """Whether this ONNX Runtime rounds where a graph quantizes FP16."""
    return tuple(map(int, re.findall(r"\d+", runtime.__version__)[:2])) >= _FIRST_THAT_ROUNDS


def quantize_in_float(proto: onnx.ModelProto) -> bool:
    """Makes FP16 FP32 before it is quantized, which gives the codes of rounding.

    Args:
        proto: The graph, which is changed in place.

    Returns:
        Whether anything of FP16 is quantized there.
    """
    from trtqat.graph_file.serialized import graphs_of

    graphs = list(graphs_of(proto))
    half = {name for graph in graphs for name in _half_tensors(graph)}
    changed = False
    for graph in graphs:
        nodes = list(graph.node)
        if not any(_quantizes_half(node, half) for node in nodes):
            continue
        del graph.node[:]
        for node in nodes:
            if _quantizes_half(node, half):
                graph.node.extend(_casts_before(node))
                changed = True
            graph.node.append(node)
    return changed


def _quantizes_half(node: onnx.NodeProto, half: set[str]) -> bool:
    return node.op_type == "QuantizeLinear" and not node.domain and node.input[1] in half


def _casts_before(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """What makes number and scale FP32; the node reads that."""
    import onnx

    for index, what in enumerate(("number", "scale")):
        made = f"{node.output[0]}/{what} in FP32"
        yield onnx.helper.make_node("Cast", [node.input[index]], [made], made, to=_FLOAT)
        node.input[index] = made


def _half_tensors(graph: onnx.GraphProto) -> Iterator[str]:
    """Names of those that are known to be FP16."""
    yield from (each.name for each in graph.initializer if each.data_type == _FLOAT16)
    for value in graph.value_info:
        if value.type.tensor_type.elem_type == _FLOAT16:
            yield value.name
    for node in graph.node:
        if any(each.name == "value" and each.t.data_type == _FLOAT16 for each in node.attribute):
            yield node.output[0]
