"""What reads zeros alone gives its bias, and nothing else goes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from onnx import numpy_helper

from tests.support.graphs import Graph, run
from trtqat.graph.passes.fold_zeros import fold_zeros
from trtqat.graph.passes.infer_shapes import infer_shapes


def folded(graph: Graph, *outputs: str, sizes: tuple[int, ...]) -> tuple[Counter[str], int]:
    """The operators that are left, and how many layers and sums went; the graph does the same."""
    model = graph.model(*outputs)
    infer_shapes(model)
    batches = [np.random.default_rng(at).normal(size=(at, *sizes)) for at in (1, 3)]
    before = [run(model, x.astype(np.float32)) for x in batches]
    count = fold_zeros(model).count
    for expected, x in zip(before, batches, strict=True):
        for one, other in zip(expected, run(model, x.astype(np.float32)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6)
    return Counter(node.op_type for node in model.graph), count


def floats(graph: Graph, name: str, *shape: int) -> str:
    rng = np.random.default_rng(len(graph.constants))
    return graph.constant(name, rng.normal(size=shape).astype(np.float32))


def state(graph: Graph, *sizes: int, value: float = 0) -> str:
    """A state as large as the batch of ``x``."""
    first = graph.node("Slice", [graph.node("Shape", ["x"], "all"), *bounds(graph)], "batch")
    shape = graph.node("Concat", [first, whole(graph, "sizes", *sizes)], "shape", axis=0)
    number = numpy_helper.from_array(np.array([value], np.float32))
    return graph.node("ConstantOfShape", [shape], "state", value=number)


def bounds(graph: Graph) -> list[str]:
    return [whole(graph, "zero", 0), whole(graph, "one", 1)]


def whole(graph: Graph, name: str, *numbers: int) -> str:
    return graph.constant(name, np.array(numbers, np.int64))


def batched(*sizes: int) -> Graph:
    return Graph(("N", *sizes))  # type: ignore[arg-type]


def step(graph: Graph, of_state: str) -> None:
    """A step of a recurrence: what is made of the state is added to what is made of ``x``."""
    given = graph.node("Gemm", ["x", floats(graph, "w", 5, 4)], "given")
    graph.node("Tanh", [graph.node("Add", [given, of_state], "sum")], "y")


@pytest.mark.parametrize("is_quantized", [False, True])
def test_the_first_step_of_a_recurrence_adds_a_bias(is_quantized: bool) -> None:
    graph = batched(5)
    zeros, weight = state(graph, 3), floats(graph, "u", 3, 4)
    if is_quantized:
        zeros, weight = graph.pair(zeros, 0.1), graph.pair(weight, np.full(4, 0.01), 1)
    step(graph, graph.node("Gemm", [zeros, weight, floats(graph, "b", 4)], "hidden"))
    assert folded(graph, "y", sizes=(5,)) == ({"Gemm": 1, "Add": 1, "Tanh": 1}, 1)


def test_a_layer_without_a_bias_makes_zeros_again() -> None:
    graph = batched(5)
    hidden = graph.node("MatMul", [state(graph, 3), floats(graph, "u", 3, 2)], "hidden")
    step(graph, graph.node("MatMul", [hidden, floats(graph, "v", 2, 4)], "again"))
    assert folded(graph, "y", sizes=(5,)) == ({"Gemm": 1, "Tanh": 1}, 2)


def test_a_sum_that_is_an_output_stays() -> None:
    graph = batched(4)
    hidden = graph.node("MatMul", [state(graph, 3), floats(graph, "u", 3, 4)], "hidden")
    graph.node("Add", [hidden, graph.node("Relu", ["x"], "given")], "y")
    assert folded(graph, "y", sizes=(4,)) == ({"Relu": 1, "Add": 1}, 1)


def test_a_size_that_may_be_one_is_made_larger_by_zeros() -> None:
    graph = batched("L", 4)  # type: ignore[arg-type]
    zeros = graph.constant("zeros", np.zeros((1, 1, 1), np.float32))
    sizes = graph.constant("sizes", np.array([1, 5, 4], np.int64))
    total = graph.node("Add", ["x", graph.node("Expand", [zeros, sizes], "wide")], "total")
    graph.node("Relu", [total], "y")
    model = graph.model("y")
    infer_shapes(model)
    x = np.ones((2, 1, 4), np.float32)
    assert run(model, x)[0].shape == (2, 5, 4)
    assert fold_zeros(model).count == 0
    assert run(model, x)[0].shape == (2, 5, 4)


@pytest.mark.parametrize("kernel", [1, 3])
def test_whatever_reads_a_convolution_reads_its_bias_of_its_size(kernel: int) -> None:
    graph = batched(2, 6, 6)
    weight, bias = floats(graph, "w", 4, 3, kernel, kernel), floats(graph, "b", 4)
    hidden = graph.node("Conv", [state(graph, 3, 6, 6), weight, bias], "hidden", pads=[1] * 4)
    graph.node("Relu", [hidden], "y")
    left, count = folded(graph, "y", sizes=(2, 6, 6))
    assert (left["Conv"], left["Expand"], count) == (0, 1, 1)


def test_a_sum_with_zeros_is_what_they_are_added_to() -> None:
    graph = batched(5)
    given = graph.node("Gemm", ["x", floats(graph, "w", 5, 4)], "given")
    graph.node("Tanh", [graph.node("Add", [state(graph, 4), given], "sum")], "y")
    assert folded(graph, "y", sizes=(5,)) == ({"Gemm": 1, "Tanh": 1}, 1)


@pytest.mark.parametrize("fault", ["ones", "computed weight", "computed bias", "output", "beta"])
def test_what_stays(fault: str) -> None:
    graph = batched(4)
    zeros = state(graph, 4, value=float(fault == "ones"))
    total = graph.node("ReduceMean", ["x"], "mean", axes=[0], keepdims=0)
    weight, bias = floats(graph, "u", 4, 4), floats(graph, "b", 4)
    if fault == "computed weight":
        weight = graph.node("Add", [weight, total], "made")
    if fault == "computed bias":
        bias = graph.node("Add", [bias, total], "made")
    factors = {"beta": 0.5} if fault == "beta" else {}
    hidden = graph.node("Gemm", [zeros, weight, bias], "hidden", **factors)
    graph.node("Add", [hidden, "x"], "y")
    left, count = folded(graph, "y", *[hidden] * (fault == "output"), sizes=(4,))
    assert (left["Gemm"], count) == (1, 0)


def test_a_parameter_that_is_repeated_for_the_batch_is_no_zeros() -> None:
    graph = batched(5)
    shape = graph.node("Shape", [state(graph, 3)], "sizes_of_state")
    start = graph.node("Expand", [floats(graph, "start", 1, 3), shape], "begin")
    step(graph, graph.node("Gemm", [start, floats(graph, "u", 3, 4)], "hidden"))
    assert folded(graph, "y", sizes=(5,))[1] == 0
