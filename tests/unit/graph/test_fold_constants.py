"""What a graph computes of constants and of fixed sizes alone becomes initializers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir

from tests.support.graphs import Graph, run
from trtqat.graph.passes.fold_constants import fold_constants
from trtqat.graph.passes.infer_shapes import infer_shapes


def folded(graph: Graph, *outputs: str) -> tuple[Counter[str], int]:
    """The operators that are left, and how many nodes went; the graph computes the same."""
    model = graph.model(*outputs)
    infer_shapes(model)
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    before = run(model, x)
    count = fold_constants(model).count
    for one, other in zip(before, run(model, x), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    return Counter(node.op_type for node in model.graph), count


def ints(graph: Graph, name: str, *numbers: int) -> str:
    return graph.constant(name, np.array(numbers, np.int64))


def test_a_bias_behind_a_reshape() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    bias = graph.constant("bias", np.arange(4, dtype=np.float32))
    graph.node("Reshape", [bias, ints(graph, "shape", 1, 4, 1)], "column")
    graph.node("Add", ["x", "column"], "y")
    assert folded(graph, "y") == ({"Add": 1}, 1)


def test_a_scale_that_is_computed_of_a_fixed_size() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    graph.node("Shape", ["x"], "shape")
    graph.node("Gather", ["shape", ints(graph, "last", -1)], "size")
    graph.node("Cast", ["size"], "float", to=1)
    graph.node("Div", [graph.constant("one", np.ones(1, np.float32)), "float"], "part")
    graph.node("Mul", ["x", graph.node("Sqrt", ["part"], "root")], "y")
    assert folded(graph, "y") == ({"Mul": 1}, 4)


def test_an_open_size_stays_computed() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    graph.node("Shape", ["x"], "shape")
    graph.node("Gather", ["shape", ints(graph, "first", 0)], "batch")
    graph.node("Concat", ["batch", ints(graph, "rest", 20)], "flat", axis=0)
    graph.node("Reshape", ["x", "flat"], "y")
    left, count = folded(graph, "y")
    assert left == {"Shape": 1, "Gather": 1, "Concat": 1, "Reshape": 1}
    assert count == 0


def test_a_weight_that_is_cut_by_a_fixed_size() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    packed = graph.constant("w", np.arange(50, dtype=np.float32).reshape(5, 10))
    graph.node("Shape", ["x"], "shape")
    graph.node("Slice", ["shape", ints(graph, "two", 2), ints(graph, "three", 3)], "size")
    graph.node("Mul", ["size", ints(graph, "times", 2)], "end")
    graph.node("Slice", [packed, "size", "end", ints(graph, "axis", 1)], "second")
    graph.node("MatMul", ["x", "second"], "y")
    assert folded(graph, "y") == ({"MatMul": 1}, 3)


def test_integers_divide_as_onnx_says_or_not_at_all() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    graph.node("Div", [ints(graph, "seven", 7), ints(graph, "two", 2)], "three")
    graph.node("Div", [ints(graph, "minus", -7), "two"], "negative")
    graph.node("Cast", ["negative"], "float", to=1)
    graph.node("Cast", ["three"], "third", to=1)
    graph.node("Add", [graph.node("Mul", ["x", "third"], "m"), "float"], "y")
    left, _ = folded(graph, "y")
    assert left == {"Div": 1, "Cast": 1, "Mul": 1, "Add": 1}


def test_what_grows_stays_and_so_does_an_output() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    one = graph.constant("one", np.ones((1, 1, 1), np.float32))
    graph.node("Expand", [one, ints(graph, "large", 1, 4, 5000)], "grown")
    graph.node("Slice", ["grown", *(ints(graph, f"n{n}", n) for n in (0, 5, 2))], "cut")
    graph.node("Add", ["x", "cut"], "y")
    graph.node("Reshape", [one, ints(graph, "flat", 1)], "z")
    left, count = folded(graph, "y", "z")
    assert left == {"Expand": 1, "Slice": 1, "Add": 1, "Reshape": 1}
    assert count == 0


def test_a_constant_that_others_read_stays() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    bias = graph.constant("bias", np.arange(5, dtype=np.float32))
    graph.node("Reshape", [bias, ints(graph, "shape", 1, 5)], "row")
    graph.node("Add", [graph.node("Add", ["x", "row"], "a"), bias], "y")
    model = graph.model("y")
    fold_constants(model)
    assert {"bias", "row"} <= set(model.graph.initializers)
    assert isinstance(model.graph.initializers["row"].const_value, ir.Tensor)
