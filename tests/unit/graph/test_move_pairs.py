"""Moving pairs before MaxPools and reshapes, and where that would not be exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.support.graphs import Graph, batch_norm, operators, run
from tests.support.repairs import MOVERS, SCALES, SHAPE, X, repaired, unchanged, values
from trtqat.graph.repair.move_pairs import move_pairs
from trtqat.graph.repair.remove_pairs import remove_pairs


def moving(chain: list[str], scale: float, start: str = "Relu") -> Graph:
    graph = Graph(SHAPE)
    weight = graph.constant("w", np.eye(4, dtype=np.float32).reshape(4, 4, 1, 1))
    value = graph.node("Conv", ["x", weight], "conv")
    value = value if start == "Conv" else graph.node(start, [value], "start")
    for number, name in enumerate(chain):
        operator, attributes = MOVERS[name]
        value = graph.node(operator, [value], f"{name}{number}", **attributes)
    value = graph.pair(value, scale, name="pair")
    graph.node("Flatten", [value], "y")
    return graph


@given(st.data())
def test_moved_pair_changes_no_bit(data: st.DataObject) -> None:
    chain = data.draw(st.lists(st.sampled_from(sorted(MOVERS)), min_size=1, max_size=3))
    scale = data.draw(st.sampled_from(SCALES))
    start = data.draw(st.sampled_from(["Conv", "Relu", "LeakyRelu", "Sigmoid"]))
    x = data.draw(values(scale))
    model, where = repaired(lambda: moving(chain, scale, start).model("y"), move_pairs, x)
    assert where == ["/pair.q"]
    made = operators(model)
    assert made.index("DequantizeLinear") == (2 if start == "Conv" else 3)


def test_moved_through_flatten_and_reshapes() -> None:
    graph = Graph(SHAPE)
    flat = graph.node("Flatten", [graph.conv("x", "conv", quantized=False)], "flat")
    shape = graph.constant("shape", np.array([2, 1, 144], np.int64))
    axes = graph.constant("axes", np.array([1], np.int64))
    value = graph.node("Reshape", [flat, shape], "reshaped")
    value = graph.node("Unsqueeze", [graph.node("Squeeze", [value, axes], "s"), axes], "u")
    graph.node("Relu", [graph.pair(value, 0.05, name="pair")], "y")
    model, where = repaired(lambda: graph.model("y"), move_pairs, X)
    assert where == ["/pair.q"]
    assert operators(model)[:4] == ["Conv", "QuantizeLinear", "DequantizeLinear", "Flatten"]
    types = {value.name: value.shape for node in model.graph for value in node.outputs}
    assert types["pair.q"] == types["pair.dq"] == SHAPE


def test_moved_behind_batch_norm_and_residual_add() -> None:
    graph = Graph(SHAPE)
    normal = graph.batch_norm(graph.conv("x", "conv", quantized=False), batch_norm(4), "bn")
    value = graph.node("Relu", [graph.node("Add", ["x", normal], "sum")], "relu")
    pool = graph.node("MaxPool", [value], "pool", kernel_shape=[2, 2])
    graph.node("Relu", [graph.pair(pool, 0.05)], "y")
    _, where = repaired(lambda: graph.model("y"), move_pairs, X)
    assert where == ["/pool.q"]


def test_both_pools_of_a_fork_and_readers_of_the_pair() -> None:
    """Each pair moves before its own MaxPool; what else reads the tensor still gets floats."""
    graph = Graph(SHAPE)
    value = graph.node("Relu", [graph.conv("x", "conv", quantized=False)], "relu")
    for number, scale in enumerate((0.03, 0.07)):
        pool = graph.node("MaxPool", [value], f"pool{number}", kernel_shape=[2, 2])
        made = graph.pair(pool, scale)
        graph.node("Relu", [made], f"y{number}")
        graph.node("Neg", [made], f"z{number}")
    outputs = ("y0", "z0", "y1", "z1", "relu")
    model, where = repaired(lambda: graph.model(*outputs), move_pairs, X)
    assert where == ["/pool0.q", "/pool1.q"]
    assert operators(model).count("QuantizeLinear") == 2


def pool_graph(**attributes: object) -> tuple[Graph, str]:
    graph = Graph(SHAPE)
    value = graph.node("Relu", [graph.conv("x", "conv", quantized=False)], "relu")
    return graph, graph.node("MaxPool", [value], "pool", kernel_shape=[2, 2], **attributes)


def test_pair_does_not_move_per_channel() -> None:
    graph, pool = pool_graph()
    graph.node("Relu", [graph.pair(pool, np.full(4, 0.1), 1)], "y")
    unchanged(graph, move_pairs, "y")


def test_pair_does_not_move_if_its_second_half_is_per_channel() -> None:
    graph, pool = pool_graph()
    swapped = graph.node("Transpose", [pool], "swapped", perm=[0, 2, 1, 3])
    graph.pair(swapped, 0.1)
    graph.constants.update({"s": np.full(4, 0.1, np.float32), "z": np.zeros(4, np.int8)})
    graph.node("DequantizeLinear", ["swapped.q", "s", "z"], "other", axis=2)
    graph.nodes.pop(-2)
    graph.node("Relu", ["other"], "y")
    unchanged(graph, move_pairs, "y")


@pytest.mark.parametrize("scale", [-0.1, 0.0, np.inf])
def test_pair_does_not_move_with_a_scale_that_is_not_positive(scale: float) -> None:
    """A negative scale turns the order round, with which MaxPool does not commute."""
    graph, pool = pool_graph()
    graph.node("Relu", [graph.pair(pool, scale)], "y")
    unchanged(graph, move_pairs, "y")


def test_pair_does_not_move_with_a_computed_scale() -> None:
    graph, pool = pool_graph()
    scale = graph.node("ReduceMax", [graph.node("Abs", [pool], "abs")], "scale", keepdims=0)
    zero = graph.constant("zero", np.array(0, np.int8))
    graph.node("QuantizeLinear", ["pool", scale, zero], "q")
    graph.node("DequantizeLinear", ["q", scale, zero], "y")
    unchanged(graph, move_pairs, "y")


def test_pair_does_not_move_if_something_else_reads_what_it_would_change() -> None:
    graph, pool = pool_graph()
    graph.node("Neg", [pool], "n")
    graph.node("Relu", [graph.pair(pool, 0.1)], "y")
    unchanged(graph, move_pairs, "y", "n")


@pytest.mark.parametrize("output", ["pool", "pool.q", "pool.dq"])
def test_pair_does_not_move_if_it_would_change_a_graph_output(output: str) -> None:
    graph, pool = pool_graph()
    graph.node("Relu", [graph.pair(pool, 0.1)], "y")
    unchanged(graph, move_pairs, "y", output)


def test_pair_does_not_move_before_a_pool_with_indices() -> None:
    """Quantized values are equal more often, so another index may come out."""
    graph = Graph(SHAPE)
    relu = graph.node("Relu", [graph.conv("x", "conv", quantized=False)], "relu")
    pool = graph.node("MaxPool", [relu], "pool", "indices", kernel_shape=[2, 2])
    graph.node("Relu", [graph.pair(pool, 0.1)], "y")
    unchanged(graph, move_pairs, "y", "indices")


def test_pair_does_not_move_before_a_dilated_pool() -> None:
    """A window of it can lie in the padding alone and gives -3.4e38, which the pair saturates."""
    for repair, scale in ((move_pairs, 0.1), (remove_pairs, 0.05)):
        graph = Graph((1, 1, 2, 2))
        value = graph.conv("x", "conv", (1, 1), quantized=False)
        value = graph.pair(value, 0.05) if repair is remove_pairs else value
        pool = graph.node(
            "MaxPool", [value], "pool", kernel_shape=[2, 2], dilations=[3, 3], pads=[1, 1, 1, 1]
        )
        graph.node("Identity", [graph.pair(pool, scale)], "y")
        assert run(graph.model(pool), np.zeros((1, 1, 2, 2), np.float32))[0].min() < -1e38
        unchanged(graph, repair, "y")


def test_pair_does_not_move_behind_what_no_layer_makes() -> None:
    graph = Graph(SHAPE)
    total = graph.node("Add", [graph.node("Softmax", ["x"], "soft"), "x"], "sum")
    pool = graph.node("MaxPool", [total], "pool", kernel_shape=[2, 2])
    graph.node("Relu", [graph.pair(pool, 0.1)], "y")
    unchanged(graph, move_pairs, "y")


def test_scale_that_is_a_node_is_still_made_before_it_is_read() -> None:
    graph, pool = pool_graph()
    for name, array in (("s", np.float32(0.1)), ("z", np.int8(0))):
        number = TensorProto.FLOAT if name == "s" else TensorProto.INT8
        graph.node("Constant", [], name, value=helper.make_tensor(name, number, [], [array]))
    graph.node("QuantizeLinear", [pool, "s", "z"], "q")
    graph.node("DequantizeLinear", ["q", "s", "z"], "dq")
    graph.node("Relu", ["dq"], "y")
    _, where = repaired(lambda: graph.model("y"), move_pairs, X)
    assert where == ["/q"]
