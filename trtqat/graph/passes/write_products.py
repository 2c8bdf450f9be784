"""Pass: an Einsum of two tensors becomes the MatMul that it is.

TensorRT has no INT8 for Einsum, and has it for MatMul: attention is often written so.

1. One index is summed over, one is of the second operand alone, others are in both: a stack of
   products. Of several that are the first operand's own MatMul repeats the second one for all but
   the last.
2. Several indices that are summed over, or of the second operand alone, are one for MatMul where
   that operand is constant: its sizes are known, and Reshapes stand around. Stacked experts are
   written so, and the heads of attention that are joined.
3. What else needs a Reshape stays an Einsum: sizes may be open.
4. The MatMul has the Einsum's name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from trtqat.graph.editing import add_initializer, remove_unused
from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import constant_array, is_constant, name_of
from trtqat.graph.lenses.mac_formulas import shape_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.passes.protocol import Changed
from trtqat.tensors import Array


@dataclass(frozen=True)
class _Product:
    """The letters of an equation, in the order that MatMul takes and gives them.

    Attributes:
        first: Of the first operand.
        second: Of the second operand.
        result: Of the result.
        summed: How many at the end of the first operand are summed over.
        columns: How many at the end of the second one are its own.
    """

    first: str
    second: str
    result: str
    summed: int
    columns: int

    @property
    def needs_reshape(self) -> bool:
        """Whether several are one dimension of MatMul."""
        return self.summed > 1 or self.columns > 1


def write_products(model: ir.Model) -> Changed:
    """Replaces every such Einsum, in place; counts them.

    Args:
        model: Its nodes have names of their own.
    """
    editor, count = Editor(model.graph), 0
    for node in list(model.graph):
        if node.op_type != "Einsum" or node.domain not in ONNX_DOMAINS or len(node.inputs) != 2:
            continue
        equation = node.attributes["equation"].as_string().replace(" ", "")
        product = _product(equation)
        if product is None or not _fits(node, equation):
            continue
        if product.needs_reshape and not _has_known_sizes(node.inputs[1]):
            continue
        _replace(editor, node, equation, product)
        count += 1
    editor.finish()
    if count:
        # A weight of another shape took the place of what was read.
        remove_unused(model.graph)
    return Changed(count)


def _product(equation: str) -> _Product | None:
    inputs, arrow, out = equation.partition("->")
    left, _, right = inputs.partition(",")
    sides = (left, right, out)
    if not arrow or not all(side.isalpha() and len(set(side)) == len(side) for side in sides):
        return None
    both = "".join(each for each in left if each in right and each in out)
    summed = "".join(each for each in left if each in right and each not in out)
    rows = "".join(each for each in left if each not in right)
    columns = "".join(each for each in right if each not in left)
    # What is in one operand alone and not in the result is summed before the product.
    is_product = set(out) == {*both, *rows, *columns}
    has_all = rows and summed and columns
    if not is_product or not has_all:
        return None
    stack = rows[:-1] + both + rows[-1]
    return _Product(
        stack + summed, both + summed + columns, stack + columns, len(summed), len(columns)
    )


def _fits(node: ir.Node, equation: str) -> bool:
    """Whether equal letters have equal sizes: Einsum repeats a size of 1, MatMul not everywhere.

    Sizes that are not known may be unequal only in a graph that repeats what it sums over: then
    MatMul refuses to run, and computes nothing else.
    """
    sizes: dict[str, int | None] = {}
    terms = equation.partition("->")[0].split(",")
    for term, value in zip(terms, node.inputs, strict=True):
        shape = shape_of(value)
        if shape and len(shape) != len(term):
            return False
        for letter, size in zip(term, shape, strict=False):
            if size is not None and sizes.setdefault(letter, size) != size:
                return False
    return True


def _has_known_sizes(value: ir.Value | None) -> bool:
    """Whether a tensor is a constant that holds anything: a Reshape takes 0 for another size."""
    return value is not None and is_constant(value) and 0 not in shape_of(value)


def _replace(editor: Editor, node: ir.Node, equation: str, product: _Product) -> None:
    inputs, _, out = equation.partition("->")
    left, _, right = inputs.partition(",")
    name, old = name_of(node), node.outputs[0]
    first, second = node.inputs
    assert node.graph is not None
    assert first is not None
    assert second is not None
    new = _Nodes(node.graph)
    # A size of 0 is the one that stands there.
    kept = [0] * (len(product.first) - product.summed)
    first = new.transposed(first, left, product.first, f"{name}/left")
    if product.summed > 1:
        first = new.reshaped(first, [*kept, -1], f"{name}/left")
    weight = constant_array(second) if product.needs_reshape else None
    if weight is None:
        second = new.transposed(second, right, product.second, f"{name}/right")
    else:
        weight = weight.transpose([right.index(letter) for letter in product.second])
        second = new.merged(weight, product, f"{name}/right")
    result = new.made("MatMul", [first, second], name, f"{old.name}.product")
    result.type = old.type
    if weight is not None and product.columns > 1:
        columns = weight.shape[-product.columns :]
        result = new.reshaped(result, [*kept, *columns], f"{name}/result")
    result = new.transposed(result, product.result, out, f"{name}/result")
    editor.insert_before(node, new.nodes)
    result.type, result.shape = old.type, old.shape
    # The tensor keeps its name, by which the graph's outputs are known.
    result.name, old.name = old.name, f"{old.name}.einsum"
    editor.replace(old, result)
    editor.remove(node)


class _Nodes:
    """What stands in the place of an Einsum.

    Attributes:
        nodes: In their order.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self.nodes: list[ir.Node] = []

    def made(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        name: str,
        output: str,
        attributes: Mapping[str, ir.Attr] | None = None,
    ) -> ir.Value:
        """The output of a new node."""
        node = ir.Node("", operator, inputs, attributes or {}, name=name)
        node.outputs[0].name = output
        self.nodes.append(node)
        return node.outputs[0]

    def transposed(self, value: ir.Value, term: str, wanted: str, name: str) -> ir.Value:
        """A tensor with its letters in another order; itself where they are in that order."""
        if term == wanted:
            return value
        order = [term.index(letter) for letter in wanted]
        attributes = {"perm": ir.AttrInt64s("perm", order)}
        made = self.made("Transpose", [value], f"{name}/Transpose", f"{name}_output_0", attributes)
        made.type = value.type
        return made

    def reshaped(self, value: ir.Value, sizes: Sequence[int], name: str) -> ir.Value:
        """A tensor in other dimensions; 0 is the size that is there, -1 what is left."""
        shape = add_initializer(self._graph, f"{name}/shape", np.array(sizes, np.int64))
        made = self.made("Reshape", [value, shape], f"{name}/Reshape", f"{name}_reshaped")
        made.type = value.type
        return made

    def merged(self, weight: Array, product: _Product, name: str) -> ir.Value:
        """A constant whose axes are those of the product's second operand, as MatMul reads it."""
        stack = weight.shape[: -product.columns - product.summed]
        columns = math.prod(weight.shape[-product.columns :])
        merged = np.ascontiguousarray(weight.reshape(*stack, -1, columns))
        return add_initializer(self._graph, name, merged)
