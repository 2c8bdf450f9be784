"""Removing and sharing pairs, and all repairs together: no output bit changes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.support.graphs import Graph, operators
from tests.support.repairs import MOVERS, SCALES, SHAPE, X, repaired, unchanged, values
from trtqat.graph.passes.improvements import ImproveOptions, improve
from trtqat.graph.repair import Repairs
from trtqat.graph.repair.remove_pairs import remove_pairs
from trtqat.graph.repair.share_pairs import share_pairs
from trtqat.tensors import Array


def twice(chain: list[str], first: float, second: float, start: Array | None = None) -> Graph:
    """A pair, nodes that commute, and a second pair."""
    graph = Graph(SHAPE)
    value = graph.pair("x", np.float32(first) if start is None else start)
    for number, name in enumerate(chain):
        operator, attributes = MOVERS[name]
        value = graph.node(operator, [value], f"{name}{number}", **attributes)
    graph.node("Flatten", [graph.pair(value, second, name="second")], "y")
    return graph


@given(st.data())
def test_removed_pair_changes_no_bit(data: st.DataObject) -> None:
    chain = data.draw(st.lists(st.sampled_from(sorted(MOVERS)), max_size=3))
    scale = data.draw(st.one_of(st.sampled_from(SCALES), st.floats(2.0**-126, 2.0**127, width=32)))
    x = data.draw(values(scale if 1e-30 < scale < 1e30 else 1.0))
    model, where = repaired(lambda: twice(chain, scale, scale).model("y"), remove_pairs, x)
    assert where == ["/second.dq"]
    assert operators(model).count("QuantizeLinear") == 1


def test_of_three_equal_pairs_one_stays_for_all_readers() -> None:
    graph = Graph(SHAPE)
    second = graph.pair(graph.pair("x", 0.1), 0.1)
    third = graph.pair(graph.node("MaxPool", [second], "pool", kernel_shape=[2, 2]), 0.1)
    graph.node("Relu", [third], "y")
    graph.node("Neg", [second], "z")
    model, where = repaired(lambda: graph.model("y", "z"), remove_pairs, X)
    assert where == ["/x.dq.dq", "/pool.dq"]
    assert sorted(operators(model)) == [
        "DequantizeLinear", "MaxPool", "Neg", "QuantizeLinear", "Relu",
    ]  # fmt: skip


def test_pair_of_another_scale_stays() -> None:
    unchanged(twice(["max"], 0.1, 0.2), remove_pairs, "y")


@pytest.mark.parametrize("scale", [2.0**-127, 1e-45, np.inf, 0.0, -0.1])
def test_pair_of_a_scale_that_loses_digits_stays(scale: float) -> None:
    unchanged(twice([], scale, scale), remove_pairs, "y")


def test_pair_per_channel_stays() -> None:
    graph = Graph(SHAPE)
    scale = np.full(4, 0.1, np.float32)
    graph.node("Relu", [graph.pair(graph.pair("x", scale, 1), scale, 1)], "y")
    unchanged(graph, remove_pairs, "y")


def test_pair_behind_what_changes_values_stays() -> None:
    graph = Graph(SHAPE)
    pool = graph.node("AveragePool", [graph.pair("x", 0.1)], "pool", kernel_shape=[2, 2])
    graph.node("Relu", [graph.pair(pool, 0.1)], "y")
    unchanged(graph, remove_pairs, "y")


def test_pair_that_is_a_graph_output_stays() -> None:
    graph = Graph(SHAPE)
    unchanged(graph, remove_pairs, graph.pair(graph.pair("x", 0.1), 0.1))


def test_pair_behind_a_concat_stays_so_that_the_next_layer_finds_one() -> None:
    graph = Graph(SHAPE)
    operands = [graph.pair(graph.node(each, ["x"], each), 0.1) for each in ("Relu", "Neg")]
    joined = graph.pair(graph.node("Concat", operands, "joined", axis=1), 0.1)
    graph.conv(joined, "y", (4, 8))
    unchanged(graph, remove_pairs, "y")


def test_signed_codes_without_a_zero_point_are_not_taken_for_unsigned_ones() -> None:
    """The second pair is UINT8 and clips what is negative; the first one is not."""
    graph = Graph(SHAPE)
    graph.constant("s", np.array(0.1, np.float32))
    graph.node("QuantizeLinear", ["x", "s", graph.constant("z", np.array(0, np.int8))], "q")
    graph.node("DequantizeLinear", ["q", "s"], "dq")
    graph.node("QuantizeLinear", ["dq", "s"], "q2")
    graph.node("DequantizeLinear", ["q2", "s"], "dq2")
    graph.node("Relu", ["dq2"], "y")
    unchanged(graph, remove_pairs, "y")


def fork(scales: list[float], **changes: Array) -> Graph:
    graph = Graph(SHAPE)
    graph.node("Relu", ["x"], "a")
    for number, scale in enumerate(scales):
        made = graph.pair("a", scale, name=f"p{number}")
        graph.node("Neg", [made], f"y{number}")
        graph.node("Abs", [made], f"z{number}")
    graph.constants.update(changes)
    return graph


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_shared_pair_changes_no_bit(data: st.DataObject) -> None:
    scales = data.draw(st.lists(st.sampled_from([0.1, 0.1, 0.2]), min_size=2, max_size=4))
    outputs = [f"{name}{number}" for number in range(len(scales)) for name in "yz"]
    x = data.draw(values(0.1))
    model, where = repaired(lambda: fork(scales).model(*outputs), share_pairs, x)
    assert where == (["a"] if len(set(scales)) < len(scales) else [])
    assert operators(model).count("QuantizeLinear") == len(set(scales))
    assert operators(model).count("DequantizeLinear") == len(set(scales))


def test_pairs_of_which_one_saturates_are_not_shared() -> None:
    """FP8 codes may leave their type's limits, and are NaN then."""
    graph = Graph(SHAPE)
    graph.constants.update(
        {"s": np.float32(0.5), "z": np.zeros((), ir.DataType.FLOAT8E4M3FN.numpy())}
    )
    for number in (0, 1):
        graph.node("QuantizeLinear", ["x", "s", "z"], f"q{number}", saturate=number)
        graph.node("DequantizeLinear", [f"q{number}", "s", "z"], f"y{number}")
    model = graph.model("y0", "y1", opset=19)
    share_pairs(model)
    assert operators(model).count("QuantizeLinear") == 2


def test_shared_pair_is_made_before_its_first_reader() -> None:
    """The node that stays may stand behind one that now reads it."""
    graph = fork([0.1, 0.1])
    graph.nodes = [graph.nodes[0], *graph.nodes[5:], *graph.nodes[1:5]]
    graph.nodes.append(helper.make_node("Relu", ["a"], ["r"], name="/r"))
    repaired(lambda: graph.model("y0", "z0", "y1", "z1", "r"), share_pairs, X)


def test_input_of_the_graph_and_pairs_that_are_outputs() -> None:
    graph = Graph(SHAPE)
    for number in range(3):
        graph.pair("x", 0.1, name=f"p{number}")
    graph.node("Neg", ["p2.dq"], "y")
    model, _ = repaired(lambda: graph.model("p0.dq", "p1.dq", "y"), share_pairs, X)
    assert operators(model).count("QuantizeLinear") == 1


def test_two_equal_second_halves_become_one() -> None:
    graph = Graph(SHAPE)
    graph.pair("x", 0.1)
    graph.node("DequantizeLinear", ["x.q", "x.scale", "x.zero_point"], "again")
    graph.node("Neg", ["x.dq"], "y")
    graph.node("Abs", ["again"], "z")
    model, where = repaired(lambda: graph.model("y", "z"), share_pairs, X)
    assert where == ["x"]
    assert operators(model).count("DequantizeLinear") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"p1.scale": np.array(0.2, np.float32)},
        {"p1.zero_point": np.array(1, np.int8)},
        {"p1.zero_point": np.array(0, np.uint8)},
        {"p1.scale": np.full(4, 0.1, np.float32), "p1.zero_point": np.zeros(4, np.int8)},
    ],
)
def test_pairs_that_differ_are_not_shared(changes: dict[str, Array]) -> None:
    unchanged(fork([0.1, 0.1], **changes), share_pairs, "y0", "z0", "y1", "z1")


def test_pair_in_a_branch_is_not_read_outside_of_it() -> None:
    inner = Graph(())
    made = inner.pair("x", 0.1, name="inner")
    branches = []
    for name in ("then", "else"):
        nodes = inner.nodes if name == "then" else [helper.make_node("Neg", ["x"], [made])]
        value = helper.make_tensor_value_info(made, TensorProto.FLOAT, SHAPE)
        branches.append(helper.make_graph(nodes, name, [], [value]))
    graph = Graph(SHAPE, constants=dict(inner.constants))
    condition = graph.constant("condition", np.array(True))
    graph.node("If", [condition], "chosen", then_branch=branches[0], else_branch=branches[1])
    graph.node("Add", ["chosen", graph.pair("x", 0.1)], "y")
    model, _ = repaired(lambda: graph.model("y"), share_pairs, X)
    assert operators(model).count("QuantizeLinear") == 1


@settings(max_examples=25, deadline=None)
@given(values(0.05))
def test_all_repairs_after_each_other(x: Array) -> None:
    """A stem with a MaxPool, two readers with equal scales, a quantized pool and a second one."""

    def build() -> ir.Model:
        graph = Graph(SHAPE)
        stem = graph.node("Relu", [graph.conv(graph.pair("x", 0.05), "stem", kernel=3)], "relu")
        pool = graph.node("MaxPool", [stem], "pool", kernel_shape=[2, 2])
        left = graph.node("Relu", [graph.conv(graph.pair(pool, 0.02, name="a"), "left")], "r1")
        right = graph.node("Add", [left, graph.pair(pool, 0.02, name="b")], "sum")
        once = graph.node("MaxPool", [graph.pair(right, 0.04)], "pool2", kernel_shape=[2, 2])
        graph.conv(graph.pair(once, 0.04), "y")
        model = graph.model("y")
        # Weights have their own tests; here they are the same before and after.
        improve(model, ImproveOptions(), opset=17)
        return model

    def all_repairs(model: ir.Model) -> Repairs:
        return Repairs(improve(model, ImproveOptions(repair=True), opset=17).repairs)

    model, _ = repaired(build, all_repairs, x)
    assert operators(model).count("QuantizeLinear") == 3
