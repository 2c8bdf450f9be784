"""Pass: a layer that reads nothing but zeros gives its bias, and that stands in its place then.

A recurrence that is written by hand begins with a state of zeros, as large as the batch. What its
first step multiplies by them no input reaches: TensorRT computes it while it builds, so no kernel
of the plan is that layer, be it quantized or not.

1. Zeros are what ConstantOfShape or Expand fills with them, what moves of it, and a pair of it.
2. What adds a Conv, Gemm or MatMul of zeros and a weight to a tensor as large adds its bias, or
   goes where it has none.
3. Whatever else reads the layer reads an Expand of its bias. Where it has none, that makes zeros
   again.
4. A sum of zeros and a tensor as large is that tensor.
5. A layer stays whose weight or bias is computed, whose output is the graph's, or has sizes behind
   the batch that are not known.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.lenses.basics import constant_array, integer_of, name_of
from trtqat.graph.lenses.layers import bias_of, channel_axis
from trtqat.graph.lenses.moves import ONNX_DOMAINS, is_move
from trtqat.graph.lenses.pairs import PAIR, parameters_of
from trtqat.graph.lenses.weights import Weights
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array

_LAYERS = ("Conv", "Gemm", "MatMul")


def fold_zeros(model: ir.Model) -> Changed:
    """Does it, in place; counts the layers and sums that went.

    Args:
        model: With the shapes that are known (``infer_shapes``).
    """
    graph, weights, count = model.graph, Weights(), 0
    # What each of them has the sizes of: itself, or what its pair quantizes.
    zeros: dict[ir.Value, ir.Value] = {}
    for node in list(graph):
        if node.domain not in ONNX_DOMAINS or len(node.outputs) != 1 or not node.inputs:
            continue
        source, made = node.inputs[0], node.outputs[0]
        if node.op_type == "Add" and not made.is_graph_output():
            for value, other in (node.inputs, node.inputs[::-1]):
                if value in zeros and other is not None and _is_as_large(other, value, weights):
                    made.replace_all_uses_with(other)
                    count += 1
                    break
        elif _is_fill(node):
            zeros[made] = made
        elif source is None or source not in zeros:
            continue
        elif is_move(node):
            zeros[made] = made
        elif _is_pair_of_zero(node):
            zeros[made] = zeros[source]
        elif node.op_type in _LAYERS and not made.is_graph_output():
            tail, numbers = _sizes_behind_batch(node), _row(node, weights)
            if tail is None or numbers is None:
                continue
            row = add_initializer(graph, f"{name_of(node)}.row", numbers)
            is_zero = not numbers.any()
            _put_in_sums(made, row, weights, is_zero=is_zero)
            if made.uses():
                result = _expanded(graph, node, zeros[source], row, tail)
                made.replace_all_uses_with(result)
                if is_zero:
                    zeros[result] = result
            count += 1
    if count:
        remove_unused(graph)
    return Changed(count)


def _put_in_sums(made: ir.Value, row: ir.Value, weights: Weights, *, is_zero: bool) -> None:
    """Lets what adds a layer of zeros to a tensor as large add its bias, or go if that is zero."""
    for use in list(made.uses()):
        others = [value for value in use.node.inputs if value is not made]
        if use.node.op_type != "Add" or not others or others[0] is None:
            continue
        if _is_as_large(others[0], made, weights):
            total = use.node.outputs[0]
            if is_zero and not total.is_graph_output():
                total.replace_all_uses_with(others[0])
            use.node.replace_input_with(use.idx, row)


def _is_fill(node: ir.Node) -> bool:
    """Whether a node fills a tensor with zeros."""
    if node.op_type == "ConstantOfShape":
        attribute = node.attributes.get("value")
        return attribute is None or not attribute.as_tensor().numpy().any()
    value = node.inputs[0] if node.op_type == "Expand" else None
    number = None if value is None else constant_array(value)
    return number is not None and not number.any()


def _is_pair_of_zero(node: ir.Node) -> bool:
    """Whether a node is of a pair that makes zeros of zeros."""
    if node.op_type not in PAIR:
        return False
    zero_point = parameters_of(node).zero_point
    return zero_point is not None and not zero_point.any()


def _row(node: ir.Node, weights: Weights) -> Array | None:
    """What a layer makes of zeros, for one position; None if that is computed, or no float32."""
    bias, weight = bias_of(node), node.inputs[1]
    numbers = np.zeros(1, np.float32) if bias is None else constant_array(bias)
    if weight is None or weight not in weights or weight.shape is None or numbers is None:
        return None
    if numbers.dtype != np.float32 or weight.dtype not in (None, ir.DataType.FLOAT):
        return None
    if node.op_type == "Conv":
        numbers = numbers.reshape(-1, *[1] * (len(weight.shape) - 2))
    return numbers


def _sizes_behind_batch(node: ir.Node) -> list[int] | None:
    """The sizes of a layer's output that do not come from its data; None if not all are known."""
    weight, shape = node.inputs[1], node.outputs[0].shape
    sizes = None if weight is None else weight.shape
    if sizes is None:
        return None
    if node.op_type == "Conv":
        found = None if shape is None else list(shape)[1:]
    else:
        axis, beta = channel_axis(node, len(sizes)), node.attributes.get("beta")
        is_plain = integer_of(node, "transA", 0) == 0 and (beta is None or beta.as_float() == 1)
        found = [sizes[axis]] if axis is not None and len(sizes) == 2 and is_plain else None
    numbers = [each for each in found or () if isinstance(each, int)]
    return numbers if found is not None and len(numbers) == len(found) else None


def _is_as_large(value: ir.Value, other: ir.Value, weights: Weights) -> bool:
    """Whether a tensor that is no weight has the sizes of another one.

    A size of 1 makes no sum larger. Open batches are taken for one.
    """
    sizes, known = value.shape, other.shape
    if value in weights or sizes is None or known is None or len(sizes) != len(known):
        return False

    def is_same(axis: int, one: int | ir.SymbolicDim, another: int | ir.SymbolicDim) -> bool:
        if isinstance(one, int) or isinstance(another, int):
            return one == another or another == 1
        return axis == 0 or (one.value is not None and one == another)

    return all(is_same(axis, *pair) for axis, pair in enumerate(zip(sizes, known, strict=True)))


def _expanded(
    graph: ir.Graph, node: ir.Node, source: ir.Value, row: ir.Value, tail: list[int]
) -> ir.Value:
    """What a layer makes of zeros, of its size.

    Args:
        graph: Of the layer.
        node: The layer.
        source: What has the sizes of its data.
        row: For one position.
        tail: The sizes behind those that are its data's.
    """
    name, made = name_of(node), node.outputs[0]
    sizes = [] if made.shape is None else [size for size in made.shape if isinstance(size, int)]
    nodes: list[ir.Node] = []
    if made.shape is not None and len(sizes) == len(made.shape):
        wanted = add_initializer(graph, f"{name}.sizes", np.array(sizes, np.int64))
    else:
        bounds = [
            add_initializer(graph, f"{name}.{end}", np.array([at], np.int64))
            for end, at in (("start", 0), ("end", -1 if node.op_type == "MatMul" else 1))
        ]
        behind = add_initializer(graph, f"{name}.sizes", np.array(tail, np.int64))
        nodes.append(ir.node("Shape", [source], name=f"{name}/Shape"))
        nodes.append(ir.node("Slice", [*nodes[-1].outputs, *bounds], name=f"{name}/Slice"))
        joined = [*nodes[-1].outputs, behind]
        nodes.append(ir.node("Concat", joined, {"axis": 0}, name=f"{name}/Concat"))
        wanted = nodes[-1].outputs[0]
    nodes.append(ir.node("Expand", [row, wanted], name=f"{name}/Expand"))
    for each in nodes:
        each.outputs[0].name = f"{each.name}_output_0"
    result = nodes[-1].outputs[0]
    result.type, result.shape = made.type, made.shape
    graph.insert_before(node, nodes)
    return result
