"""Pass: what a graph computes of constants and fixed sizes alone is done once and for all.

A bias of shape ``(C,)`` that stands behind a Reshape is a computed tensor to whoever looks at the
graph, and a sum with it seems one of two activations: PaddlePaddle's converter writes every bias
so. PyTorch's TorchScript exporter cuts a packed weight by a size that it asks the query for.

1. A node of ``lenses.moves`` whose inputs are all constants becomes an initializer, and so does a
   Cast of integers.
2. What Gather and Slice take of a Shape does, where these dimensions are fixed.
3. Arithmetic on a few such numbers does, and a Concat of them.
4. What would grow (Expand) stays where it is more than a few kilobytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array
from trtqat.graph.lenses.moves import ONNX_DOMAINS, is_move, moved
from trtqat.graph.lenses.pairs import producer_of
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array

_MAX_GROWN_BYTES = 2**14
# What is computed of sizes: more is a weight, which is left to whoever quantizes it.
_FEW = 16
# An integer that becomes another one, or a float; the other way numbers may not fit.
_INTEGERS = (ir.DataType.INT32, ir.DataType.INT64)
# Stands for a dimension that is open while indices are looked up.
_OPEN = -1


def fold_constants(model: ir.Model) -> Changed:
    """Computes it, in place; counts the nodes that went.

    Args:
        model: With the shapes that are known (``infer_shapes``).
    """
    graph, count = model.graph, 0
    for node in list(graph):
        result = None if any(map(ir.Value.is_graph_output, node.outputs)) else _computed(node)
        if result is None:
            continue
        made = node.outputs[0]
        # By the tensor's own name, which nothing else has once its node is gone.
        name = str(made.name)
        made.name = f"{name}.folded"
        made.replace_all_uses_with(add_initializer(graph, name, result))
        count += 1
    if count:
        remove_unused(graph)
    return Changed(count)


def _computed(node: ir.Node) -> Array | None:
    if node.domain not in ONNX_DOMAINS or not node.inputs or len(node.outputs) != 1:
        return None
    if node.op_type in ("Gather", "Slice") and _shape_before(node) is not None:
        return _taken(node)
    inputs = [_constant(value) for value in node.inputs]
    known = [each for each in inputs if each is not None]
    if not known or len(known) != len(inputs):
        return None
    if node.op_type == "Cast":
        return _cast(node, known[0])
    if is_move(node):
        result = moved(node, known[0])
        if result is None or result.nbytes > max(known[0].nbytes, _MAX_GROWN_BYTES):
            return None
        # A view of a weight that is mapped into memory would keep its strides.
        stored: Array = result.copy(order="C")
        return stored
    if node.op_type == "Concat" and sum(each.size for each in known) <= _FEW:
        joined: Array = np.concatenate(known, node.attributes["axis"].as_int())
        return joined
    arithmetic = _ARITHMETIC.get(node.op_type)
    if arithmetic is None or sum(each.size for each in known) > _FEW:
        return None
    with np.errstate(all="ignore"):
        found = arithmetic(known)
    return None if found is None else np.asarray(found, known[0].dtype)


def _constant(value: ir.Value | None) -> Array | None:
    # A default that a caller may replace is no constant.
    if value is None or value.is_graph_input():
        return None
    return constant_array(value)


def _cast(node: ir.Node, array: Array) -> Array | None:
    source, target = node.inputs[0], ir.DataType(node.attributes["to"].as_int())
    if source is None or source.dtype not in _INTEGERS:
        return None
    if target not in (ir.DataType.FLOAT, ir.DataType.INT64):
        return None
    cast: Array = array.astype(target.numpy())
    return cast


def _shape_before(node: ir.Node) -> ir.Shape | None:
    """The dimensions that a node takes some of; None where it reads something else."""
    maker = producer_of(node.inputs[0], "Shape")
    source = None if maker is None else maker.inputs[0]
    if maker is None or source is None or {"start", "end"} & set(maker.attributes):
        return None
    return source.shape


def _taken(node: ir.Node) -> Array | None:
    shape = _shape_before(node)
    others = [_constant(value) for value in node.inputs[1:]]
    if shape is None or any(each is None for each in others):
        return None
    dims = [dim if isinstance(dim, int) and dim >= 0 else _OPEN for dim in shape]
    found = moved(node, np.array(dims, np.int64))
    return None if found is None or (found == _OPEN).any() else np.array(found)


def _quotient(known: Sequence[Array]) -> Array | None:
    first, second = known
    if first.dtype.kind == "f":
        return np.asarray(first / second)
    # ONNX leaves open how negative integers are rounded, and division by zero.
    is_plain = bool((first >= 0).all() and (second > 0).all())
    return np.asarray(first // second) if is_plain else None


_ARITHMETIC: dict[str, Callable[[Sequence[Array]], Array | None]] = {
    "Add": lambda known: np.asarray(known[0] + known[1]),
    "Div": _quotient,
    "Mul": lambda known: np.asarray(known[0] * known[1]),
    "Sqrt": lambda known: np.asarray(np.sqrt(known[0])),
    "Sub": lambda known: np.asarray(known[0] - known[1]),
}
