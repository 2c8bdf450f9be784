"""Layers that compute on constants alone become initializers, and nothing else does."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto

from tests.support.graphs import Graph, run
from trtqat.graph.passes.fold_constant_layers import fold_constant_layers


def folded(graph: Graph, *outputs: str) -> tuple[Counter[str], int]:
    """The operators that are left, and how many tensors were computed; the graph does the same."""
    model = graph.model(*outputs)
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    before = run(model, x)
    count = fold_constant_layers(model).count
    for one, other in zip(before, run(model, x), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    return Counter(node.op_type for node in model.graph), count


def floats(graph: Graph, name: str, *shape: int) -> str:
    rng = np.random.default_rng(len(graph.constants))
    return graph.constant(name, rng.normal(size=shape).astype(np.float32))


def network(wide: int = 16) -> tuple[Graph, str]:
    """A small network of a table of 20 positions, of one number for each."""
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    hidden = graph.node("MatMul", [floats(graph, "table", 20, 2), floats(graph, "a", 2, wide)], "h")
    hidden = graph.node("Relu", [graph.node("Add", [hidden, floats(graph, "b", wide)], "s")], "r")
    return graph, graph.node("MatMul", [hidden, floats(graph, "c", wide, 1)], "numbers")


def test_a_network_of_a_table() -> None:
    graph, numbers = network()
    shape = graph.constant("shape", np.array([4, 5], np.int64))
    graph.node("Add", ["x", graph.node("Reshape", [numbers, shape], "bias")], "y")
    assert folded(graph, "y") == ({"Add": 1}, 1)


def test_what_grows_stays_and_reads_an_initializer() -> None:
    graph, numbers = network()
    many = graph.constant("many", np.array([300, 20, 1], np.int64))
    grown = graph.node("Exp", [graph.node("Expand", [numbers, many], "grown")], "large")
    first = graph.node("Gather", [grown, graph.node("ArgMax", ["x"], "most")], "first")
    graph.node("ReduceMean", [first], "y")
    assert folded(graph, "y")[0] == {
        "Expand": 1,
        "Exp": 1,
        "ArgMax": 1,
        "Gather": 1,
        "ReduceMean": 1,
    }


def test_what_is_returned_stays() -> None:
    graph, numbers = network()
    graph.node("Add", ["x", graph.node("ReduceSum", [numbers], "total")], "y")
    assert folded(graph, "y", numbers) == ({"Add": 1, "MatMul": 1}, 2)


def test_random_numbers_stay_random() -> None:
    graph, numbers = network()
    graph.node("RandomNormalLike", [numbers], "noise")
    graph.node("Add", ["x", graph.node("ReduceSum", ["noise"], "total")], "y")
    model = graph.model("y")
    assert fold_constant_layers(model).count == 1
    assert {"RandomNormalLike", "ReduceSum", "Add"} == {node.op_type for node in model.graph}


def test_what_numpy_does_not_hold_stays() -> None:
    """The product becomes an initializer; bfloat16 and a sequence of it do not."""
    graph, numbers = network()
    rounded = graph.node("Cast", [numbers], "rounded", to=int(TensorProto.BFLOAT16))
    graph.node("Add", ["x", graph.node("ReduceSum", [back(graph, rounded)], "total")], "y")
    parts = graph.node("SplitToSequence", [numbers], "parts", axis=0)
    graph.node("Add", ["x", graph.node("SequenceAt", [parts, index_of(graph)], "part")], "z")
    model = graph.model("y", "z")
    fold_constant_layers(model)
    left = {node.op_type for node in model.graph}
    assert {"Cast", "SplitToSequence", "SequenceAt"} <= left
    assert "MatMul" not in left
    onnx.checker.check_model(ir.to_proto(model))


def back(graph: Graph, rounded: str) -> str:
    return graph.node("Cast", [rounded], "back", to=int(TensorProto.FLOAT))


def index_of(graph: Graph) -> str:
    """A place that the input decides."""
    total = graph.node("ReduceSum", ["x"], "sum", keepdims=0)
    zero = graph.node("Mul", [total, graph.constant("zero", np.float32(0))], "none")
    return graph.node("Cast", [zero], "place", to=int(TensorProto.INT64))


def unchanged(graph: Graph, *outputs: str) -> bool:
    model = graph.model(*outputs)
    before = ir.to_proto(model).SerializeToString()
    done = fold_constant_layers(model)
    after: bytes = ir.to_proto(model).SerializeToString()
    return done.count == 0 and after == before


def test_a_pair_stays() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    table = graph.pair(floats(graph, "table", 5, 5), 0.02)
    weight = graph.pair(floats(graph, "w", 5, 5), 0.02)
    graph.node("Add", ["x", graph.node("ReduceSum", [table], "total")], "s")
    graph.node("MatMul", ["s", graph.node("MatMul", [table, weight], "product")], "y")
    assert unchanged(graph, "y")


@pytest.mark.parametrize("is_turned", [False, True])
def test_the_run_on_a_table_of_a_layer_that_runs_on_data_is_computed(is_turned: bool) -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    table, weight = (graph.pair(floats(graph, name, 5, 5), 0.02) for name in ("table", "w"))
    if is_turned:
        weight = graph.node("Transpose", [weight], "weight", perm=[1, 0])
    positions = graph.node("MatMul", [table, weight], "positions")
    words = graph.node("MatMul", [graph.pair("x", 0.02), weight], "words")
    turned = graph.node("Transpose", [positions], "turned", perm=[1, 0])
    graph.node("MatMul", [words, turned], "y")
    left = {"QuantizeLinear": 2, "DequantizeLinear": 2, "MatMul": 2}
    if is_turned:
        left["Transpose"] = 1
    assert folded(graph, "y") == (left, 1)


def test_other_graphs_stay_as_they_are_to_the_byte() -> None:
    graph = Graph(("N", 4, 5))  # type: ignore[arg-type]
    weight = graph.node("Transpose", [floats(graph, "w", 3, 5)], "turned", perm=[1, 0])
    scaled = graph.node("Mul", [weight, floats(graph, "scale", 1)], "scaled")
    graph.node("MatMul", ["x", scaled], "y")
    graph.node("Relu", [graph.constant("unused", np.ones(2, np.float32))], "nobody")
    assert unchanged(graph, "y")
