"""Pass: an Einsum of two tensors becomes the MatMul that it is.

TensorRT has no INT8 for Einsum, and has it for MatMul: attention is often written so.

1. One index is summed over, one is of each operand alone, the others are in both: a stack of
   products. Without others the first operand may have several of its own.
2. What needs a Reshape for that stays an Einsum: sizes may be open.
3. The MatMul has the Einsum's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from trtqat.graph.editor import Editor
from trtqat.graph.lenses.basics import name_of
from trtqat.graph.lenses.mac_formulas import shape_of
from trtqat.graph.lenses.moves import ONNX_DOMAINS
from trtqat.graph.passes.protocol import Changed


@dataclass(frozen=True)
class _Product:
    """The letters of an equation, in the order that MatMul takes and gives them."""

    first: str
    second: str
    result: str


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
        _replace(editor, node, equation, product)
        count += 1
    editor.finish()
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
    is_single = len(summed) == len(columns) == 1 and (len(rows) == 1 or (rows and not both))
    if not is_product or not is_single:
        return None
    return _Product(both + rows + summed, both + summed + columns, both + rows + columns)


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


def _replace(editor: Editor, node: ir.Node, equation: str, product: _Product) -> None:
    inputs, _, out = equation.partition("->")
    left, _, right = inputs.partition(",")
    name, old = name_of(node), node.outputs[0]
    made: list[ir.Node] = []
    operands = [
        _transposed(made, value, term, wanted, f"{name}/{side}")
        for value, term, wanted, side in zip(
            node.inputs,
            (left, right),
            (product.first, product.second),
            ("left", "right"),
            strict=True,
        )
    ]
    matmul = ir.Node("", "MatMul", operands, name=name)
    made.append(matmul)
    matmul.outputs[0].name = f"{old.name}.product"
    matmul.outputs[0].type = old.type
    result = _transposed(made, matmul.outputs[0], product.result, out, f"{name}/result")
    editor.insert_before(node, made)
    assert result is not None
    result.type, result.shape = old.type, old.shape
    # The tensor keeps its name, by which the graph's outputs are known.
    result.name, old.name = old.name, f"{old.name}.einsum"
    editor.replace(old, result)
    editor.remove(node)


def _transposed(
    made: list[ir.Node], value: ir.Value | None, term: str, wanted: str, name: str
) -> ir.Value | None:
    """A tensor with its letters in another order; itself where they are in that order."""
    if term == wanted:
        return value
    order = [term.index(letter) for letter in wanted]
    attributes = {"perm": ir.AttrInt64s("perm", order)}
    node = ir.Node("", "Transpose", [value], attributes, name=f"{name}/Transpose")
    node.outputs[0].name = f"{name}_output_0"
    node.outputs[0].type = None if value is None else value.type
    made.append(node)
    return node.outputs[0]
