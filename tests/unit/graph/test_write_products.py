"""An Einsum of two tensors becomes the MatMul that it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from tests.support.graphs import Graph, run
from trtqat.graph.passes.write_products import write_products
from trtqat.tensors import Array

SIZES: dict[str, int | str] = {"b": "N", "h": 3, "q": 4, "k": 5, "d": 6, "f": 7}


def graph_of(equation: str) -> Graph:
    left, right = equation.partition("->")[0].split(",")
    shape: Any = tuple(SIZES[each] for each in left)
    graph = Graph(shape)
    graph.inputs["z"] = tuple(SIZES[each] for each in right)
    graph.node("Relu", ["x"], "r")
    graph.node("Einsum", ["r", "z"], "e", equation=equation)
    graph.node("Neg", ["e"], "y")
    return graph


def arrays(equation: str) -> dict[str, Array]:
    random = np.random.default_rng(0)
    terms = equation.partition("->")[0].split(",")
    sizes = {**SIZES, "b": 2}
    return {
        name: random.normal(size=[int(sizes[each]) for each in term]).astype(np.float32)
        for name, term in zip(("x", "z"), terms, strict=True)
    }


def changed(equation: str, *outputs: str) -> tuple[ir.Model, Counter[str]]:
    model = graph_of(equation).model(*outputs)
    before = run(model, arrays(equation))
    write_products(model)
    for one, other in zip(before, run(model, arrays(equation)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    return model, Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize(
    ("equation", "transposes"),
    [
        ("bhqd,bhkd->bhqk", 1),
        ("bqhd,bkhd->bhqk", 2),
        ("bhqk,bkhd->bqhd", 2),
        ("qd,dk->qk", 0),
        ("bhqd,df->bhqf", 0),
        ("bhqd,fd->fbhq", 2),
        ("bqd,bdk->bkq", 1),
        # Each expert on what it was given: the experts of all samples are the same.
        ("bhqd,hdf->bhqf", 0),
        ("bqhd,hdf->bqhf", 2),
        ("bqkhd,hfd->hbqkf", 3),
    ],
)
def test_a_product(equation: str, transposes: int) -> None:
    model, operators = changed(equation, "y", "e")
    assert operators == Counter({"Relu": 1, "Neg": 1, "MatMul": 1, "Transpose": transposes})
    (product,) = (node for node in model.graph if node.op_type == "MatMul")
    assert product.name == "/e"
    assert [value.name for value in model.graph.outputs] == ["y", "e"]


@pytest.mark.parametrize(
    "equation",
    [
        *("bhqd,bhkd->bqk", "bhqd,bhqd->bhqd", "bhqd,bhqd->bh", "bqd,fd->bq", "bqhd,bkfhd->bqkf"),
        # A diagonal, and a result that is not written down.
        *("qqd,dk->qk", "qd,dk"),
    ],
)
def test_what_is_no_single_product_stays(equation: str) -> None:
    _, operators = changed(equation, "y")
    assert operators == Counter({"Relu": 1, "Neg": 1, "Einsum": 1})


@pytest.mark.parametrize(
    ("equation", "operators"),
    [
        # Stacked experts, and so in the orders in which they may be written.
        ("bqd,hdf->bqhf", {"Reshape": 1}),
        ("bqd,hfd->bhfq", {"Reshape": 1, "Transpose": 1}),
        ("dbq,hdf->bqfh", {"Reshape": 1, "Transpose": 2}),
        # One stack of products, whose weights have two dimensions more.
        ("hbd,hdfk->hbfk", {"Reshape": 1}),
        # The heads of attention, joined.
        ("bqhd,hdf->bqf", {"Reshape": 1}),
        ("bhqd,hdf->bqf", {"Reshape": 1, "Transpose": 1}),
        ("bhqd,hdfk->bqkf", {"Reshape": 2, "Transpose": 2}),
        # Experts with weights of two dimensions more, on what each was given.
        ("bqhd,hdfk->bqhfk", {"Reshape": 1, "Transpose": 2}),
    ],
)
def test_a_product_with_a_constant_of_more_dimensions(
    equation: str, operators: dict[str, int]
) -> None:
    """Its sizes are known, whatever those of the other operand are."""
    given = arrays(equation)
    weight = given.pop("z")
    graph = graph_of(equation)
    del graph.inputs["z"]
    graph.constant("z", weight)
    model = graph.model("y", "e")
    before = run(model, given)
    assert write_products(model).count == 1
    for one, other in zip(before, run(model, given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    found = Counter(node.op_type for node in model.graph)
    assert found == Counter({"Relu": 1, "Neg": 1, "MatMul": 1, **operators})
    # The weight is there once, in the form that MatMul reads.
    sizes = [value.const_value.size for value in model.graph.initializers.values()]  # type: ignore[union-attr]
    assert sizes.count(weight.size) == 1
