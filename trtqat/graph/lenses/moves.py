"""Nodes that only move values, and what they make of a constant, computed with NumPy.

Three questions, from the strictest:

    commutes        per tensor, quantizing before or behind the node is the same
    is_move         of a constant, NumPy computes what comes out
    moves_values    what comes out are values of the first input, if maybe not all of them

Nothing here rounds, so codes, and the scale that each of them has, can be moved alike: whatever
the node does, a code and its scale arrive at the same place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.lenses.basics import constant_array, integer_of
from trtqat.graph.lenses.pairs import consumers_of
from trtqat.tensors import Array

ONNX_DOMAINS = ("", "ai.onnx")
# Every value comes out once, at another place or in another shape.
REARRANGING = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_COMMUTES = REARRANGING | {"MaxPool"}
# These select, move or repeat values too. No repair relies on it, but a layer behind them
# still has its INT8 input.
_SELECT_OR_REPEAT = frozenset(
    {"DepthToSpace", "Expand", "Gather", "GlobalMaxPool", "Slice", "SpaceToDepth", "Split", "Tile"}
)
# A constant that grows beyond this is left to whoever runs the graph.
_MAX_ELEMENTS = 2**28


def commutes(node: ir.Node) -> bool:
    """Whether a node only moves or selects the values of its first input.

    Then quantizing per tensor before or after it is the same, bit for bit. Of equal values
    MaxPool takes any. A window of a dilated one can lie in the padding alone; then it makes
    the lowest FP32 number, which is nobody's value.
    """
    dilations = node.attributes.get("dilations")
    return node.op_type in _COMMUTES and (
        dilations is None or all(dilation == 1 for dilation in dilations.as_ints())
    )


def is_move(node: ir.Node) -> bool:
    """Whether a node is of an operator that only moves, selects or repeats values."""
    return node.op_type in _COMPUTED and node.domain in ONNX_DOMAINS and len(node.outputs) == 1


def moves_values(node: ir.Node) -> bool:
    """Whether the first input's values come out of a node unchanged, if maybe not all of them."""
    mode = node.attributes.get("mode")
    is_nearest = node.op_type == "Resize" and (mode is None or mode.as_string() == "nearest")
    return commutes(node) or node.op_type in _SELECT_OR_REPEAT or is_nearest


def pads_with_zero(node: ir.Node) -> bool:
    """Whether a node puts zeros around its first input, which every INT8 scale has a code for."""
    mode = node.attributes.get("mode")
    if node.op_type != "Pad" or (mode is not None and mode.as_string() != "constant"):
        return False
    # Before opset 11 the number is an attribute.
    attribute = node.attributes.get("value")
    if attribute is not None:
        return attribute.as_float() == 0
    value = node.inputs[2] if len(node.inputs) > 2 else None
    padding = None if value is None else constant_array(value)
    return value is None or (padding is not None and not padding.any())


def keeps_codes(node: ir.Node) -> bool:
    """Whether a node moves values, or puts zeros around them."""
    return moves_values(node) or pads_with_zero(node)


def readers_through(value: ir.Value, operators: Collection[str]) -> Iterator[ir.Node]:
    """The nodes that read a tensor, and, behind those that only move it, their readers.

    Args:
        value: The tensor.
        operators: Which nodes are looked through; they are among the readers themselves.
    """
    forms = [value]
    for form in forms:
        for node in consumers_of(form):
            yield node
            if node.op_type in operators and node.inputs[0] is form:
                forms.append(node.outputs[0])


@dataclass(frozen=True, eq=False)
class Form:
    """A constant tensor, as moving nodes have made it.

    Attributes:
        value: The tensor.
        arrays: What stands for it (its codes, the scale of each), all of its shape.
    """

    value: ir.Value
    arrays: tuple[Array, ...]


def forms_of(value: ir.Value, arrays: tuple[Array, ...], graph: ir.Graph) -> Iterator[Form]:
    """A constant tensor, and all that moving nodes of a graph make of it."""
    stack = [Form(value, arrays)]
    while stack:
        form = stack.pop()
        yield form
        for node in consumers_of(form.value):
            if node.graph is not graph or not is_move(node) or node.inputs[0] is not form.value:
                continue
            results = [moved(node, array) for array in form.arrays]
            done = tuple(result for result in results if result is not None)
            if len(done) == len(results):
                stack.append(Form(node.outputs[0], done))


def moved(node: ir.Node, array: Array) -> Array | None:
    """What a moving node makes of an array at its first input.

    Args:
        node: One for which ``is_move`` holds.
        array: Any shape and dtype.

    Returns:
        None if its other inputs are computed or do not fit the array.
    """
    others = [None if value is None else constant_array(value) for value in node.inputs[1:]]
    given = [value is not None for value in node.inputs[1:]]
    if any(is_given and known is None for is_given, known in zip(given, others, strict=True)):
        return None
    try:
        return _COMPUTED[node.op_type](node, array, others)
    except (IndexError, KeyError, TypeError, ValueError):
        return None  # an index or shape that does not fit: whoever runs the graph refuses it


_Others = Sequence[Array | None]


def _reshape(node: ir.Node, array: Array, others: _Others) -> Array:
    wanted = [int(size) for size in _needed(others, 0)]
    if not integer_of(node, "allowzero", 0):
        # ONNX: 0 keeps the dimension of that place.
        wanted = [size or array.shape[at] for at, size in enumerate(wanted)]
    reshaped: Array = array.reshape(wanted)
    return reshaped


def _flatten(node: ir.Node, array: Array, others: _Others) -> Array:
    axis = integer_of(node, "axis", 1)
    axis += array.ndim if axis < 0 else 0
    flat: Array = array.reshape(math.prod(array.shape[:axis]), math.prod(array.shape[axis:]))
    return flat


def _transpose(node: ir.Node, array: Array, others: _Others) -> Array:
    permutation = node.attributes.get("perm")
    order = None if permutation is None else permutation.as_ints()
    transposed: Array = array.transpose(order)
    return transposed


def _squeeze(node: ir.Node, array: Array, others: _Others) -> Array:
    axes = _integers(node, "axes", others, 0)
    return array.squeeze() if axes is None else array.squeeze(tuple(axes))


def _unsqueeze(node: ir.Node, array: Array, others: _Others) -> Array:
    axes = _integers(node, "axes", others, 0)
    if axes is None:
        raise ValueError("Unsqueeze has no axes")
    return np.expand_dims(array, tuple(axes))


def _slice(node: ir.Node, array: Array, others: _Others) -> Array:
    starts = _integers(node, "starts", others, 0)
    ends = _integers(node, "ends", others, 1)
    if starts is None or ends is None:
        raise ValueError("Slice has no bounds")
    axes = _integers(node, "axes", others, 2) or range(len(starts))
    steps = _integers(node, "steps", others, 3) or [1] * len(starts)
    places = [slice(None)] * array.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        # Python's own bounds are those of ONNX, negative ones and those beyond the end too.
        places[axis] = slice(start, end, step)
    cut: Array = array[tuple(places)]
    return cut


def _expand(node: ir.Node, array: Array, others: _Others) -> Array:
    wanted = tuple(int(size) for size in _needed(others, 0))
    shape = np.broadcast_shapes(array.shape, wanted)
    if math.prod(shape) > _MAX_ELEMENTS:
        raise ValueError("too large")
    return np.broadcast_to(array, shape)


def _gather(node: ir.Node, array: Array, others: _Others) -> Array:
    indices, axis = _needed(others, 0), integer_of(node, "axis", 0)
    if indices.size * array.size > _MAX_ELEMENTS * array.shape[axis]:
        raise ValueError("too large")
    return np.take(array, indices.astype(np.int64), axis=axis)


def _needed(others: _Others, index: int) -> Array:
    array = others[index]
    if array is None:
        raise ValueError("an input is missing")
    return array


def _integers(node: ir.Node, name: str, others: _Others, index: int) -> list[int] | None:
    """Of an input, or of the attribute that older opsets have in its place."""
    array = others[index] if len(others) > index else None
    if array is not None:
        return [int(number) for number in array.reshape(-1)]
    attribute = node.attributes.get(name)
    return None if attribute is None else list(attribute.as_ints())


_COMPUTED: dict[str, Callable[[ir.Node, Array, _Others], Array]] = {
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": lambda node, array, others: array,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
