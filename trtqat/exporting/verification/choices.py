"""Operators that choose: what they choose among equals is nobody's fault.

TopK of a heatmap that is 0 nearly everywhere takes whichever zeros it meets first, and each
library meets others. What is gathered by its indices then differs in a right graph, too. How far
shows when the graph is run with scores that are moved by a rounding: equal ones are so no longer.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx
from onnx import helper

from trtqat.exporting.verification.cut import Cut, behind
from trtqat.graph.lenses.choices import CHOOSING

# What jumps where its input crosses a border.
_JUMPING = {
    *("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
    *("Ceil", "Floor", "Hardmax", "NonZero", "Round", "Sign", "Unique"),
}
# Scores that are nearly equal are to change places now and then, so they are moved by more than
# what a rounding moves them by.
_APART = 4
# Zeros stay equal where they are multiplied; this moves nothing else. By element type.
_TINY: dict[int, float] = {onnx.TensorProto.FLOAT: 1e-30, onnx.TensorProto.FLOAT16: 1e-6}


def behind_choices(proto: onnx.ModelProto, cuts: Mapping[str, Cut]) -> set[str]:
    """Tensors of a cut graph that something stands before which chooses or jumps.

    Args:
        proto: The graph before it was cut.
        cuts: Where it is cut, by the tensor that is dequantized.
    """
    decides = {*CHOOSING, *_JUMPING}
    return behind(proto, cuts, lambda node: node.op_type in decides)


def shaken_choices(proto: onnx.ModelProto, relative: float, seed: int) -> onnx.ModelProto:
    """The graph with every float that is chosen by its size moved a little, equal ones apart.

    Args:
        proto: The graph; it is not changed.
        relative: How large a rounding is; it is moved by up to four.
        seed: Same seed, same choices.
    """
    if not any(node.op_type in CHOOSING for node in proto.graph.node):
        return proto
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    types = _float_types(made)
    nodes = list(made.graph.node)
    del made.graph.node[:]
    for number, node in enumerate(nodes):
        place = CHOOSING.get(node.op_type)
        if place is not None and node.input[place] in types:
            name, shaken = node.input[place], f"{node.input[place]}/shaken/{number}"
            made.graph.node.extend(_shake(name, shaken, types[name], relative, seed + number))
            node.input[place] = shaken
        made.graph.node.append(node)
    return made


def _shake(
    name: str, shaken: str, elem_type: int, relative: float, seed: int
) -> list[onnx.NodeProto]:
    """``x * u + v``, u near 1 and v near 0, in FP32; then in the type that it had."""
    wide, factor, shift = (f"{shaken}/{part}" for part in ("wide", "factor", "shift"))
    return [
        helper.make_node("Cast", [name], [wide], to=onnx.TensorProto.FLOAT),
        helper.make_node(
            *("RandomUniformLike", [wide], [factor]),
            low=1 - _APART * relative, high=1 + _APART * relative, seed=float(seed),
        ),
        helper.make_node(
            *("RandomUniformLike", [wide], [shift]),
            low=-_TINY[elem_type], high=_TINY[elem_type], seed=seed + 0.5,
        ),
        helper.make_node("Mul", [wide, factor], [f"{shaken}/product"]),
        helper.make_node("Add", [f"{shaken}/product", shift], [f"{shaken}/sum"]),
        helper.make_node("Cast", [f"{shaken}/sum"], [shaken], to=elem_type),
    ]  # fmt: skip


def _float_types(proto: onnx.ModelProto) -> dict[str, int]:
    """Element types of the FP32 and FP16 tensors by name, as far as ONNX infers types."""
    graph = onnx.shape_inference.infer_shapes(proto).graph
    return {
        each.name: each.type.tensor_type.elem_type
        for each in (*graph.input, *graph.value_info, *graph.output)
        if each.type.tensor_type.elem_type in _TINY
    }
