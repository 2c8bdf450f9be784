"""Operators that choose: what they choose among equals is nobody's fault.

TopK of a heatmap that is 0 nearly everywhere takes whichever zeros it meets first, and each
library meets others. What is gathered by its indices then differs in a right graph, too. How far
shows when the graph is run with scores that are moved by a rounding: equal ones are so no longer.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from trtqat.exporting.verification.cut import Cut, computed_tensors, reads

# Operators by the input whose largest or smallest values they choose.
_CHOOSING = {"TopK": 0, "ArgMax": 0, "ArgMin": 0, "NonMaxSuppression": 1}
# What jumps where its input crosses a border.
_JUMPING = {
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("Ceil", "Floor", "Hardmax", "NonZero", "Round", "Sign", "Unique"),
}
# Zeros stay equal where they are multiplied; this moves nothing else.
_TINY = 1e-30


def behind_choices(proto: onnx.ModelProto, cuts: Mapping[str, Cut]) -> set[str]:
    """Tensors of a cut graph that something stands before which chooses or jumps.

    Args:
        proto: The graph before it was cut.
        cuts: Where it is cut, by the tensor that is dequantized.
    """
    computed = computed_tensors(proto)
    chosen: set[str] = set()
    for node in proto.graph.node:
        read = [name for name in reads(node) if name in computed]
        is_behind = any(name in chosen and name not in cuts for name in read)
        if is_behind or (read and node.op_type in (*_CHOOSING, *_JUMPING)):
            chosen.update(node.output)
    return chosen


def shaken_choices(proto: onnx.ModelProto, relative: float, seed: int) -> onnx.ModelProto:
    """The graph with every float that is chosen by its size moved a little, equal ones apart.

    Args:
        proto: The graph; it is not changed.
        relative: By up to so much of itself.
        seed: Same seed, same choices.
    """
    if not any(node.op_type in _CHOOSING for node in proto.graph.node):
        return proto
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    is_float = _float_tensors(made)
    nodes = list(made.graph.node)
    del made.graph.node[:]
    for number, node in enumerate(nodes):
        place = _CHOOSING.get(node.op_type)
        if place is not None and node.input[place] in is_float:
            name, shaken = node.input[place], f"{node.input[place]}/shaken/{number}"
            made.graph.node.extend(_shake(name, shaken, relative, seed + number))
            node.input[place] = shaken
        made.graph.node.append(node)
    return made


def _shake(name: str, shaken: str, relative: float, seed: int) -> list[onnx.NodeProto]:
    """``x * u + v``, u within a rounding of 1 and v of 0."""
    factor, shift = f"{shaken}/factor", f"{shaken}/shift"
    return [
        helper.make_node(
            *("RandomUniformLike", [name], [factor]),
            low=1 - relative, high=1 + relative, seed=float(seed),
        ),
        helper.make_node(
            *("RandomUniformLike", [name], [shift]), low=-_TINY, high=_TINY, seed=seed + 0.5
        ),
        helper.make_node("Mul", [name, factor], [f"{shaken}/product"]),
        helper.make_node("Add", [f"{shaken}/product", shift], [shaken]),
    ]  # fmt: skip


def _float_tensors(proto: onnx.ModelProto) -> set[str]:
    """Names of the FP32 tensors, as far as ONNX infers types."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    graph = inferred.graph
    return {
        each.name
        for each in (*graph.input, *graph.value_info, *graph.output)
        if each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
